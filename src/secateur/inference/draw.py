"""Boxes, classes and scores drawn on a picture."""

import colorsys
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image
from torchvision.utils import draw_bounding_boxes

from secateur.tasks.detection.detections import Detections

Colour = tuple[int, int, int]

# Pillow's default font has English letters only.
_FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


def draw_detections(pixels: Tensor, found: Detections, classes: Sequence[str]) -> Image.Image:
    """Draw detections on a copy of a picture.

    Args:
        pixels: (3, H, W) uint8.
        found: boxes in pixels of the picture.
        classes: names; label ``k`` is ``classes[k - 1]``.
    """
    # Lines and letters scale with the picture, so that they remain visible on a large one.
    side = min(pixels.shape[1:])
    width, letters = max(1, round(side / 200)), max(11, round(side / 32))
    # The highest score is drawn last, on top.
    order = found.scores.argsort()
    labels: list[int] = found.labels[order].tolist()
    boxes, scores = found.boxes[order], found.scores[order].tolist()
    # Rounding can put the second corner of a thin box before its first.
    boxes = torch.cat([boxes[:, :2], boxes[:, 2:].maximum(boxes[:, :2])], dim=1)
    colours = [class_colour(label) for label in labels]
    if labels:
        pixels = draw_bounding_boxes(pixels, boxes, colors=colours, width=width)
    picture: Image.Image = to_pil_image(pixels)
    pen = ImageDraw.Draw(picture)
    font = ImageFont.truetype(_FONT, letters)
    for label, score, colour, box in zip(labels, scores, colours, boxes.tolist(), strict=True):
        _write(pen, font, f"{classes[label - 1]}: {score:.0%}", colour, (box[0], box[1]))
    return picture


def class_colour(label: int) -> Colour:
    """Return the colour of a class; neighbouring labels have clearly different colours."""
    # Hues in steps of the golden ratio are spread evenly, however many there are.
    red, green, blue = colorsys.hsv_to_rgb(label * 0.618034 % 1, 0.85, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def _write(
    pen: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    text: str,
    colour: Colour,
    corner: tuple[float, float],
) -> None:
    """Write on a filled label above the box's upper left corner, moved inside the picture."""
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    margin = (bottom - top) // 4 + 1
    width, height = right - left + 2 * margin, bottom - top + 2 * margin
    x = max(0, min(corner[0], pen.im.size[0] - width))
    y = max(0, corner[1] - height)
    pen.rectangle((x, y, x + width, y + height), fill=colour)
    # Luma weights of ITU-R BT.601.
    bright = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 140
    ink = (0, 0, 0) if bright else (255, 255, 255)
    pen.text((x + margin - left, y + margin - top), text, fill=ink, font=font)
