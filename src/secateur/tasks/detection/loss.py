"""SSD's loss, all pictures of a batch together.

The same as ``torchvision.models.detection.ssd.SSD.compute_loss`` behind its ``SSDMatcher``. Those
go from picture to picture and wait for the device at each, so that a GPU stands idle for most of a
step; here nothing is waited for.
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, smooth_l1_loss
from torchvision.ops import box_iou

MATCHED = 0.5  # least IoU of a default box and the object that it is to find
NEGATIVES = 3  # for each matched default box
NOTHING = -1
CENTRE, SIDES = 10.0, 5.0  # weights of the offsets


def multibox_loss(
    logits: Tensor, offsets: Tensor, boxes: Tensor, objects: Tensor, labels: Tensor
) -> Tensor:
    """The loss of a batch: classes and offsets, per matched default box (Liu et al. 2016, 2.2).

    Args:
        logits: (N, B, 1 + K) float32, raw; class 0 is the background.
        offsets: (N, B, 4) float32, raw.
        boxes: default boxes (B, 4) float32, ``x1, y1, x2, y2`` in pixels.
        objects: (N, M, 4) float32, in pixels too; M at least 1.
        labels: of the objects, (N, M) int64, from 1; 0 where there is none.
    """
    match = match_boxes(boxes, objects, labels != 0)  # (N, B)
    found = match != NOTHING
    which = match.clamp_min(0)
    wanted = torch.where(found, labels.gather(1, which), 0)  # (N, B)
    goals = objects.gather(1, which[..., None].expand(-1, -1, 4))  # (N, B, 4)
    # A box that finds nothing is held against itself: no logarithm of 0.
    goals = encode(torch.where(found[..., None], goals, boxes), boxes)
    distance = smooth_l1_loss(offsets, goals, reduction="none").sum(-1)

    surprise = cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none")
    surprise = surprise.view_as(wanted)  # (N, B)
    hardest = surprise.detach().masked_fill(found, -torch.inf).argsort(1, descending=True)
    negative = hardest.argsort(1) < NEGATIVES * found.sum(1, keepdim=True)
    counted = torch.where(found | negative, surprise, 0.0)
    return (torch.where(found, distance, 0.0).sum() + counted.sum()) / found.sum().clamp_min(1)


def match_boxes(boxes: Tensor, objects: Tensor, real: Tensor) -> Tensor:
    """Tell which object each default box is to find.

    It is the one that it overlaps most, if that is enough; and an object's best default box is its
    own in any case, of several objects the last one's.

    Args:
        boxes: default boxes (B, 4).
        objects: (N, M, 4), M at least 1.
        real: (N, M) bool; the others only fill up.

    Returns:
        Number of the object, (N, B) int64; ``NOTHING`` of most.
    """
    n, m = real.shape
    overlap = box_iou(objects.flatten(0, 1), boxes).view(n, m, len(boxes))
    overlap = torch.where(real[..., None], overlap, -1.0)
    most, match = overlap.max(1)  # (N, B)
    match = torch.where(most >= MATCHED, match, NOTHING)
    number = torch.where(real, torch.arange(m, device=real.device), NOTHING)
    own = torch.full_like(match, NOTHING).scatter_reduce(1, overlap.argmax(2), number, "amax")
    return torch.where(own != NOTHING, own, match)


def encode(objects: Tensor, boxes: Tensor) -> Tensor:
    """Give the offsets that lead from default boxes to objects, (…, B, 4); both in pixels."""

    def parts(corners: Tensor) -> tuple[Tensor, Tensor]:
        low, high = corners[..., :2], corners[..., 2:]
        return (low + high) / 2, high - low

    (centre, sides), (own_centre, own_sides) = parts(objects), parts(boxes)
    away = CENTRE * (centre - own_centre) / own_sides
    larger = SIDES * (sides / own_sides).log()
    return torch.cat([away, larger], -1)
