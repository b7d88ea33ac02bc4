"""Detections of a picture, and of many pictures as tensors of a file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Detections:
    """The detections in one picture, in any order.

    Attributes:
        boxes: (N, 4) float32, ``x1, y1, x2, y2`` in pixels of the picture on disk.
        labels: (N,) int64, from 1; 0 is the background and is not an object.
        scores: (N,) float32; higher is more confident.

    Raises:
        ValueError: the shapes do not agree.
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor

    def __post_init__(self) -> None:
        n = len(self.scores)
        if not (self.boxes.shape == (n, 4) and self.labels.shape == self.scores.shape == (n,)):
            raise ValueError(
                f"boxes {tuple(self.boxes.shape)}, labels {tuple(self.labels.shape)} and scores "
                f"{tuple(self.scores.shape)} must be (N, 4), (N,) and (N,)"
            )


def rescale_detections(
    detections: Detections, network_size: Sequence[int], picture_size: Sequence[int]
) -> Detections:
    """Convert boxes from pixels of the network's input to pixels of the picture, on the CPU.

    Args:
        detections: in pixels of the input.
        network_size: height and width of the input.
        picture_size: height and width of the picture.
    """
    y, x = (after / before for before, after in zip(network_size, picture_size, strict=True))
    boxes = detections.boxes.cpu() * torch.tensor([x, y, x, y])
    return Detections(boxes, detections.labels.cpu(), detections.scores.cpu())


def join_detections(detections: Sequence[Detections]) -> dict[str, Tensor]:
    """Concatenate the detections of many pictures.

    Returns:
        ``boxes`` (N, 4), ``labels`` (N,) and ``scores`` (N,) as in ``Detections``, and
        ``picture`` (N,) int32, the index of each one's picture.
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


def split_detections(
    tensors: Mapping[str, Tensor], pictures: int, classes: int
) -> list[Detections]:
    """Invert ``join_detections``.

    Raises:
        KeyError: a tensor is missing.
        ValueError: the tensors are not detections of so many classes in so many pictures.
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
        raise ValueError("not detections in these pictures")
    lengths: list[int] = picture.bincount(minlength=pictures).tolist()
    columns = (torch.split(tensors[name], lengths) for name in ("boxes", "labels", "scores"))
    return [Detections(*each) for each in zip(*columns, strict=True)]
