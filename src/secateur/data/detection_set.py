"""Pictures with annotated boxes, in the form that every reader returns."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from secateur.data import image_io
from secateur.errors import DataError


@dataclass(frozen=True, slots=True)
class AnnotatedPicture:
    """One picture on disk and the objects in it.

    Attributes:
        path: the picture's file.
        height: pixels.
        width: pixels.
        boxes: (N, 4) float32, ``x1, y1, x2, y2`` in pixels, ``0 <= x1 < x2 <= width``. Coordinates
            are continuous: the box of the whole picture is ``0, 0, width, height``.
        labels: (N,) int64, from 1 to the number of classes; 0 is the background.
        difficult: (N,) bool; a difficult object counts neither as found nor as missed (VOC).
    """

    path: Path
    height: int
    width: int
    boxes: Tensor
    labels: Tensor
    difficult: Tensor


@dataclass(frozen=True, slots=True)
class DetectionSet:
    """Annotated pictures and the names of their classes.

    Attributes:
        classes: names without the background; label ``k`` is ``classes[k - 1]``.
        pictures: the annotated pictures; some may have no objects.
    """

    classes: tuple[str, ...]
    pictures: tuple[AnnotatedPicture, ...]

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.pictures)

    def subset(self, indices: Sequence[int]) -> "DetectionSet":
        """Return the pictures at these positions, in this order, with the same classes."""
        return DetectionSet(self.classes, tuple(self.pictures[index] for index in indices))


def annotated_picture(
    path: Path,
    boxes: Sequence[Sequence[float]],
    labels: Sequence[int],
    difficult: Sequence[bool],
    source: Path,
    root: Path | None = None,
) -> AnnotatedPicture:
    """Read the picture's size and check its boxes; clip those that leave it by at most 1 pixel.

    Args:
        path: the picture's file.
        boxes: ``x1, y1, x2, y2`` of each object, pixels.
        labels: label of each box, from 1.
        difficult: whether each object is difficult.
        source: the annotation file; part of error messages.
        root: the data folder, out of which no link may lead; None for no check.

    Raises:
        DataError: the picture is missing or unreadable, or a box is empty or leaves the picture by
            more than 1 pixel.
    """
    width, height = picture_size(path, source, root)
    clipped = torch.tensor([_clip(box, width, height) for box in boxes], dtype=torch.float32)
    for x1, y1, x2, y2 in clipped.tolist():  # in float32: rounding may make a thin box empty
        if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
            raise DataError(
                f"{source}: box ({x1:g}, {y1:g}, {x2:g}, {y2:g}) is empty or outside its picture "
                f"{path.name} ({width} x {height} pixels); correct or remove it"
            )
    return AnnotatedPicture(
        path,
        height,
        width,
        clipped.reshape(-1, 4),
        torch.tensor(labels, dtype=torch.int64),
        torch.tensor(difficult, dtype=torch.bool),
    )


def picture_size(path: Path, source: Path, root: Path | None = None) -> tuple[int, int]:
    """Read the width and height of a picture in pixels from its header, rotated as by EXIF.

    Args:
        path: the picture's file.
        source: the annotation file; part of error messages.
        root: the data folder, out of which no link may lead; None for no check.

    Raises:
        DataError: the picture is missing, unreadable or outside the data folder.
    """
    try:
        return image_io.picture_size(path, root)
    except FileNotFoundError:
        raise DataError(
            f"{path}: picture not found, but {source} names it; restore it or remove its entry"
        ) from None


def _clip(box: Sequence[float], width: int, height: int) -> list[float]:
    """Clip sides that leave the picture by at most 1 pixel, and keep the others.

    Such sides come from rounding, or from counting pixels from 0 where VOC counts from 1.
    """
    return [
        min(max(side, 0), length) if -1 <= side <= length + 1 else side
        for side, length in zip(box, (width, height, width, height), strict=True)
    ]
