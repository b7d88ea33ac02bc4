"""The loss of an SSD: multibox loss, and distillation loss where there is a teacher."""

from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, smooth_l1_loss
from torchvision.models.detection.ssd import SSD

from secateur.tasks.detection.box_coder import encode
from secateur.tasks.detection.matching import UNMATCHED, match_boxes
from secateur.tasks.detection.outputs import RawOutputs, raw_outputs
from secateur.tasks.distillation import Teacher, divergence

# Unmatched default boxes whose class loss counts, for each matched one.
NEGATIVES = 3
# Of the distillation of classes: 1, since softened logits of the many background boxes carry no
# information.
TEMPERATURE = 1.0


def ssd_loss(
    ssd: SSD, pictures: Tensor, objects: Tensor, labels: Tensor, *, teacher: Teacher | None = None
) -> Tensor:
    """The loss of one batch, of shape ().

    Args:
        ssd: in training mode.
        pictures: (N, 3, H, W) uint8.
        objects: boxes (N, M, 4) float32, in pixels; M at least 1.
        labels: of the boxes, (N, M) int64, from 1; 0 for padding.
        teacher: an SSD with the same default boxes; None for no distillation.
    """
    outputs = raw_outputs(ssd, pictures)
    loss = multibox_loss(outputs, objects, labels)
    if teacher is None:
        return loss
    with torch.no_grad():
        targets = raw_outputs(cast(SSD, teacher.model), pictures)
    return loss + teacher.weight * distillation_loss(outputs, targets)


def multibox_loss(outputs: RawOutputs, objects: Tensor, labels: Tensor) -> Tensor:
    """Class loss and box loss per matched default box (Liu et al. 2016, 2.2).

    It equals ``torchvision.models.detection.ssd.SSD.compute_loss``, but all pictures of the batch
    are computed together and nothing synchronises with the device.

    Args:
        outputs: of the SSD.
        objects: as for ``ssd_loss``.
        labels: as for ``ssd_loss``.
    """
    logits, offsets, boxes = outputs
    match = match_boxes(boxes, objects, labels != 0)  # (N, B)
    matched = match != UNMATCHED
    index = match.clamp_min(0)
    classes = torch.where(matched, labels.gather(1, index), 0)  # (N, B)
    targets = objects.gather(1, index[..., None].expand(-1, -1, 4))  # (N, B, 4)
    # An unmatched box is its own target, so that no logarithm of 0 arises.
    targets = encode(torch.where(matched[..., None], targets, boxes), boxes)
    box_loss = smooth_l1_loss(offsets, targets, reduction="none").sum(-1)  # (N, B)

    class_loss = cross_entropy(logits.flatten(0, 1), classes.flatten(), reduction="none")
    class_loss = class_loss.view_as(classes)  # (N, B)
    hardest = class_loss.detach().masked_fill(matched, -torch.inf).argsort(1, descending=True)
    negative = hardest.argsort(1) < NEGATIVES * matched.sum(1, keepdim=True)
    class_loss = torch.where(matched | negative, class_loss, 0.0)
    box_loss = torch.where(matched, box_loss, 0.0)
    return (box_loss.sum() + class_loss.sum()) / matched.sum().clamp_min(1)


def distillation_loss(student: RawOutputs, teacher: RawOutputs) -> Tensor:
    """Divergence of the classes and distance (smooth L1) of the offsets from a teacher's.

    The class divergence is summed over all default boxes. The distance of each box is weighted by
    the teacher's probability that the box is not background, and the sum of these probabilities
    divides both terms, so that the many background boxes do not dominate (Chen et al., NeurIPS
    2017).
    """
    object_probability = 1 - teacher.logits.softmax(-1)[..., 0]  # (N, B)
    class_loss = divergence(student.logits, teacher.logits, TEMPERATURE).sum()
    distance = smooth_l1_loss(student.offsets, teacher.offsets, reduction="none").sum(-1)  # (N, B)
    box_loss = (object_probability * distance).sum()
    return (class_loss + box_loss) / object_probability.sum().clamp_min(1)
