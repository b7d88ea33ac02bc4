"""The pictures an export is checked, calibrated and measured on."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from secateur.data.detection_set import DetectionSet
from secateur.data.formats.signs import draw_picture
from secateur.data.loaders import evaluation_batches
from secateur.errors import DataError
from secateur.export.source import TORCHVISION, Source
from secateur.inference.evaluate import NamedPictures, read_named

T = TypeVar("T")

# Compared with torch's predictions; more would take longer and hardly find more.
MOST = 100
DRAWN = 16


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pictures to try an export on.

    Attributes:
        origin: what ``batches`` are, in words.
        whole: what ``named`` are, in words; empty where they were drawn.
        remark: why they are no better ones; empty where they are those asked for.
        batches: some of them, each (1, 3, H, W) uint8 as the network takes it.
        named: all of them with their annotations; None where they were drawn.
    """

    origin: str
    batches: list[Tensor]
    named: NamedPictures | None
    whole: str = ""
    remark: str = ""


def pictures_for(
    source: Source, shape: tuple[int, int] | None, data: Path | None, split: str | None
) -> Pictures:
    """Read the pictures that a user named, those of the run a network is of, or draw some.

    Args:
        source: the network.
        shape: height and width of all that the export will take; None for any.
        data: a recipe or a folder; None for the recipe in the network's own run folder.
        split: its name; None for a recipe's validation, or what a folder has for training, for
            nothing is to be decided by pictures for testing.

    Raises:
        DataError: the pictures or the split named cannot be read.
        ModelError: their classes are not the network's.
    """
    named, remark = None, ""
    beside = own_recipe(source)
    try:
        if data is not None:
            named = read_named(Path(source.name), source.description, data, split, test=False)
        elif beside is not None:
            data = beside
            named = read_named(Path(source.name), source.description, data, split, test=False)
    except DataError as error:
        if data is not beside or split is not None:
            raise
        remark = f" (those of {beside} cannot be read: {error})"
    if named is None and data is None and split is not None:
        raise DataError(f"--split {split}: of which pictures is not said; name them by --data")
    if named is None:
        return _drawn(source, shape, remark)
    if not len(named.pictures):
        raise DataError(f"{data}: has no picture in {named.split}; name another split")
    size = source.description.size if source.description.resize else None
    sized = ""
    if isinstance(named.pictures, DetectionSet):
        pictures = named.pictures
        if size is None and shape is not None:  # the others it will not take
            fitting = [i for i, p in enumerate(pictures.pictures) if (p.height, p.width) == shape]
            what = f"{shape[0]}x{shape[1]} (height, width)"
            if not fitting:
                return _drawn(source, shape, f" ({named.split} of {data} has none of {what})")
            if len(fitting) < len(pictures):
                sized = f", those of {what}"
            pictures = pictures.subset(fitting)
            named = replace(named, pictures=pictures)
        batches = [pixels for _, pixels in evaluation_batches(_spread(pictures.pictures), size, 1)]
    else:
        batches = [named.pictures.pixels[i : i + 1] for i in _spread(range(len(named.pictures)))]
    place = f"pictures of {named.split} of {data}{sized}"
    return Pictures(
        f"{len(batches)} {place}", batches, named, whole=f"{len(named.pictures)} {place}"
    )


def own_recipe(source: Source) -> Path | None:
    """The recipe of the run in whose folder a network's file lies; None where there is none."""
    beside = Path(source.name).parent / "recipe.json"
    return beside if beside.is_file() and not source.name.startswith(TORCHVISION) else None


def _drawn(source: Source, shape: tuple[int, int] | None, remark: str) -> Pictures:
    drawn = drawn_pictures(shape or (source.description.size,) * 2)
    return Pictures(f"{DRAWN} drawn pictures", drawn, None, remark=remark)


def drawn_pictures(shape: tuple[int, int]) -> list[Tensor]:
    """Draw pictures of signs, (1, 3, height, width) uint8 each."""
    files = [draw_picture("test", number, size=max(shape))[0] for number in range(DRAWN)]
    height, width = shape
    return [
        torch.stack([pil_to_tensor(Image.open(io.BytesIO(file)))])[..., :height, :width]
        for file in files
    ]


def _spread(things: Sequence[T]) -> list[T]:
    """At most ``MOST`` of them, from all over."""
    step = max(1, len(things) / MOST)
    return [things[int(i * step)] for i in range(min(MOST, len(things)))]
