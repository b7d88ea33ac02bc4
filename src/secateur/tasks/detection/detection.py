"""What a detector is to the training loop: its loss, its detections, its accuracy."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD

from secateur.config.evaluate import Evaluate
from secateur.data.detection_set import AnnotatedPicture, DetectionSet
from secateur.data.loaders import evaluation_batches
from secateur.errors import DataError
from secateur.models.ssd import SSDArchitecture, least_side
from secateur.pruning.graph.trace import evaluating
from secateur.tasks.detection.average_precision import (
    Detections,
    PrecisionRecall,
    average_precision,
    coco_average_precision,
)
from secateur.tasks.detection.loss import multibox_loss
from secateur.tasks.detection.postprocessing import postprocess
from secateur.tasks.device import best_device
from secateur.tasks.distillation import Teacher, divergence
from secateur.tasks.normalisation import normalised

METRICS = ("AP50_area", "AP50_voc07", "AP_coco", "AP50_coco", "AP75_coco")

# Of a teacher's classes: 1, for most default boxes are surely background and softened say nothing.
TEMPERATURE = 1.0

# As many as COCO interpolates at: enough for a drawing.
CURVE_POINTS = 101

# By generator of default boxes: what they depend on, and those that it made last.
_MADE: WeakKeyDictionary[nn.Module, tuple[Any, Tensor]] = WeakKeyDictionary()


def ssd_loss(
    ssd: SSD,
    pictures: Tensor,
    objects: Tensor,
    labels: Tensor,
    *,
    teacher: Teacher | None = None,
) -> Tensor:
    """The multibox loss of one batch.

    Args:
        ssd: in training mode.
        pictures: (N, 3, H, W) uint8.
        objects: boxes (N, M, 4) float32, in pixels; M at least 1.
        labels: of the boxes, (N, M) int64, from 1; 0 where there is no object.
        teacher: an SSD with the same default boxes, learnt from too; None: none.
    """
    outputs, boxes = _forward(ssd, pictures)
    loss = multibox_loss(outputs["cls_logits"], outputs["bbox_regression"], boxes, objects, labels)
    if teacher is None:
        return loss
    with torch.no_grad():
        taught, _ = _forward(cast(SSD, teacher.model), pictures)
    return loss + teacher.weight * teacher_loss(outputs, taught)


def teacher_loss(outputs: Mapping[str, Tensor], taught: Mapping[str, Tensor]) -> Tensor:
    """Tell how far an SSD's raw outputs are from a teacher's.

    The classes' divergence over all default boxes and the boxes' distance (smooth L1) where the
    teacher sees an object, both for each object that it sees: default boxes count as far as the
    teacher takes them for an object, so that the many of nothing do not drown them
    (Chen et al., NeurIPS 2017).

    Args:
        outputs: ``cls_logits`` (N, B, classes), background first, and ``bbox_regression``
            (N, B, 4).
        taught: likewise.
    """
    sure = 1 - taught["cls_logits"].softmax(-1)[..., 0]
    classes = divergence(outputs["cls_logits"], taught["cls_logits"], TEMPERATURE).sum()
    distance = nn.functional.smooth_l1_loss(
        outputs["bbox_regression"], taught["bbox_regression"], reduction="none"
    ).sum(-1)
    return (classes + (sure * distance).sum()) / sure.sum().clamp_min(1)


@torch.no_grad()
def detect(ssd: SSD, pictures: Tensor) -> list[Detections]:
    """Find objects, with the published settings that the SSD carries.

    Args:
        ssd: in evaluation mode.
        pictures: (N, 3, H, W) uint8.
    """
    outputs, boxes = _forward(ssd, pictures)
    return postprocess(
        outputs["cls_logits"],
        outputs["bbox_regression"],
        boxes,
        cast(tuple[int, int], tuple(pictures.shape[-2:])),
        score_thresh=ssd.score_thresh,
        nms_thresh=ssd.nms_thresh,
        candidates=ssd.topk_candidates,
        detections=ssd.detections_per_img,
    )


def _forward(ssd: SSD, pictures: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Raw outputs in float32, and the default boxes (B, 4), the same for every picture."""
    x = normalised(pictures, ssd.transform.image_mean, ssd.transform.image_std)
    maps = list(ssd.backbone(x).values())
    outputs = {name: value.float() for name, value in ssd.head(maps).items()}
    return outputs, _default_boxes(ssd, x, maps)


