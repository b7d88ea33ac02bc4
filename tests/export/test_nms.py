import pytest
import torch
from torchvision.ops import nms

from secateur.export.nms import kept_by_nms


def test_lists_are_independent() -> None:
    square = [0.0, 0.0, 10.0, 10.0]
    near = [1.0, 0.0, 11.0, 10.0]  # IoU 9/11 with square
    boxes = torch.tensor([[square, near], [near, square]])
    scores = torch.tensor([[0.9, 0.8], [0.2, 0.05]])
    assert kept_by_nms(boxes, scores, 0.5, 0.1).tolist() == [[True, False], [True, False]]
    assert kept_by_nms(boxes, scores, 0.9, 0.1).tolist() == [[True, True], [True, False]]
    assert kept_by_nms(boxes, scores, 0.5, 0.85).tolist() == [[True, False], [False, False]]


@pytest.mark.parametrize("seed", range(5))
def test_each_list_as_torchvision(seed: int) -> None:
    torch.manual_seed(seed)
    corner = torch.rand(7, 30, 2) * 40
    boxes = torch.cat([corner, corner + 5 + torch.rand(7, 30, 2) * 30], dim=2)
    scores = torch.rand(7, 30)
    kept = kept_by_nms(boxes, scores, 0.4, 0.0)
    for number in range(7):
        expected = set(nms(boxes[number], scores[number], 0.4).tolist())
        assert set(kept[number].nonzero()[:, 0].tolist()) == expected


def test_a_trace_knows_the_shape() -> None:
    torch.library.opcheck(kept_by_nms, (torch.rand(3, 5, 4), torch.rand(3, 5), 0.5, 0.1))
