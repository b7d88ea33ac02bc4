"""The pictures that an export is calibrated and verified on."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from secateur.data.detection_set import DetectionSet
from secateur.data.formats.signs import draw_picture
from secateur.data.loaders import evaluation_batches
from secateur.errors import DataError
from secateur.inference.evaluate import NamedPictures, read_named
from secateur.inference.torch_network import TORCHVISION, TorchNetwork

T = TypeVar("T")

# Pictures on which predictions are compared and int8 is calibrated.
MOST = 100
DRAWN = 16


@dataclass(frozen=True, slots=True)
class VerificationPictures:
    """Pictures to calibrate and verify an export on.

    Attributes:
        batches: up to ``MOST`` of them, each (1, 3, H, W) uint8 as the network takes it.
        origin: what ``batches`` are, in words.
        named: all of them with their annotations; None if they were drawn.
        whole: what ``named`` is, in words; empty if they were drawn.
        remark: why the requested pictures were not used; empty if they were.
    """

    batches: list[Tensor]
    origin: str
    named: NamedPictures | None = None
    whole: str = ""
    remark: str = ""


def verification_pictures(
    network: TorchNetwork, shape: tuple[int, int] | None, data: Path | None, split: str | None
) -> VerificationPictures:
    """Read the pictures that the user named or those of the network's run, or draw some.

    Args:
        network: to export.
        shape: height and width of every picture that the export will take; None for any.
        data: a recipe or a folder; None for the recipe in the network's run folder.
        split: its name; None for a recipe's validation or a folder's train. Test pictures must
            not decide anything.

    Raises:
        DataError: the pictures or the split cannot be read.
        ModelError: their classes are not the network's.
    """
    named, remark = None, ""
    beside = own_recipe(network)
    source = data or beside
    if source is None and split is not None:
        raise DataError(f"--split {split}: needs the pictures that it is a split of; add --data")
    if source is not None:
        try:
            named = read_named(Path(network.name), network.header, source, split, test=False)
        except DataError as error:
            if data is not None or split is not None:
                raise
            remark = f" (those of {beside} cannot be read: {error})"
    if named is None:
        return _drawn(network, shape, remark)
    if not len(named.pictures):
        raise DataError(f"{source}: has no picture in {named.split}; name another split")
    if not isinstance(named.pictures, DetectionSet):
        batches = [named.pictures.pixels[i : i + 1] for i in _spread(range(len(named.pictures)))]
        return _of_data(batches, named, source)
    size, sized = network.header.size if network.header.resize else None, ""
    pictures = named.pictures
    if size is None and shape is not None:
        fitting = [i for i, p in enumerate(pictures.pictures) if (p.height, p.width) == shape]
        what = f"{shape[0]}x{shape[1]} (height, width)"
        if not fitting:
            return _drawn(network, shape, f" ({named.split} of {source} has none of {what})")
        if len(fitting) < len(pictures):
            sized = f", those of {what}"
        pictures = pictures.subset(fitting)
        named = replace(named, pictures=pictures)
    batches = [pixels for _, pixels in evaluation_batches(_spread(pictures.pictures), size, 1)]
    return _of_data(batches, named, source, sized)


def own_recipe(network: TorchNetwork) -> Path | None:
    """Return the recipe in the run folder of a network's file; None if there is none."""
    beside = Path(network.name).parent / "recipe.json"
    return beside if beside.is_file() and not network.name.startswith(TORCHVISION) else None


def drawn_pictures(shape: tuple[int, int]) -> list[Tensor]:
    """Draw pictures of signs, (1, 3, height, width) uint8 each."""
    files = [draw_picture("test", number, size=max(shape))[0] for number in range(DRAWN)]
    height, width = shape
    return [pil_to_tensor(Image.open(io.BytesIO(file)))[None, :, :height, :width] for file in files]


def _of_data(
    batches: list[Tensor], named: NamedPictures, source: Path | None, sized: str = ""
) -> VerificationPictures:
    words = f"pictures of {named.split} of {source}{sized}"
    origin, whole = f"{len(batches)} {words}", f"{len(named.pictures)} {words}"
    return VerificationPictures(batches, origin, named, whole)


def _drawn(
    network: TorchNetwork, shape: tuple[int, int] | None, remark: str
) -> VerificationPictures:
    drawn = drawn_pictures(shape or (network.header.size,) * 2)
    return VerificationPictures(drawn, f"{DRAWN} drawn pictures", remark=remark)


def _spread(things: Sequence[T]) -> list[T]:
    """At most ``MOST`` of them, evenly spread."""
    step = max(1, len(things) / MOST)
    return [things[int(i * step)] for i in range(min(MOST, len(things)))]
