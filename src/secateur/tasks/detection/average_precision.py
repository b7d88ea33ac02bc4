"""Average precision by Pascal VOC's two definitions and by COCO's.

They differ on the same detections, so each name states its protocol: ``AP50_voc07``, ``AP50_area``,
``AP_coco``. All are in percent.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secateur.data.detection_set import AnnotatedPicture
from secateur.errors import ModelError
from secateur.tasks.detection.coco_precision import IOUS, coco_precision
from secateur.tasks.detection.detections import Detections
from secateur.tasks.detection.joined_boxes import Floats, Indices, JoinedBoxes, pairs

OUTCOMES = ("hit", "false", "ignored")
_HIT, _FALSE, _IGNORED = range(len(OUTCOMES))


@dataclass(frozen=True, slots=True, eq=False)
class PrecisionRecall:
    """Precision and recall of one class as its score threshold falls.

    Point ``i`` counts the ``i + 1`` detections of the class with the highest scores; detections of
    difficult objects are excluded. All three arrays are (M,) float64, and empty if the class has no
    object that is not difficult.

    Attributes:
        scores: score of detection ``i``, falling.
        precision: hits ÷ detections, 0 to 1, not interpolated.
        recall: hits ÷ objects that are not difficult, 0 to 1.
    """

    scores: Floats
    precision: Floats
    recall: Floats


@dataclass(frozen=True, slots=True, eq=False)
class AveragePrecision:
    """Average precision at IoU 0.5, in percent.

    A class whose objects are all difficult, or that has none, has no recall and therefore no
    average precision: it is NaN in the dicts and excluded from the means.

    Attributes:
        AP50_voc07: mean over classes, 11-point interpolation (VOC 2007).
        AP50_area: mean over classes, area under the precision envelope (VOC 2010 and later).
        AP50_voc07_by_class: the same by class name.
        AP50_area_by_class: the same by class name.
        curves: precision and recall by class name.
    """

    AP50_voc07: float
    AP50_area: float
    AP50_voc07_by_class: dict[str, float]
    AP50_area_by_class: dict[str, float]
    curves: dict[str, PrecisionRecall]


def average_precision(
    detections: Sequence[Detections],
    pictures: Sequence[AnnotatedPicture],
    classes: Sequence[str],
) -> AveragePrecision:
    """Compute Pascal VOC's average precision at IoU 0.5 by its two definitions.

    The rule is that of the VOC development kit (``VOCevaldet.m``; Everingham et al., "The Pascal
    Visual Object Classes (VOC) Challenge", IJCV 2010, section 4.2), class by class:

    1. Detections are sorted by falling score. Equal scores keep the order of the pictures, then
       that of the detections in their picture.
    2. Each detection is assigned the object of its class and picture with the highest IoU (the
       first of equals), even if that object is difficult or already detected.
    3. With IoU < 0.5, or without such an object, it is a false positive. Otherwise, if the object
       is difficult, it is ignored; if an earlier detection was assigned the object, it is a false
       positive; otherwise it is a hit.
    4. Recall is hits ÷ objects that are not difficult.

    ``AP50_voc07`` is the mean of the highest precision at recall ≥ 0, 0.1, …, 1; ``AP50_area`` is
    the area under the precision made monotone (``VOCap.m`` of VOC 2010 and later).

    Two things differ from the kit. Coordinates are continuous, so widths and heights lack the kit's
    "+ 1". Recall is compared with the 11 levels in integers: in the kit's floats 3 × 0.1 > 0.3, so
    that a recall of exactly 0.3 misses its level.

    Args:
        detections: of each picture, in the order of ``pictures``.
        pictures: the pictures and their objects.
        classes: names; label ``k`` is ``classes[k - 1]``.

    Raises:
        ModelError: a box or a score is NaN or infinite.
        ValueError: the lengths differ, or a label is not one of a class.
    """
    found, truth, scores = _joined_and_checked(detections, pictures, classes)
    difficult = _difficult(pictures)
    order = found.by_class_and_score(scores, len(classes))
    outcomes = _outcomes(found, truth, order, difficult, len(classes))

    # From here on detections are sorted by class, then by falling score.
    order = order[outcomes[order] != _IGNORED]
    labels, scores, hits = found.labels[order], scores[order], outcomes[order] == _HIT

    objects = np.bincount(truth.labels[~difficult], minlength=len(classes) + 1)
    ends = np.searchsorted(labels, np.arange(len(classes) + 1), side="right")
    voc07, area, curves = {}, {}, {}
    for label, name in enumerate(classes, start=1):
        of_class = slice(ends[label - 1], ends[label])
        voc07[name], area[name], curves[name] = _of_class(
            hits[of_class], scores[of_class], int(objects[label])
        )
    return AveragePrecision(
        _mean(np.array(list(voc07.values()))),
        _mean(np.array(list(area.values()))),
        voc07,
        area,
        curves,
    )


def judge(
    detections: Sequence[Detections],
    pictures: Sequence[AnnotatedPicture],
    classes: Sequence[str],
) -> list[NDArray[np.str_]]:
    """Classify each detection by VOC's rule, as ``average_precision`` counts it.

    Args:
        detections: of each picture, in the order of ``pictures``.
        pictures: the pictures and their objects.
        classes: names; label ``k`` is ``classes[k - 1]``.

    Returns:
        For each picture (N,) with ``hit``, ``false`` or ``ignored`` for each detection.

    Raises:
        ModelError, ValueError: as for ``average_precision``.
    """
    found, truth, scores = _joined_and_checked(detections, pictures, classes)
    order = found.by_class_and_score(scores, len(classes))
    outcomes = _outcomes(found, truth, order, _difficult(pictures), len(classes))
    ends = np.cumsum([len(each.scores) for each in detections])
    return np.split(np.array(OUTCOMES)[outcomes], ends[:-1]) if len(ends) else []


def coco_average_precision(
    detections: Sequence[Detections],
    pictures: Sequence[AnnotatedPicture],
    classes: Sequence[str],
) -> dict[str, float]:
    """Compute COCO's average precision, in percent; the values are those of pycocotools.

    The protocol is COCO's (https://cocodataset.org/#detection-eval): 101-point interpolation, at
    most 100 detections for each picture and class, and a detection whose best object is already
    assigned may be assigned the next best. COCO has no difficult objects; they are treated as
    crowds, which count neither as hit nor as miss and to which any number of detections may be
    assigned. (The overlap with a crowd is intersection ÷ the detection's area.)

    Args:
        detections: of each picture, in the order of ``pictures``.
        pictures: the pictures and their objects.
        classes: names; label ``k`` is ``classes[k - 1]``.

    Returns:
        ``AP_coco`` (mean over IoU 0.5, 0.55, …, 0.95), ``AP50_coco``, ``AP75_coco``, and over the
        ten IoUs ``AP_coco_small`` (objects of less than 32² pixels), ``AP_coco_medium`` and
        ``AP_coco_large`` (more than 96²). NaN where there is no such object.

    Raises:
        ModelError: a box or a score is NaN or infinite.
        ValueError: the lengths differ, or a label is not one of a class.
    """
    found, truth, scores = _joined_and_checked(detections, pictures, classes)
    precision = coco_precision(found, truth, scores, _difficult(pictures), len(classes))
    at_75 = int(np.abs(IOUS - 0.75).argmin())
    return {
        "AP_coco": _mean(100 * precision[:, 0]),
        "AP50_coco": _mean(100 * precision[:, 0, 0]),
        "AP75_coco": _mean(100 * precision[:, 0, at_75]),
        "AP_coco_small": _mean(100 * precision[:, 1]),
        "AP_coco_medium": _mean(100 * precision[:, 2]),
        "AP_coco_large": _mean(100 * precision[:, 3]),
    }


def _difficult(pictures: Sequence[AnnotatedPicture]) -> NDArray[np.bool_]:
    """(M,) of the objects of all pictures."""
    parts = (picture.difficult.numpy(force=True) for picture in pictures)
    return np.concatenate([np.empty(0, bool), *parts])


def _outcomes(
    found: JoinedBoxes,
    truth: JoinedBoxes,
    order: Indices,
    difficult: NDArray[np.bool_],
    classes: int,
) -> Indices:
    """(N,) index in ``OUTCOMES`` of each detection; ``order`` sorts them by falling score."""
    best = _best_truths(found, truth, classes)
    outcomes = np.full(len(best), _FALSE)
    # The first detection assigned to a truth hits it. It has the highest score, since all of a
    # truth's detections have its class. By rule 2 assignments do not depend on one another.
    matched = order[best[order] >= 0]
    _, first = np.unique(best[matched], return_index=True)
    outcomes[matched[first]] = _HIT
    outcomes[matched[difficult[best[matched]]]] = _IGNORED
    return outcomes


def _joined_and_checked(
    detections: Sequence[Detections],
    pictures: Sequence[AnnotatedPicture],
    classes: Sequence[str],
) -> tuple[JoinedBoxes, JoinedBoxes, Floats]:
    """Detections, truths, and the scores of the detections."""
    if len(detections) != len(pictures):
        raise ValueError(f"{len(detections)} detections for {len(pictures)} pictures")
    found, truth = _joined(detections), _joined(pictures)
    for part, what in ((found, "detections"), (truth, "objects")):
        outside = (part.labels < 1) | (part.labels > len(classes))
        if outside.any():
            at = int(outside.argmax())
            raise ValueError(
                f"{pictures[part.pictures[at]].path}: label {part.labels[at]} among the {what} "
                f"is not in 1 to {len(classes)}"
            )
    scores = np.concatenate([np.empty(0), *(d.scores.numpy(force=True) for d in detections)])
    bad = ~(np.isfinite(scores) & np.isfinite(found.boxes).all(axis=1))
    if bad.any():
        path = pictures[found.pictures[bad.argmax()]].path
        raise ModelError(
            f"{path}: the network's detections have a NaN or infinite box or score; it has "
            "diverged: train it again at a lower learning rate"
        )
    return found, truth, scores


def _joined(parts: Sequence[Detections] | Sequence[AnnotatedPicture]) -> JoinedBoxes:
    # In float64 IoU is exact for integer coordinates, and equal overlaps compare equal.
    boxes = [np.empty((0, 4)), *(part.boxes.numpy(force=True) for part in parts)]
    labels = [np.empty(0, np.int64), *(part.labels.numpy(force=True) for part in parts)]
    lengths = np.array([len(part.labels) for part in parts], dtype=np.int64)
    return JoinedBoxes(
        np.concatenate(boxes), np.concatenate(labels), np.repeat(np.arange(len(parts)), lengths)
    )


def _best_truths(found: JoinedBoxes, truth: JoinedBoxes, classes: int) -> Indices:
    """(N,) index of the truth with the highest IoU for each detection, -1 where IoU < 0.5."""
    best_truth = np.full(len(found.labels), -1)
    for of, to, begin, count in pairs(found, truth, classes):
        iou = _iou(found.boxes[of], truth.boxes[to])
        most = np.repeat(np.maximum.reduceat(iou, begin), count)
        best = np.flatnonzero((iou == most) & (iou >= 0.5))
        # Reversed, since the last of several writes to an element wins: the first truth.
        best_truth[of[best[::-1]]] = to[best[::-1]]
    return best_truth


def _iou(a: Floats, b: Floats) -> Floats:
    """(N,) IoU of box ``a[i]`` with box ``b[i]``; 0 if both are empty."""
    # Column by column: numpy is slow along an axis of length 2.
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = a.T, b.T
    both = _area(
        np.maximum(ax1, bx1), np.maximum(ay1, by1), np.minimum(ax2, bx2), np.minimum(ay2, by2)
    )
    either = _area(ax1, ay1, ax2, ay2) + _area(bx1, by1, bx2, by2) - both
    overlap = np.zeros_like(both)
    np.divide(both, either, out=overlap, where=either > 0)
    return overlap


def _area(x1: Floats, y1: Floats, x2: Floats, y2: Floats) -> Floats:
    """(N,) square pixels; 0 where a box is empty or inverted."""
    return np.maximum(x2 - x1, 0) * np.maximum(y2 - y1, 0)


def _of_class(
    hits: NDArray[np.bool_], scores: Floats, objects: int
) -> tuple[float, float, PrecisionRecall]:
    """``AP50_voc07``, ``AP50_area`` and curve of one class; detections by falling score."""
    if objects == 0:
        return float("nan"), float("nan"), PrecisionRecall(np.empty(0), np.empty(0), np.empty(0))
    cumulative = np.cumsum(hits)
    precision = cumulative / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    # Hits that recall k / 10 requires, rounded up; precision is 0 where there are fewer.
    needed = -(-np.arange(11) * objects // 10)
    voc07 = np.append(envelope, 0)[np.searchsorted(cumulative, needed)].mean()
    # Each hit raises recall by 1 / objects.
    area = envelope[hits].sum() / objects
    curve = PrecisionRecall(scores, precision, cumulative / objects)
    return 100 * float(voc07), 100 * float(area), curve


def _mean(values: Floats) -> float:
    """Mean of the values that are not NaN; NaN if all are."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")
