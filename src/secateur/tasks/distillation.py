"""Distillation: training on the predictions of a teacher as well (Hinton et al., 2015)."""

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Teacher:
    """The network whose predictions another network learns.

    Attributes:
        model: in evaluation mode, on the training device; its outputs have the shapes of the
            student's.
        weight: of the distillation loss; the weight of the loss on the labels is 1.
    """

    model: nn.Module
    weight: float


def divergence(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL(teacher ‖ student) of the class probabilities, softened by a temperature.

    It is multiplied by the squared temperature, which keeps the size of its gradients.

    Args:
        logits: of the student, (..., classes).
        teacher: logits of the teacher, (..., classes).
        temperature: divides both.

    Returns:
        (...), in nats.
    """
    targets = (teacher / temperature).softmax(-1)
    log_probabilities = (logits / temperature).log_softmax(-1)
    loss = nn.functional.kl_div(log_probabilities, targets, reduction="none")
    return temperature**2 * loss.sum(-1)
