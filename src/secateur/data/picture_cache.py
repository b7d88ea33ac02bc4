"""Decoded pictures in memory, for evaluations that read the same pictures many times."""

from pathlib import Path

from torch import Tensor

from secateur.data.detection_set import AnnotatedPicture
from secateur.data.loaders import read_resized
from secateur.errors import DataError

# Bytes; about 4000 pictures of 300 × 300 pixels.
DEFAULT_LIMIT = 2**30


class PictureCache:
    """Pixels of pictures by file and size.

    Pictures are kept until together they reach the limit; further ones are decoded each time. A
    file whose time or length has changed is decoded again.
    """

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        """Create an empty cache; ``limit`` is in bytes."""
        self._limit = limit
        self._bytes = 0
        self._kept: dict[tuple[Path, int | None], tuple[tuple[int, int], Tensor]] = {}

    def decode(self, picture: AnnotatedPicture, size: int | None) -> Tensor:
        """Return what ``read_resized`` does, (3, H, W) uint8; the caller must not change it.

        Raises:
            DataError: the file is missing or broken, or its size has changed.
        """
        try:
            state = picture.path.stat()
        except OSError:
            raise DataError(
                f"{picture.path}: went missing; restore it or remove it from the data"
            ) from None
        key, version = (picture.path, size), (state.st_mtime_ns, state.st_size)
        kept = self._kept.get(key)
        if kept is not None:
            if kept[0] == version:
                return kept[1]
            self._bytes -= kept[1].nbytes
            del self._kept[key]
        pixels = read_resized(picture, size)
        if self._bytes + pixels.nbytes <= self._limit:
            self._bytes += pixels.nbytes
            self._kept[key] = version, pixels
        return pixels
