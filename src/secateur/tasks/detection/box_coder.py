"""Offsets of boxes from default boxes (Liu et al. 2016, 2.2), as torchvision's ``BoxCoder``."""

import math

import torch
from torch import Tensor

CENTRE_WEIGHT, SIDE_WEIGHT = 10.0, 5.0
# Largest log of a side's scale, so that its exponential cannot overflow; as torchvision's.
MAX_LOG_SCALE = math.log(1000 / 16)


def encode(targets: Tensor, boxes: Tensor) -> Tensor:
    """Give the offsets of target boxes from default boxes, (…, B, 4).

    Args:
        targets: (…, B, 4), ``x1, y1, x2, y2`` in pixels.
        boxes: default boxes (B, 4), in pixels.
    """
    (centre, sides), (own_centre, own_sides) = _centre_and_sides(targets), _centre_and_sides(boxes)
    shift = CENTRE_WEIGHT * (centre - own_centre) / own_sides
    log_scale = SIDE_WEIGHT * (sides / own_sides).log()
    return torch.cat([shift, log_scale], -1)


def decode(offsets: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Apply offsets to default boxes and clip the result to the picture, (B, 4).

    Args:
        offsets: (B, 4), as ``encode`` gives them.
        boxes: default boxes (B, 4), in pixels.
        size: height and width of the picture, pixels.
    """
    height, width = size
    side = boxes[:, 2:] - boxes[:, :2]  # (B, 2)
    centre = boxes[:, :2] + 0.5 * side + offsets[:, :2] / CENTRE_WEIGHT * side  # (B, 2)
    scale = (offsets[:, 2:] / SIDE_WEIGHT).clamp(max=MAX_LOG_SCALE).exp()  # (B, 2)
    half = 0.5 * side * scale
    corners = torch.stack((centre - half, centre + half), 1).clamp(min=0)  # (B, 2, 2)
    return corners.minimum(boxes.new_tensor([width, height])).flatten(1)


def _centre_and_sides(boxes: Tensor) -> tuple[Tensor, Tensor]:
    low, high = boxes[..., :2], boxes[..., 2:]
    return (low + high) / 2, high - low
