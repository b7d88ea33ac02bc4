"""The loss of a classifier: cross entropy, and distillation loss where there is a teacher."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from secateur.tasks.distillation import Teacher, divergence
from secateur.tasks.normalisation import normalised

# Of the distillation, as in Hinton et al. 2015.
TEMPERATURE = 4.0


def classification_loss(
    model: nn.Module,
    pixels: Tensor,
    labels: Tensor,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    label_smoothing: float = 0.0,
    teacher: Teacher | None = None,
) -> Tensor:
    """The mean loss of one batch, of shape ().

    Args:
        model: maps normalised pictures (N, 3, S, S) to logits (N, K).
        pixels: (N, 3, S, S), 0 to 255, uint8 or float.
        labels: (N,) int64, from 0.
        mean: of each channel, 0–1.
        std: of each channel, 0–1.
        label_smoothing: share of a target that is spread over all classes, 0–1.
        teacher: a network with the same classes; None for no distillation.
    """
    pictures = normalised(pixels, mean, std)
    logits = model(pictures).float()
    loss = nn.functional.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    if teacher is None:
        return loss
    with torch.no_grad():
        targets = teacher.model(pictures).float()
    return loss + teacher.weight * divergence(logits, targets, TEMPERATURE).mean()
