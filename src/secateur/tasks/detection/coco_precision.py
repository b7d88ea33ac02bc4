"""COCO's precision at 101 recalls, computed for all pictures together.

The rules are those of https://cocodataset.org/#detection-eval as pycocotools implements them, ties
included. pycocotools matches one picture and class at a time; here one step matches the detection
with the highest score of every picture and class, the next step the second one, and so on.
"""

import numpy as np
from numpy.typing import NDArray

from secateur.tasks.detection.joined_boxes import Floats, Indices, JoinedBoxes, as_small, pairs

IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
# Square pixels: all, small, medium and large; each includes both ends.
AREAS = np.array([[0, 1e10], [0, 32**2], [32**2, 96**2], [96**2, 1e10]])
# Detections of a picture and class that count.
MOST_DETECTIONS = 100
# Makes any overlap smaller than those that count; a power of 2, so that the product is exact.
_LESS = 2.0**-10

_Flags = NDArray[np.bool_]


def coco_precision(
    found: JoinedBoxes, truth: JoinedBoxes, scores: Floats, crowd: _Flags, classes: int
) -> Floats:
    """Give the interpolated precision, 0 to 1: the highest at any recall that is not lower.

    Args:
        found: N detections.
        truth: M objects.
        scores: (N,) of the detections.
        crowd: (M,) the objects that count neither as hit nor as miss.
        classes: number of classes.

    Returns:
        (classes, areas, IoUs, recalls); NaN where a class has no object of an area.
    """
    # From here on detections are sorted by class, then by falling score.
    found = found.take(found.by_class_and_score(scores, classes))
    found = found.take(np.flatnonzero(_ranks(found, classes) < MOST_DETECTIONS))
    ignored_truth = crowd | _outside(truth.boxes)
    hits, ignored = _matched(found, truth, crowd, ignored_truth, classes)
    ends = np.searchsorted(found.labels, np.arange(classes + 1), side="right")
    precision = np.full((classes, len(AREAS), len(IOUS), len(RECALLS)), np.nan)
    for label in range(1, classes + 1):
        own = slice(ends[label - 1], ends[label])
        objects = (~ignored_truth[:, truth.labels == label]).sum(1)
        for area in np.flatnonzero(objects):
            for iou in range(len(IOUS)):
                precision[label - 1, area, iou] = _at_recalls(
                    hits[area, iou, own], ignored[area, iou, own], int(objects[area])
                )
    return precision


def _ranks(found: JoinedBoxes, classes: int) -> Indices:
    """(N,) number of earlier boxes of the same picture and class; boxes are sorted by class."""
    order = np.argsort(as_small(found.pictures), kind="stable")
    new = np.diff(found.picture_classes(classes)[order], prepend=-1) != 0
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order)) - np.flatnonzero(new)[np.cumsum(new) - 1]
    return ranks


def _matched(
    found: JoinedBoxes, truth: JoinedBoxes, crowd: _Flags, ignored_truth: _Flags, classes: int
) -> tuple[_Flags, _Flags]:
    """(areas, IoUs, N) the detections that are hits, and those that are ignored."""
    hits = np.zeros((len(AREAS), len(IOUS), len(found.labels)), bool)
    ignored = np.repeat(_outside(found.boxes)[:, None], len(IOUS), axis=1)
    taken = np.zeros((len(AREAS), len(IOUS), len(truth.labels)), bool)
    of, to, overlap = _overlapping(found, truth, crowd, classes)
    several, which = np.unique(of, return_inverse=True)
    step = _ranks(found.take(several), classes)[which]
    by_step = np.argsort(step, kind="stable")
    for part in np.split(by_step, np.cumsum(np.bincount(step))[:-1]):
        f, t, o = of[part], to[part], overlap[part]
        begin = np.flatnonzero(np.diff(f, prepend=-1))
        count = np.diff(begin, append=len(f))
        may = (crowd[t] | ~taken[..., t]) & (o >= IOUS[:, None])  # (areas, IoUs, pairs)
        # An ignored truth is assigned only where there is no other.
        overlap_key = np.where(may, np.where(ignored_truth[:, None, t], o * _LESS, o), 0)
        best = np.repeat(np.maximum.reduceat(overlap_key, begin, axis=-1), count, axis=-1)
        # The last of equal overlaps is assigned.
        last = np.where(may & (overlap_key == best), np.arange(len(f)), -1)
        chosen = np.maximum.reduceat(last, begin, axis=-1)
        area, iou, at = np.nonzero(chosen >= 0)
        pair = chosen[area, iou, at]
        taken[area, iou, t[pair]] = True
        ignored[area, iou, f[pair]] = ignored_truth[area, t[pair]]
        hits[area, iou, f[pair]] = ~ignored_truth[area, t[pair]]
    return hits, ignored


def _overlapping(
    found: JoinedBoxes, truth: JoinedBoxes, crowd: _Flags, classes: int
) -> tuple[Indices, Indices, Floats]:
    """Detection, object and overlap of the pairs that reach the lowest IoU."""
    parts: list[tuple[Indices, Indices, Floats]] = [
        (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    ]
    for of, to, _, _ in pairs(found, truth, classes):
        overlap = _overlaps(found.boxes[of], truth.boxes[to], crowd[to])
        enough = overlap >= IOUS[0]
        parts.append((of[enough], to[enough], overlap[enough]))
    of, to, overlap = (np.concatenate(each) for each in zip(*parts, strict=True))
    return of, to, overlap


def _overlaps(found: Floats, truth: Floats, crowd: _Flags) -> Floats:
    """(P,) IoU; for a crowd, the share of the detection's area inside it."""
    (fx1, fy1, fx2, fy2), (tx1, ty1, tx2, ty2) = found.T, truth.T
    width = np.minimum(fx2, tx2) - np.maximum(fx1, tx1)
    height = np.minimum(fy2, ty2) - np.maximum(fy1, ty1)
    both = np.maximum(width, 0) * np.maximum(height, 0)
    either = _size(found) + np.where(crowd, 0, _size(truth) - both)
    overlap = np.zeros(len(both))
    np.divide(both, either, out=overlap, where=both > 0)
    return overlap


def _outside(boxes: Floats) -> _Flags:
    """(areas, N) the boxes that are too large or too small for each area."""
    size = _size(boxes)
    return (size < AREAS[:, :1]) | (size > AREAS[:, 1:])


def _size(boxes: Floats) -> Floats:
    size: Floats = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return size


def _at_recalls(hits: _Flags, ignored: _Flags, objects: int) -> Floats:
    """(101,) precision of one class, area and IoU; detections by falling score."""
    at = np.flatnonzero(hits)
    # Precision falls between hits, so the highest is always at a hit.
    found = np.arange(1, len(at) + 1)
    precision = found / np.cumsum(~ignored)[at]
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    reached: Floats = np.append(envelope, 0)[np.searchsorted(found / objects, RECALLS)]
    return reached
