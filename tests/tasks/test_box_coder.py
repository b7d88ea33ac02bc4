"""Offsets by hand and torchvision's coder."""

import math

import torch
from torchvision.models.detection._utils import BoxCoder

from secateur.tasks.detection.box_coder import decode, encode


def test_offsets_by_hand() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 20]])
    # Moved by half a width and a tenth of a height; twice as wide.
    targets = torch.tensor([[0.0, 2, 20, 22]])
    offsets = encode(targets, boxes)
    expected = torch.tensor([[5.0, 1.0, 5 * math.log(2), 0.0]])
    torch.testing.assert_close(offsets, expected)
    torch.testing.assert_close(decode(offsets, boxes, (100, 100)), targets)
    assert decode(offsets, boxes, (15, 12)).tolist() == [[0, 2, 12, 15]]


def test_coder_equals_torchvisions() -> None:
    generator = torch.Generator().manual_seed(0)
    corners = 50 * torch.rand(2, 30, 2, generator=generator)
    sides = 1 + 40 * torch.rand(2, 30, 2, generator=generator)
    targets, boxes = torch.cat([corners, corners + sides], 2)
    theirs = BoxCoder(weights=(10.0, 10.0, 5.0, 5.0))
    torch.testing.assert_close(encode(targets, boxes), theirs.encode_single(targets, boxes))
    offsets = 20 * torch.randn(30, 4, generator=generator)
    decoded = (
        theirs.decode_single(offsets, boxes).clamp(min=0).minimum(torch.tensor([90.0, 60] * 2))
    )
    torch.testing.assert_close(decode(offsets, boxes, (60, 90)), decoded)