def _default_boxes(ssd: SSD, x: Tensor, maps: Sequence[Tensor]) -> Tensor:
    """Made when shapes change, not for every batch: on a GPU that is a good part of a step."""
    generator = ssd.anchor_generator
    key = (x.device, *(tuple(each.shape[-2:]) for each in (x, *maps)))
    if generator not in _MADE or _MADE[generator][0] != key:
        one = ImageList(x[:1], [cast(tuple[int, int], tuple(x.shape[-2:]))])
        _MADE[generator] = key, generator(one, [each[:1].float() for each in maps])[0]
    return _MADE[generator][1]


def set_thresholds(ssd: SSD, settings: Evaluate) -> None:
    """Give an SSD a recipe's settings of scores and NMS."""
    ssd.score_thresh, ssd.nms_thresh = settings.score, settings.nms
    ssd.topk_candidates, ssd.detections_per_img = settings.candidates, settings.boxes


def find_objects(
    ssd: SSD,
    architecture: SSDArchitecture,
    pictures: Sequence[AnnotatedPicture],
    settings: Evaluate,
    *,
    device: torch.device | None = None,
    advance: Callable[[int], None] = lambda _count: None,
) -> list[Detections]:
    """Find the objects of every picture; boxes are in pixels of the picture on disk.

    Args:
        ssd: the network; its thresholds are set to those of ``settings``, and it ends on the CPU.
        architecture: says whether pictures are resized to the network's size.
        pictures: on disk.
        settings: scores, NMS and batch size.
        device: where to run; None for the accelerator, if there is one.
        advance: told how many pictures were done.

    Raises:
        DataError: a picture cannot be read, or is too small for the network.
    """
    check_sizes(pictures, architecture)
    set_thresholds(ssd, settings)
    device = device or best_device()
    ssd.to(device)
    size = architecture.size if architecture.resize else None
    with evaluating(ssd):
        found = find_in_batches(
            lambda pixels: detect(ssd, pixels.to(device)),
            pictures,
            size,
            settings.batch_size,
            advance=advance,
        )
    ssd.cpu()
    return found


def find_in_batches(
    find: Callable[[Tensor], list[Detections]],
    pictures: Sequence[AnnotatedPicture],
    size: int | None,
    batch_size: int,
    *,
    advance: Callable[[int], None] = lambda _count: None,
) -> list[Detections]:
    """Find the objects of every picture; boxes are in pixels of the picture on disk.

    Args:
        find: gives the objects of each of a batch of pictures (N, 3, H, W) uint8.
        pictures: on disk.
        size: side every picture is resized to, pixels; None leaves them as they are.
        batch_size: pictures at once.
        advance: told how many pictures were done.

    Raises:
        DataError: a picture cannot be read.
    """
    found: dict[int, Detections] = {}
    for positions, pixels in evaluation_batches(pictures, size, batch_size):
        for position, detections in zip(positions, find(pixels), strict=True):
            sides = (pictures[position].height, pictures[position].width)
            found[position] = scaled(detections, pixels.shape[-2:], sides)
        advance(len(positions))
    return [found[position] for position in range(len(pictures))]


def scaled(found: Detections, given: Sequence[int], sides: Sequence[int]) -> Detections:
    """Give detections in the pixels of the picture itself, on the CPU.

    Args:
        found: in the pixels of what the network was given.
        given: height and width of that.
        sides: height and width of the picture.
    """
    y, x = (side / before for side, before in zip(sides, given, strict=True))
    boxes = found.boxes.cpu() * torch.tensor([x, y, x, y])
    return Detections(boxes, found.labels.cpu(), found.scores.cpu())


def joined_detections(detections: Sequence[Detections]) -> dict[str, Tensor]:
    """Give the detections of all pictures one after the other, as for a file.

    Returns:
        ``boxes`` (N, 4), ``labels`` (N,) and ``scores`` (N,) as in ``Detections``, and
        ``picture`` (N,) int32, the position of each one's picture.
    """
    lengths = torch.tensor([len(each.scores) for each in detections], dtype=torch.int64)
    return {
        "boxes": torch.cat([torch.empty(0, 4), *(each.boxes for each in detections)]),
        "labels": torch.cat(
            [torch.empty(0, dtype=torch.int64), *(each.labels for each in detections)]
        ),
        "scores": torch.cat([torch.empty(0), *(each.scores for each in detections)]),
        "picture": torch.arange(len(lengths), dtype=torch.int32).repeat_interleave(lengths),
    }


