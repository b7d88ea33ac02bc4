"""Assignment of annotated objects to default boxes, for all pictures of a batch together.

The result is that of torchvision's ``SSDMatcher``, which takes one picture at a time and
synchronises with the device for each; a GPU then idles for most of a step.
"""

import torch
from torch import Tensor
from torchvision.ops import box_iou

MIN_IOU = 0.5
UNMATCHED = -1


def match_boxes(boxes: Tensor, objects: Tensor, valid: Tensor) -> Tensor:
    """Assign an object to each default box, or none.

    A box is assigned the object with which its IoU is highest, if that is at least ``MIN_IOU``.
    Every object is also assigned to the box with which its IoU is highest; if several objects
    share that box, the last one is.

    Args:
        boxes: default boxes (B, 4), pixels.
        objects: (N, M, 4), pixels; M at least 1.
        valid: (N, M) bool; False for padding.

    Returns:
        Index of the object, (N, B) int64, or ``UNMATCHED``.
    """
    n, m = valid.shape
    iou = box_iou(objects.flatten(0, 1), boxes).view(n, m, len(boxes))
    iou = torch.where(valid[..., None], iou, -1.0)
    highest, match = iou.max(1)  # (N, B)
    match = torch.where(highest >= MIN_IOU, match, UNMATCHED)
    index = torch.where(valid, torch.arange(m, device=valid.device), UNMATCHED)  # (N, M)
    best = torch.full_like(match, UNMATCHED).scatter_reduce(1, iou.argmax(2), index, "amax")
    return torch.where(best != UNMATCHED, best, match)
