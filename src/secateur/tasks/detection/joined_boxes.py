"""The boxes of many pictures, one after the other, and which of them may belong together."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

# Pairs of detection and truth compared at once; a pair takes some 300 bytes while it is.
PAIRS_AT_ONCE = 200_000


class JoinedBoxes(NamedTuple):
    """The boxes of all pictures, one after the other."""

    boxes: Floats  # (N, 4)
    labels: Indices  # (N,)
    pictures: Indices  # (N,), index of the picture

    def take(self, indices: Indices) -> "JoinedBoxes":
        """Give those at some places."""
        return JoinedBoxes(self.boxes[indices], self.labels[indices], self.pictures[indices])

    def picture_classes(self, classes: int) -> Indices:
        """(N,) a number that only boxes of the same picture and class share."""
        return self.pictures * classes + self.labels - 1

    def by_class_and_score(self, scores: Floats, classes: int) -> Indices:
        """(N,) the order class by class, in each by falling score; equal ones stay as they are."""
        by_class = np.argsort(as_small(self.labels), kind="stable")
        ends = np.cumsum(np.bincount(self.labels, minlength=classes + 1))
        # Several short sorts are quicker than one by both.
        for start, end in pairwise(ends.tolist()):
            part = by_class[start:end]
            by_class[start:end] = part[np.argsort(-scores[part], kind="stable")]
        return by_class


class Pairs(NamedTuple):
    """Each detection with each truth of its picture and class; a detection's are side by side."""

    found: Indices  # (P,), rising
    truth: Indices  # (P,), rising in each detection
    begin: Indices  # of each detection's pairs
    size: Indices  # of each detection's pairs


def as_small(values: Indices) -> NDArray[np.integer]:
    """Give whole numbers from 0 in the least type that holds them; up to 16 bits sort fastest."""
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))


def pairs(found: JoinedBoxes, truth: JoinedBoxes, classes: int) -> Iterator[Pairs]:
    """Give what may belong together, in blocks that fit memory."""
    key = truth.picture_classes(classes)
    by_key = np.argsort(key, kind="stable")  # stable: truths are to rise
    known, first, counts = np.unique(key[by_key], return_index=True, return_counts=True)
    wanted = found.picture_classes(classes)
    place = np.searchsorted(known, wanted)
    place[place == len(known)] = 0
    some = np.flatnonzero(known[place] == wanted) if len(known) else np.empty(0, np.int64)
    start, count = first[place[some]], counts[place[some]]
    full = np.flatnonzero(np.diff(np.cumsum(count) // PAIRS_AT_ONCE) > 0) + 1
    for block in np.split(np.arange(len(some)), full):
        if len(block):
            n = count[block]
            begin = np.cumsum(n) - n
            of = np.repeat(some[block], n)
            to = by_key[np.arange(len(of)) + np.repeat(start[block] - begin, n)]
            yield Pairs(of, to, begin, n)