def parted_detections(
    tensors: Mapping[str, Tensor], pictures: int, classes: int
) -> list[Detections]:
    """Give the detections of each picture, from what ``joined_detections`` made of them.

    Raises:
        KeyError: a tensor is missing.
        ValueError: they are no detections in so many pictures and of so many classes.
    """
    picture, labels = tensors["picture"], tensors["labels"]
    boxes, scores = tensors["boxes"], tensors["scores"]
    count = len(picture) if picture.dim() == 1 else -1
    if (
        boxes.shape != (count, 4)
        or {labels.shape, scores.shape} != {(count,)}
        or (picture.dtype, labels.dtype) != (torch.int32, torch.int64)
        or (boxes.dtype, scores.dtype) != (torch.float32, torch.float32)
        or not (boxes.isfinite().all() and scores.isfinite().all())
        or not ((labels >= 1) & (labels <= classes)).all()
        or not ((picture >= 0) & (picture < pictures)).all()
        or not (picture.diff() >= 0).all()
    ):
        raise ValueError("no detections in these pictures")
    lengths: list[int] = picture.bincount(minlength=pictures).tolist()
    columns = (torch.split(tensors[name], lengths) for name in ("boxes", "labels", "scores"))
    return [Detections(*each) for each in zip(*columns, strict=True)]


def measure_accuracy(
    detections: Sequence[Detections], dataset: DetectionSet, metrics: Sequence[str]
) -> dict[str, float]:
    """Give the metrics named, in percent."""
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
    """Give each class's average precision at IoU 0.5, in JSON's terms.

    Returns:
        ``by_class``: by class name ``objects``, how many there are to find (those marked
        difficult are not counted), and ``AP50_area`` and ``AP50_voc07``, None where there are
        none; and ``curves``: by class name ``recall``, ``precision`` and ``scores`` where recall
        rises, at most ``CURVE_POINTS`` of those points.
    """
    voc = average_precision(detections, dataset.pictures, dataset.classes)
    by_class = {
        name: {
            "objects": _count(dataset, label),
            "AP50_area": _number(voc.AP50_area_by_class[name]),
            "AP50_voc07": _number(voc.AP50_voc07_by_class[name]),
        }
        for label, name in enumerate(dataset.classes, start=1)
    }
    return {
        "by_class": by_class,
        "curves": {name: _thinned(curve) for name, curve in voc.curves.items()},
    }


def _count(dataset: DetectionSet, label: int) -> int:
    return sum(int(((p.labels == label) & ~p.difficult).sum()) for p in dataset.pictures)


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value


def _thinned(curve: PrecisionRecall) -> dict[str, list[float]]:
    """The points at which recall rises, evenly thinned out; the first and the last stay."""
    rises = np.flatnonzero(np.diff(curve.recall, prepend=0) > 0)
    if len(rises) > CURVE_POINTS:
        rises = rises[np.linspace(0, len(rises) - 1, CURVE_POINTS).round().astype(int)]
    columns = {"recall": curve.recall, "precision": curve.precision, "scores": curve.scores}
    return {name: column[rises].round(4).tolist() for name, column in columns.items()}


def check_sizes(pictures: Sequence[AnnotatedPicture], architecture: SSDArchitecture) -> None:
    """Refuse pictures that are too small for a network that takes them at native size.

    Raises:
        DataError: one is.
    """
    if not architecture.resize:
        least = least_side(architecture.network, architecture.detection_layers)
        for picture in pictures:
            check_size(picture.height, picture.width, least, str(picture.path))


def check_size(height: int, width: int, least: int, name: str) -> None:
    """Refuse a picture that would leave a detection layer without a cell.

    Args:
        height: of the picture, pixels.
        width: likewise.
        least: the least side that the network takes, pixels.
        name: of the picture, for the message.

    Raises:
        DataError: it is so.
    """
    if min(height, width) < least:
        raise DataError(
            f"{name}: {width} by {height} pixels are too few for this network, which takes "
            "pictures at native size; leave it out or enlarge it"
        )
