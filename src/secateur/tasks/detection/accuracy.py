"""Metrics of a detector on a data set, overall and by class."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from secateur.data.detection_set import DetectionSet
from secateur.tasks.detection.average_precision import (
    PrecisionRecall,
    average_precision,
    coco_average_precision,
)
from secateur.tasks.detection.detections import Detections

METRICS = ("AP50_area", "AP50_voc07", "AP_coco", "AP50_coco", "AP75_coco")

# Most points of a stored curve: as many as COCO interpolates at.
CURVE_POINTS = 101


def measure_accuracy(
    detections: Sequence[Detections], dataset: DetectionSet, metrics: Sequence[str]
) -> dict[str, float]:
    """Give the named metrics, in percent; NaN without an object."""
    values: dict[str, float] = {}
    if {"AP50_area", "AP50_voc07"} & set(metrics):
        voc = average_precision(detections, dataset.pictures, dataset.classes)
        values |= {"AP50_area": voc.AP50_area, "AP50_voc07": voc.AP50_voc07}
    if any(name.endswith("_coco") for name in metrics):
        values |= coco_average_precision(detections, dataset.pictures, dataset.classes)
    return {name: value for name, value in values.items() if name in metrics}


def accuracy_by_class(
    detections: Sequence[Detections], dataset: DetectionSet
) -> dict[str, dict[str, Any]]:
    """Give each class's average precision at IoU 0.5 and its curve, for a JSON file.

    Returns:
        ``by_class``: by class name ``objects``, the number of objects that are not difficult, and
        ``AP50_area`` and ``AP50_voc07``, None without an object; and ``curves``: by class name
        ``recall`` and ``precision`` at the points where recall rises, at most ``CURVE_POINTS``.
    """
    voc = average_precision(detections, dataset.pictures, dataset.classes)
    by_class = {
        name: {
            "objects": _count_objects(dataset, label),
            "AP50_area": _nan_as_none(voc.AP50_area_by_class[name]),
            "AP50_voc07": _nan_as_none(voc.AP50_voc07_by_class[name]),
        }
        for label, name in enumerate(dataset.classes, start=1)
    }
    curves = {name: _subsampled(curve) for name, curve in voc.curves.items()}
    return {"by_class": by_class, "curves": curves}


def _count_objects(dataset: DetectionSet, label: int) -> int:
    return sum(int(((p.labels == label) & ~p.difficult).sum()) for p in dataset.pictures)


def _nan_as_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _subsampled(curve: PrecisionRecall) -> dict[str, list[float]]:
    """Evenly spaced points at which recall rises, with the first and the last."""
    rises = np.flatnonzero(np.diff(curve.recall, prepend=0) > 0)
    if len(rises) > CURVE_POINTS:
        rises = rises[np.linspace(0, len(rises) - 1, CURVE_POINTS).round().astype(int)]
    columns = {"recall": curve.recall, "precision": curve.precision}
    return {name: column[rises].round(4).tolist() for name, column in columns.items()}
