"""Class probabilities of a classifier."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from secateur.models.modes import evaluating
from secateur.tasks.normalisation import normalised


@torch.no_grad()
def class_scores(
    model: nn.Module,
    pixels: Tensor,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    batch_size: int,
    advance: Callable[[int], None] = lambda _count: None,
) -> Tensor:
    """Probability of each class for each picture, (N, K) float32, on the CPU.

    Args:
        model: the network; it runs on its device, in evaluation mode, and its own mode is restored.
        pixels: (N, 3, S, S) uint8.
        mean: of each channel, 0–1.
        std: of each channel, 0–1.
        batch_size: pictures in a batch.
        advance: called with the number of pictures of each batch when it is done.
    """
    device = next(model.parameters()).device
    scores = []
    with evaluating(model):
        for batch in torch.split(pixels, batch_size):
            logits: Tensor = model(normalised(batch.to(device), mean, std))
            scores.append(logits.float().softmax(1).cpu())
            advance(len(batch))
    return torch.cat(scores)
