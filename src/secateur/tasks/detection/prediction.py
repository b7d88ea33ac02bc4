"""Detections of an SSD on pictures, in memory and on disk."""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor
from torchvision.models.detection.ssd import SSD

from secateur.config.evaluate import Evaluate
from secateur.data.detection_set import AnnotatedPicture
from secateur.data.loaders import Decode, evaluation_batches, read_resized
from secateur.errors import DataError
from secateur.tasks.detection.detections import Detections, rescale_detections
from secateur.tasks.detection.outputs import raw_outputs
from secateur.tasks.detection.postprocessing import PostprocessSettings, postprocess


def set_thresholds(ssd: SSD, settings: Evaluate) -> None:
    """Store a recipe's settings of scores and NMS in an SSD."""
    for name, value in postprocess_settings(settings)._asdict().items():
        setattr(ssd, name, value)


def postprocess_settings(settings: Evaluate) -> PostprocessSettings:
    """Give the settings of scores and NMS that a recipe names."""
    return PostprocessSettings(settings.score, settings.nms, settings.candidates, settings.boxes)


@torch.no_grad()
def detect(ssd: SSD, pictures: Tensor) -> list[Detections]:
    """Detect objects with the settings of scores and NMS that the SSD holds.

    Args:
        ssd: in evaluation mode.
        pictures: (N, 3, H, W) uint8, on the SSD's device.
    """
    size = cast(tuple[int, int], tuple(pictures.shape[-2:]))
    return postprocess(raw_outputs(ssd, pictures), size, PostprocessSettings.of(ssd))


def detect_on_disk(
    detector: Callable[[Tensor], list[Detections]],
    pictures: Sequence[AnnotatedPicture],
    size: int | None,
    batch_size: int,
    *,
    decode: Decode = read_resized,
    advance: Callable[[int], None] = lambda _count: None,
) -> list[Detections]:
    """Detect the objects in pictures on disk; boxes are in pixels of the picture.

    Args:
        detector: gives the detections in each of a batch of pictures (N, 3, H, W) uint8.
        pictures: on disk.
        size: side of the square to which every picture is resized, pixels; None for native size.
        batch_size: pictures in a batch.
        decode: reads a picture; by default from disk.
        advance: called with the number of pictures of each batch when it is done.

    Raises:
        DataError: a picture cannot be read.
    """
    found: dict[int, Detections] = {}
    for positions, pixels in evaluation_batches(pictures, size, batch_size, decode):
        for position, detections in zip(positions, detector(pixels), strict=True):
            picture_size = (pictures[position].height, pictures[position].width)
            found[position] = rescale_detections(detections, pixels.shape[-2:], picture_size)
        advance(len(positions))
    return [found[position] for position in range(len(pictures))]


def check_size(height: int, width: int, least: int, name: str) -> None:
    """Refuse a picture that would leave a detection layer without a cell.

    Args:
        height: of the picture, pixels.
        width: of the picture, pixels.
        least: smallest side that the network takes, pixels.
        name: of the picture, for the message.

    Raises:
        DataError: the picture is smaller.
    """
    if min(height, width) < least:
        raise DataError(
            f"{name}: {width} by {height} pixels is too small for this network, which takes "
            f"pictures at native size and needs {least}; remove or enlarge the picture"
        )
