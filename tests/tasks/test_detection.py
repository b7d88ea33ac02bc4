"""Accuracy by class as it is written down: literal cases, and curves that are thinned out."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch

from secateur.data.detection_set import AnnotatedPicture, DetectionSet
from secateur.tasks.detection.average_precision import Detections
from secateur.tasks.detection.detection import (
    CURVE_POINTS,
    accuracy_by_class,
    joined_detections,
    parted_detections,
)


def picture(labels: list[int], difficult: list[bool]) -> AnnotatedPicture:
    """A picture with objects of 10 × 10 pixels side by side."""
    count = len(labels)
    return AnnotatedPicture(
        Path("a.png"),
        10,
        20 * count,
        boxes(range(count)),
        torch.tensor(labels),
        torch.tensor(difficult),
    )


def boxes(places: range | list[int]) -> torch.Tensor:
    return torch.tensor([[20.0 * i, 0, 20 * i + 10, 10] for i in places]).reshape(-1, 4)


@pytest.mark.parametrize("counts", [[], [0], [2, 0, 3], [0, 1, 0]])
def test_detections_are_joined_and_parted(counts: list[int]) -> None:
    found = [
        Detections(boxes(range(n)), torch.arange(1, n + 1), torch.linspace(0.9, 0.1, n))
        for n in counts
    ]
    joined = joined_detections(found)
    assert joined["picture"].tolist() == [i for i, n in enumerate(counts) for _ in range(n)]
    assert joined["picture"].dtype == torch.int32
    assert joined["boxes"].shape == (sum(counts), 4)
    parted = parted_detections(joined, len(counts), 3)
    assert len(parted) == len(counts)
    for one, other in zip(parted, found, strict=True):
        assert torch.equal(one.boxes, other.boxes)
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(one.scores, other.scores)


def test_accuracy_by_class() -> None:
    dataset = DetectionSet(
        ("cat", "dog", "cow"), (picture([1, 1, 1, 2, 1], [False, False, True, True, False]),)
    )
    # A cat, nothing, a difficult cat, another cat, and a difficult dog; the third cat is not found.
    found = Detections(
        boxes([0, 9, 2, 1, 3]),
        torch.tensor([1, 1, 1, 1, 2]),
        torch.tensor([0.9, 0.81236, 0.8, 0.7, 0.6]),
    )
    nothing = {"objects": 0, "AP50_area": None, "AP50_voc07": None}
    assert accuracy_by_class([found], dataset) == {
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
            # The false detection between the two hits does not raise recall.
            "cat": {"recall": [0.3333, 0.6667], "precision": [1.0, 0.6667], "scores": [0.9, 0.7]},
            "dog": {"recall": [], "precision": [], "scores": []},
            "cow": {"recall": [], "precision": [], "scores": []},
        },
    }


@pytest.mark.parametrize("objects", [1, 100, 101, 102, 1000])
def test_curves_are_thinned_out_evenly(objects: int) -> None:
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
    assert curve["scores"] == [round(scores[place - 1].item(), 4) for place in kept]
