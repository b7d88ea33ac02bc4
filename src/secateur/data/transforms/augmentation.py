"""Augmentation of training pictures to samples of one size.

The view of a sample is chosen first, as numbers. Then only the pixels in the view are processed: no
canvas is painted, and photometric distortion works at the final size.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from random import Random
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from secateur.data.detection_set import AnnotatedPicture
from secateur.data.transforms.photometric import distort

# Pixels (3, size, size) uint8, and boxes (M, 4) float32 and labels (M,) int64.
Sample = tuple[Tensor, dict[str, Tensor]]
# From a picture, its RGB pixels and the sample's own random numbers.
Transform = Callable[[AnnotatedPicture, Image.Image, Random], Sample]
# x1, y1, x2, y2 in pixels.
Box = Sequence[float]

# Grey: a network trained from scratch has no mean colour of its own.
FILL = (123, 117, 104)
# Choices of the minimum IoU of a crop with an object; None for no crop.
OVERLAPS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, None)
TRIALS = 40


class View(NamedTuple):
    """The rectangle that a sample shows, in pixels of the picture; it may leave the picture."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class SSDAugmentation:
    """SSD's augmentation: photometric distortion, expansion, IoU crop, flip, resizing.

    Attributes:
        size: side of the result, pixels.
        photometric: distort brightness, contrast, saturation and hue.
        expand: largest side of the canvas around a picture ÷ the picture's side; 1 for no canvas.
        crop: crop with a random minimum IoU between the crop and some object.
        flip: mirror half of the pictures; false if left and right have different meanings.
    """

    size: int
    _: KW_ONLY
    photometric: bool = True
    expand: float = 4.0
    crop: bool = True
    flip: bool = True

    def __call__(self, picture: AnnotatedPicture, image: Image.Image, rng: Random) -> Sample:
        """Make a sample of a picture."""
        view = View(0, 0, picture.width, picture.height)
        boxes: list[Box] = picture.boxes.tolist()
        kept: Sequence[int] = range(len(boxes))
        if self.expand > 1 and rng.random() < 0.5:
            view = zoomed_out(view, rng.uniform(1, self.expand), rng)
        if self.crop:
            view = overlapping_crop(view, boxes, rng)
            kept = [i for i in kept if _shows_centre(view, boxes[i])]
        pixels = show(image, view, self.size, rng if self.photometric else None)
        mirrored = self.flip and rng.random() < 0.5
        placed = [_placed(boxes[i], view, self.size, mirrored) for i in kept]
        # Objects narrower than a pixel are invisible.
        seen = [x2 - x1 >= 1 and y2 - y1 >= 1 for x1, y1, x2, y2 in placed]
        return pixels.flip(-1) if mirrored else pixels, {
            "boxes": _boxes([box for box, is_seen in zip(placed, seen, strict=True) if is_seen]),
            "labels": picture.labels[[i for i, is_seen in zip(kept, seen, strict=True) if is_seen]],
        }


@dataclass(frozen=True, slots=True)
class NativeCrops:
    """Crops of size × size pixels at about native resolution, four of five around an object.

    Attributes:
        size: side of the result, pixels.
        photometric: distort brightness, contrast, saturation and hue.
        zoom: largest factor by which a crop is enlarged or reduced.
        flip: mirror half of the crops.
    """

    size: int
    _: KW_ONLY
    photometric: bool = True
    zoom: float = 1.25
    flip: bool = True

    def __call__(self, picture: AnnotatedPicture, image: Image.Image, rng: Random) -> Sample:
        """Make a sample of a picture."""
        width, height, size = picture.width, picture.height, self.size
        side = min(round(size * self.zoom ** rng.uniform(-1, 1)), height, width)
        boxes: list[Box] = picture.boxes.tolist()
        if boxes and rng.random() < 0.8:
            x1, y1, x2, y2 = rng.choice(boxes)
            # Any position that shows the whole object, or only the object if it is larger.
            left = rng.uniform(min(x2 - side, x1), max(x2 - side, x1))
            top = rng.uniform(min(y2 - side, y1), max(y2 - side, y1))
        else:
            left, top = rng.uniform(0, width - side), rng.uniform(0, height - side)
        x, y = (
            int(min(max(left, 0), width - side)),
            int(min(max(top, 0), height - side)),
        )
        view = View(x, y, side, side)
        pixels = show(
            image.crop((x, y, x + side, y + side)),
            View(0, 0, side, side),
            size,
            rng if self.photometric else None,
        )
        mirrored = self.flip and rng.random() < 0.5
        # Less than half of an object is neither a good example nor clean background; it counts as
        # background, as it does at the edge of an original picture.
        kept = [i for i, box in enumerate(boxes) if _share_inside(view, box) > 0.5]
        return pixels.flip(-1) if mirrored else pixels, {
            "boxes": _boxes([_placed(boxes[i], view, size, mirrored) for i in kept]),
            "labels": picture.labels[kept],
        }


