"""What a classifier is to the training loop: its loss, its predictions, its accuracy."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from secateur.pruning.graph.trace import evaluating
from secateur.tasks.device import best_device
from secateur.tasks.distillation import Teacher, divergence
from secateur.tasks.normalisation import normalised

METRICS = ("top1",)

# Of a teacher's classes, as in Hinton et al. 2015.
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
    """The mean cross entropy of one batch.

    Args:
        model: maps normalised pictures (N, 3, S, S) to logits (N, K).
        pixels: (N, 3, S, S), 0 to 255, uint8 or float.
        labels: (N,) int64, from 0.
        mean: of the channels, 0–1.
        std: of the channels, 0–1.
        label_smoothing: share of a target that is spread over all classes, 0–1.
        teacher: a network with the same classes, learnt from too; None: none.
    """
    pictures = normalised(pixels, mean, std)
    logits = model(pictures).float()
    loss = nn.functional.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    if teacher is None:
        return loss
    with torch.no_grad():
        taught = teacher.model(pictures).float()
    return loss + teacher.weight * divergence(logits, taught, TEMPERATURE).mean()


@torch.no_grad()
def class_scores(
    model: nn.Module,
    pixels: Tensor,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    batch_size: int,
    device: torch.device | None = None,
    advance: Callable[[int], None] = lambda _count: None,
) -> Tensor:
    """Probability of each class for each picture, (N, K) float32, on the CPU.

    Args:
        model: the network; it ends on the CPU, and trains or evaluates as it did before.
        pixels: (N, 3, S, S) uint8.
        mean: of the channels, 0–1.
        std: of the channels, 0–1.
        batch_size: pictures at once.
        device: where to run; None for the accelerator, if there is one.
        advance: told how many pictures were done.
    """
    device = device or best_device()
    model.to(device)
    scores = scores_on(
        device, model, pixels, mean=mean, std=std, batch_size=batch_size, advance=advance
    )
    model.cpu()
    return scores


@torch.no_grad()
def scores_on(
    device: torch.device,
    model: nn.Module,
    pixels: Tensor,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    batch_size: int,
    advance: Callable[[int], None] = lambda _count: None,
) -> Tensor:
    """As ``class_scores``, of a network that is on its device and stays there."""
    scores = []
    with evaluating(model):
        for start in range(0, len(pixels), batch_size):
            batch = pixels[start : start + batch_size]
            logits: Tensor = model(normalised(batch.to(device), mean, std))
            scores.append(logits.float().softmax(1).cpu())
            advance(len(batch))
    return torch.cat(scores)


def top1(predicted: Tensor, labels: Tensor) -> float:
    """Share of the pictures whose class was found, in percent; both (N,) int64."""
    return 100 * int((predicted == labels).sum()) / len(labels)


def confusion_matrix(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Count pictures by true class (rows) and found class (columns), (K, K) int64."""
    cells = labels * classes + predicted
    return torch.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def accuracy_by_class(predicted: Tensor, labels: Tensor, classes: Sequence[str]) -> dict[str, Any]:
    """Give each class's accuracy, and who is taken for whom, in JSON's terms.

    Args:
        predicted: (N,) int64, from 0.
        labels: (N,) int64, likewise.
        classes: names; label ``k`` is ``classes[k]``.

    Returns:
        ``by_class``: by class name ``pictures``, how many there are, and ``top1``, the share of
        them whose class was found, in percent, None where there are none; and ``confusion``, as
        ``confusion_matrix``.
    """
    matrix = confusion_matrix(predicted, labels, len(classes))
    counts = zip(classes, matrix.sum(1).tolist(), matrix.diagonal().tolist(), strict=True)
    by_class = {
        name: {"pictures": total, "top1": 100 * found / total if total else None}
        for name, total, found in counts
    }
    return {"by_class": by_class, "confusion": matrix.tolist()}
