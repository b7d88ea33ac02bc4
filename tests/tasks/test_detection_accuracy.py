"""Accuracy by class: literal cases, subsampled curves, and the record they are stored in."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch

from secateur.data.detection_set import AnnotatedPicture, DetectionSet
from secateur.run.records import ByClassRecord
from secateur.tasks.detection.accuracy import CURVE_POINTS, accuracy_by_class
from secateur.tasks.detection.detections import Detections


def picture(labels: list[int], difficult: list[bool]) -> AnnotatedPicture:
    """A picture with objects of 10 × 10 pixels in a row."""
    count = len(labels)
    return AnnotatedPicture(
        Path("a.png"),
        10,
        20 * count,
        boxes(range(count)),
        torch.tensor(labels),
        torch.tensor(difficult),
    )


def boxes(positions: range | list[int]) -> torch.Tensor:
    return torch.tensor([[20.0 * i, 0, 20 * i + 10, 10] for i in positions]).reshape(-1, 4)


def test_accuracy_by_class() -> None:
    dataset = DetectionSet(
        ("cat", "dog", "cow"), (picture([1, 1, 1, 2, 1], [False, False, True, True, False]),)
    )
    # A cat, a false positive, a difficult cat, another cat, a difficult dog; one cat is missed.
    found = Detections(
        boxes([0, 9, 2, 1, 3]),
        torch.tensor([1, 1, 1, 1, 2]),
        torch.tensor([0.9, 0.81236, 0.8, 0.7, 0.6]),
    )
    nothing = {"objects": 0, "AP50_area": None, "AP50_voc07": None}
    accuracy = accuracy_by_class([found], dataset)
    ByClassRecord.model_validate(accuracy)
    assert accuracy == {
        "by_class": {
            "cat": {
                "objects": 3,
                "AP50_area": pytest.approx(100 * (1 + 2 / 3) / 3),
                "AP50_voc07": pytest.approx(100 * (4 + 3 * 2 / 3) / 11),
            },
            "dog": nothing,
            "cow": nothing,
        },
        "curves": {
            # Recall does not rise at the false positive between the two hits.
            "cat": {"recall": [0.3333, 0.6667], "precision": [1.0, 0.6667]},
            "dog": {"recall": [], "precision": []},
            "cow": {"recall": [], "precision": []},
        },
    }


@pytest.mark.parametrize("objects", [1, 100, 101, 102, 1000])
def test_curves_are_subsampled_evenly(objects: int) -> None:
    dataset = DetectionSet(("cat",), (picture([1] * objects, [False] * objects),))
    scores = torch.linspace(0.9, 0.1, objects)
    found = Detections(boxes(range(objects)), torch.ones(objects, dtype=torch.int64), scores)
    curve = accuracy_by_class([found], dataset)["curves"]["cat"]
    kept = [round(recall * objects) for recall in curve["recall"]]
    assert len(kept) == min(objects, CURVE_POINTS)
    assert (kept[0], kept[-1]) == (1, objects)
    gaps = [after - before for before, after in pairwise(kept)]
    assert max(gaps, default=0) - min(gaps, default=0) <= 1
    assert set(curve["precision"]) == {1.0}
