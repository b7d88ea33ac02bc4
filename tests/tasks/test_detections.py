"""Detections as tensors of a file."""

import pytest
import torch
from torch import Tensor

from secateur.tasks.detection.detections import (
    Detections,
    join_detections,
    rescale_detections,
    split_detections,
)


def boxes(count: int) -> Tensor:
    return torch.tensor([[20.0 * i, 0, 20 * i + 10, 10] for i in range(count)]).reshape(-1, 4)


@pytest.mark.parametrize("counts", [[], [0], [2, 0, 3], [0, 1, 0]])
def test_detections_are_joined_and_split(counts: list[int]) -> None:
    found = [
        Detections(boxes(n), torch.arange(1, n + 1), torch.linspace(0.9, 0.1, n)) for n in counts
    ]
    joined = join_detections(found)
    assert joined["picture"].tolist() == [i for i, n in enumerate(counts) for _ in range(n)]
    assert joined["picture"].dtype == torch.int32
    assert joined["boxes"].shape == (sum(counts), 4)
    split = split_detections(joined, len(counts), 3)
    assert len(split) == len(counts)
    for one, other in zip(split, found, strict=True):
        assert torch.equal(one.boxes, other.boxes)
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(one.scores, other.scores)


def test_boxes_are_rescaled_to_the_picture() -> None:
    found = Detections(torch.tensor([[1.0, 2, 3, 4]]), torch.tensor([1]), torch.tensor([0.5]))
    rescaled = rescale_detections(found, network_size=(10, 20), picture_size=(30, 10))
    assert rescaled.boxes.tolist() == [[0.5, 6, 1.5, 12]]
    assert (rescaled.labels.tolist(), rescaled.scores.tolist()) == ([1], [0.5])