def zoomed_out(view: View, factor: float, rng: Random) -> View:
    """Return a view of ``factor`` times the sides with the old view at a random position in it."""
    width, height = int(view.width * factor), int(view.height * factor)
    left = int((width - view.width) * rng.random())
    top = int((height - view.height) * rng.random())
    return View(view.x - left, view.y - top, width, height)


def overlapping_crop(view: View, boxes: Sequence[Box], rng: Random) -> View:
    """Return a part of the view whose IoU with some object reaches a random minimum.

    Its sides are 0.3 to 1 of the view's, with a ratio of at most 2 : 1. Only objects whose centre
    is in the crop count. After 40 trials without success another minimum is drawn; one of the seven
    choices keeps the whole view.
    """
    # Without objects no crop reaches a minimum, so the whole view is kept.
    while boxes and (least := rng.choice(OVERLAPS)) is not None:
        for _ in range(TRIALS):
            width = int(view.width * rng.uniform(0.3, 1))
            height = int(view.height * rng.uniform(0.3, 1))
            if not (0 < width <= 2 * height and 0 < height <= 2 * width):
                continue
            x = view.x + int((view.width - width) * rng.random())
            y = view.y + int((view.height - height) * rng.random())
            crop = View(x, y, width, height)
            if any(_shows_centre(crop, box) and _iou(crop, box) >= least for box in boxes):
                return crop
    return view


def show(image: Image.Image, view: View, size: int, rng: Random | None) -> Tensor:
    """Resample a view of a picture to size × size pixels, grey outside the picture.

    Args:
        image: the picture, RGB.
        view: the rectangle to show; it may leave the picture.
        size: side of the result, pixels.
        rng: random numbers for photometric distortion; None for no distortion.

    Returns:
        (3, size, size) uint8.
    """
    left, right, first_column, end_column = _visible(view.x, view.width, image.width, size)
    top, bottom, first_row, end_row = _visible(view.y, view.height, image.height, size)
    canvas = torch.tensor(FILL, dtype=torch.uint8).view(3, 1, 1).expand(3, size, size)
    if first_row >= end_row or first_column >= end_column:
        return canvas.contiguous()
    part = _pixels(image.crop((left, top, right, bottom)))
    shape = (end_row - first_row, end_column - first_column)
    part = interpolate(part[None], shape, mode="bilinear", antialias=True)[0]
    if rng is not None:
        part = distort(part, _spread_sample(image), rng)
    if shape == (size, size):
        return part.contiguous()
    canvas = canvas.contiguous()
    canvas[:, first_row:end_row, first_column:end_column] = part
    return canvas


def _visible(start: int, length: int, available: int, size: int) -> tuple[int, int, int, int]:
    """On one axis, the range of the picture in a view, and the range of ``size`` pixels it fills.

    A pixel at the picture's edge is filled if the picture covers at least half of it.
    """
    low, high = max(start, 0), min(start + length, available)
    first, end = (math.floor((edge - start) * size / length + 0.5) for edge in (low, high))
    return low, high, first, end


def _pixels(image: Image.Image) -> Tensor:
    """Pixels (3, H, W) uint8 in channels-last memory order, in which resizing is fastest."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _spread_sample(image: Image.Image) -> Tensor:
    """Pixels (3, 4096) uint8, spread evenly over a picture, to estimate its mean."""
    return _pixels(image.resize((64, 64), Image.Resampling.NEAREST)).flatten(1)


def _placed(box: Box, view: View, size: int, mirrored: bool) -> Box:
    """A box in pixels of the sample, clipped to the sample."""
    x1, x2 = (_on_axis(side, view.x, view.width, size) for side in (box[0], box[2]))
    y1, y2 = (_on_axis(side, view.y, view.height, size) for side in (box[1], box[3]))
    return (size - x2, y1, size - x1, y2) if mirrored else (x1, y1, x2, y2)


def _on_axis(side: float, start: int, length: int, size: int) -> float:
    return min(max((side - start) * size / length, 0), size)


def _boxes(boxes: Sequence[Box]) -> Tensor:
    return torch.tensor(boxes, dtype=torch.float32).view(-1, 4)


def _shows_centre(view: View, box: Box) -> bool:
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return view.x < x < view.x + view.width and view.y < y < view.y + view.height


def _inside(view: View, box: Box) -> float:
    """Area of the part of a box in the view, square pixels."""
    width = min(box[2], view.x + view.width) - max(box[0], view.x)
    height = min(box[3], view.y + view.height) - max(box[1], view.y)
    return max(width, 0) * max(height, 0)


def _share_inside(view: View, box: Box) -> float:
    return _inside(view, box) / _area(box)


def _iou(view: View, box: Box) -> float:
    both = _inside(view, box)
    return both / (view.width * view.height + _area(box) - both)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
