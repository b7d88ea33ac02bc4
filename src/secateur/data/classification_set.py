"""Pictures with one class each, in memory, in the form that every reader returns."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from secateur.data.image_io import bombs_refused, decode_picture
from secateur.errors import DataError

# Pictures that one thread decodes, or one call resizes.
_CHUNK = 64


@dataclass(frozen=True, slots=True, eq=False)
class ClassificationSet:
    """Pictures of one size, each with a class.

    Attributes:
        classes: class names; label ``k`` is ``classes[k]``.
        pixels: (N, 3, S, S) uint8, on the CPU.
        labels: (N,) int64, from 0.
        names: name of each picture, for messages and records.
        tracks: track of each picture; pictures of one track show the same object and are never
            divided between splits. By default each picture is a track.
    """

    classes: tuple[str, ...]
    pixels: Tensor
    labels: Tensor
    names: tuple[str, ...]
    tracks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.tracks:
            object.__setattr__(self, "tracks", self.names)
        counts = {len(self.pixels), len(self.labels), len(self.names), len(self.tracks)}
        if len(counts) > 1:
            raise ValueError("pixels, labels, names and tracks must have an entry for each picture")

    def __len__(self) -> int:
        return len(self.names)

    def subset(self, indices: Sequence[int]) -> "ClassificationSet":
        """Return the pictures at these positions, in this order, with the same classes."""
        chosen = torch.tensor(indices, dtype=torch.int64)
        return ClassificationSet(
            self.classes,
            self.pixels[chosen],
            self.labels[chosen],
            tuple(self.names[index] for index in indices),
            tuple(self.tracks[index] for index in indices),
        )


def read_pictures(paths: Sequence[Path], size: int, root: Path) -> Tensor:
    """Decode pictures and resize them to a square.

    Args:
        paths: the files.
        size: side S of the square, pixels; pictures of this size are not resampled.
        root: the data folder, out of which no link may lead.

    Returns:
        (N, 3, S, S) uint8.

    Raises:
        DataError: a picture is missing, broken, too large, not of 8 bits, or outside the folder.
    """
    pixels = np.empty((len(paths), 3, size, size), dtype=np.uint8)

    def read_chunk(start: int) -> None:
        for index in range(start, min(start + _CHUNK, len(paths))):
            pixels[index] = _read(paths[index], size, root)

    with bombs_refused(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for _ in pool.map(read_chunk, range(0, len(paths), _CHUNK)):
            pass
    return torch.from_numpy(pixels)


def resize_to_square(pixels: Tensor, size: int) -> Tensor:
    """Resize pictures (N, 3, H, W) uint8 to (N, 3, S, S); returns ``pixels`` if they have S."""
    if pixels.shape[-2:] == (size, size):
        return pixels
    result = pixels.new_empty((len(pixels), 3, size, size))
    for start in range(0, len(pixels), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        result[chunk] = resize(pixels[chunk], [size, size], antialias=True)
    return result


def _read(path: Path, size: int, root: Path) -> NDArray[np.uint8]:
    """One picture, (3, S, S)."""
    try:
        image = decode_picture(path, root)
    except FileNotFoundError:
        raise DataError(f"{path}: picture not found; restore it") from None
    if image.size != (size, size):
        # Pillow's bilinear filter antialiases: it becomes wider as the scale shrinks.
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image).transpose(2, 0, 1)
