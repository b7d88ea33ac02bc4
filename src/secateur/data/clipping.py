"""Boxes that rounding pushed a little over the border of their picture."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from secateur.data.detection_set import annotated_picture


def picture_size(path: Path, source: Path) -> tuple[int, int]:
    """Width and height of a picture in pixels.

    Args:
        path: the picture's file.
        source: the annotation file, named in errors.

    Raises:
        DataError: the picture is missing or unreadable.
    """
    picture = annotated_picture(path, (), (), (), source)
    return picture.width, picture.height


def clip_boxes(
    boxes: Iterable[Sequence[float]], width: int, height: int
) -> list[tuple[float, float, float, float]]:
    """Move sides that leave the picture by at most 1 pixel onto its border.

    What leaves it by more is no rounding and stays as it is, for the caller to refuse.

    Args:
        boxes: ``x1, y1, x2, y2`` in pixels for each object.
        width: the picture's, in pixels.
        height: the picture's, in pixels.
    """

    def clip(side: float, length: int) -> float:
        return min(max(side, 0), length) if -1 <= side <= length + 1 else side

    return [
        (clip(x1, width), clip(y1, height), clip(x2, width), clip(y2, height))
        for x1, y1, x2, y2 in boxes
    ]
