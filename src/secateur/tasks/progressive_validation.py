"""Validation on growing random parts of the set: a sequential test of whether a metric falls short.

Most networks that a threshold search tries are far below the floor. A random part of the validation
set is enough to reject those; only a network that is close to the floor or above it is evaluated on
the whole set. A part can reject a network; only the whole set can accept one.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

# Parts of the set that are tried before all of it, as shares.
PARTS = (1 / 16, 1 / 4)
# Parts with fewer pictures are skipped.
MIN_PICTURES = 16
# Groups left out in turn by the jackknife, which estimates the standard error of any statistic
# (Efron and Stein, Annals of Statistics 1981); average precision is not a mean over pictures.
GROUPS = 20
# Standard errors below the floor at which a network is rejected; a search makes two dozen tests.
STANDARD_ERRORS = 4.0


class ProgressiveValidation:
    """Measures networks on a validation set, or on a part that shows that they fall short.

    A network is compared with a reference network on the same part. The metric of the reference on
    the whole set is known, so a part that is easy, or lacks a class, does not bias the estimate.

    Args:
        pictures: number of pictures in the set.
        predict: gives the current network's prediction for the picture at each index. While this
            object is constructed, the current network is the reference.
        measure: gives the metric, in percent, of predictions for the pictures at some indices.
        reference: metric of the reference on the whole set.
        floor: least metric that does not fall short.
        seed: of the order of the pictures.

    Attributes:
        evaluated: number of pictures on which each network was evaluated.
    """

    def __init__(
        self,
        pictures: int,
        predict: Callable[[Sequence[int]], Sequence[Any]],
        measure: Callable[[Sequence[Any], Sequence[int]], float],
        reference: float,
        floor: float,
        seed: int,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.order: list[int] = torch.randperm(pictures, generator=generator).tolist()
        sizes = [round(share * pictures) for share in PARTS]
        self.sizes = [size for size in sizes if size >= MIN_PICTURES]
        self.predict, self.measure = predict, measure
        self.reference, self.floor = reference, floor
        self.evaluated: list[int] = []
        largest = max(self.sizes, default=0)
        self.expected = list(predict(self.order[:largest])) if largest else []

    def __call__(self) -> float:
        """The metric of the current network, in percent; an estimate if a part rejects it."""
        predictions: list[Any] = []
        for size in self.sizes:
            predictions += self.predict(self.order[len(predictions) : size])
            difference, error = self.difference(predictions)
            if self.reference + difference + STANDARD_ERRORS * error < self.floor:
                self.evaluated.append(size)
                return max(0.0, self.reference + difference)
        predictions += self.predict(self.order[len(predictions) :])
        # In the order of the set, so that ties are broken as when the whole set is evaluated.
        by_index = dict(zip(self.order, predictions, strict=True))
        indices = range(len(self.order))
        self.evaluated.append(len(predictions))
        return self.measure([by_index[i] for i in indices], indices)

    def difference(self, predictions: Sequence[Any]) -> tuple[float, float]:
        """Estimate the network's metric minus the reference's, with its standard error.

        Args:
            predictions: for the first pictures of ``order``.
        """
        size = len(predictions)
        groups = min(GROUPS, size)

        def without(group: int | None) -> float:
            kept = [i for i in range(size) if i % groups != group]
            indices = [self.order[i] for i in kept]
            metric = self.measure([predictions[i] for i in kept], indices)
            return metric - self.measure([self.expected[i] for i in kept], indices)

        left_out = torch.tensor([without(group) for group in range(groups)], dtype=torch.float64)
        variance = float((left_out - left_out.mean()).square().sum()) * (groups - 1) / groups
        return without(None), math.sqrt(variance * (1 - size / len(self.order)))
