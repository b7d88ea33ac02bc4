"""Learning from another network's predictions beside the labels (Hinton et al., 2015)."""

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Teacher:
    """A network to learn from.

    Attributes:
        model: in evaluation mode, on the device; its outputs have the learner's shapes.
        weight: of its predictions in the loss; that of the labels is 1.
    """

    model: nn.Module
    weight: float


def divergence(logits: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """Tell how far predictions are from a teacher's: KL(teacher, learner) of softened classes.

    Times the temperature's square, which keeps its gradient's size.

    Args:
        logits: of the learner, (..., classes).
        taught: of the teacher, likewise.
        temperature: both are divided by it.

    Returns:
        (...), in nats.
    """
    wanted = (taught / temperature).softmax(-1)
    given = (logits / temperature).log_softmax(-1)
    return temperature**2 * nn.functional.kl_div(given, wanted, reduction="none").sum(-1)
