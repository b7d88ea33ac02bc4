"""Metrics of a classifier on a data set, overall and by class."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

METRICS = ("top1",)


def top1(predicted: Tensor, labels: Tensor) -> float:
    """Share of correctly classified pictures, in percent; both (N,) int64."""
    return 100 * int((predicted == labels).sum()) / len(labels)


def confusion_matrix(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Count pictures by true class (rows) and predicted class (columns), (K, K) int64."""
    cells = labels * classes + predicted
    return torch.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def accuracy_by_class(predicted: Tensor, labels: Tensor, classes: Sequence[str]) -> dict[str, Any]:
    """Give each class's accuracy and the confusion matrix, for a JSON file.

    Args:
        predicted: (N,) int64, from 0.
        labels: (N,) int64, from 0.
        classes: names; label ``k`` is ``classes[k]``.

    Returns:
        ``by_class``: by class name ``pictures``, their number, and ``top1``, the share of them
        that are correctly classified, in percent, None without a picture; and ``confusion``, as
        ``confusion_matrix``.
    """
    matrix = confusion_matrix(predicted, labels, len(classes))
    counts = zip(classes, matrix.sum(1).tolist(), matrix.diagonal().tolist(), strict=True)
    by_class = {
        name: {"pictures": total, "top1": 100 * correct / total if total else None}
        for name, total, correct in counts
    }
    return {"by_class": by_class, "confusion": matrix.tolist()}
