"""Boxes of many pictures in one array, and the pairs of detection and truth to compare."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

# Pairs compared at once; each takes about 300 bytes.
PAIRS_AT_ONCE = 200_000


class JoinedBoxes(NamedTuple):
    """The boxes of all pictures, concatenated."""

    boxes: Floats  # (N, 4)
    labels: Indices  # (N,)
    pictures: Indices  # (N,), index of the picture

    def take(self, indices: Indices) -> "JoinedBoxes":
        """Give the boxes at some indices."""
        return JoinedBoxes(self.boxes[indices], self.labels[indices], self.pictures[indices])

    def picture_classes(self, classes: int) -> Indices:
        """(N,) key that is equal for boxes of the same picture and class only."""
        return self.pictures * classes + self.labels - 1

    def by_class_and_score(self, scores: Floats, classes: int) -> Indices:
        """(N,) indices that sort by class, then by falling score; the sort is stable."""
        by_class = np.argsort(as_small(self.labels), kind="stable")
        ends = np.cumsum(np.bincount(self.labels, minlength=classes + 1))
        # One sort for each class is faster than one sort by both keys.
        for start, end in pairwise(ends.tolist()):
            part = by_class[start:end]
            by_class[start:end] = part[np.argsort(-scores[part], kind="stable")]
        return by_class


class Pairs(NamedTuple):
    """Each detection with each truth of its picture and class, sorted by detection."""

    found: Indices  # (P,), rising
    truth: Indices  # (P,), rising for each detection
    begin: Indices  # index of each detection's first pair
    size: Indices  # number of each detection's pairs


def as_small(values: Indices) -> NDArray[np.integer]:
    """Convert non-negative integers to the smallest type; up to 16 bits sort fastest."""
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))


def pairs(found: JoinedBoxes, truth: JoinedBoxes, classes: int) -> Iterator[Pairs]:
    """Yield all pairs of the same picture and class, in blocks that fit into memory."""
    key = truth.picture_classes(classes)
    by_key = np.argsort(key, kind="stable")  # stable, so that truths rise
    known, first, counts = np.unique(key[by_key], return_index=True, return_counts=True)
    wanted = found.picture_classes(classes)
    at = np.searchsorted(known, wanted)
    at[at == len(known)] = 0
    some = np.flatnonzero(known[at] == wanted) if len(known) else np.empty(0, np.int64)
    start, count = first[at[some]], counts[at[some]]
    full = np.flatnonzero(np.diff(np.cumsum(count) // PAIRS_AT_ONCE) > 0) + 1
    for block in np.split(np.arange(len(some)), full):
        if len(block):
            n = count[block]
            begin = np.cumsum(n) - n
            of = np.repeat(some[block], n)
            to = by_key[np.arange(len(of)) + np.repeat(start[block] - begin, n)]
            yield Pairs(of, to, begin, n)
