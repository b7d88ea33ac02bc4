"""Sizes and pixels of picture files from strangers.

A picture is rotated as its EXIF orientation says, like in browsers, viewers and annotation tools;
width and height, to which boxes refer, are those of the rotated picture. Of an animation the first
frame is read.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from secateur.data.safe_paths import check_inside
from secateur.errors import DataError

# Not every format of Pillow: it passes PostScript to another program, for example.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")

_ORIENTATION = 0x0112  # EXIF tag


def picture_size(path: Path, root: Path | None = None) -> tuple[int, int]:
    """Read the width and height of a picture in pixels from its header.

    Args:
        path: the picture's file.
        root: the data folder, out of which no link may lead; None for no check.

    Raises:
        FileNotFoundError: the picture is missing; the caller knows what named it.
        DataError: the file is not a picture, is too large, has more than 8 bits a channel, or is
            outside the data folder.
    """
    with bombs_refused(), _opened(path, root) as image:
        width, height = image.size
        return (height, width) if _orientation(image) >= 5 else (width, height)


def decode_picture(path: Path, root: Path | None = None) -> Image.Image:
    """Decode a picture to 8-bit RGB; arguments and errors as for ``picture_size``.

    Several threads may decode at the same time within one ``bombs_refused``.
    """
    with _opened(path, root) as image:
        rotated = _orientation(image) > 1
        # Pillow warns when a palette with transparency is converted to RGB directly.
        transparent = image.mode == "P" and "transparency" in image.info
        pixels = (image.convert("RGBA") if transparent else image).convert("RGB")
        return ImageOps.exif_transpose(pixels) if rotated else pixels


@contextmanager
def bombs_refused() -> Iterator[None]:
    """Make Pillow refuse pictures with too many pixels instead of issuing a warning.

    Warning filters are shared by all threads, so only one thread may enter this at a time.
    """
    with warnings.catch_warnings():
        # Warnings about metadata, such as broken EXIF, do not concern the pixels.
        warnings.filterwarnings("ignore", module="PIL")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


@contextmanager
def _opened(path: Path, root: Path | None) -> Iterator[Image.Image]:
    try:
        _check_path(path, root)
        with Image.open(path, formats=FORMATS) as image:
            # Pillow would clip their values at 255, which makes most pixels white.
            if image.mode[0] in "IF":
                raise DataError(
                    f"{path}: its pixels ({image.mode}) do not have 8 bits per channel; save it "
                    "again with 8 bits"
                )
            yield image
    except (DataError, FileNotFoundError):
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        limit = (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise DataError(
            f"{path}: has more than {limit} million pixels; make it smaller or remove it"
        ) from None
    # Pillow's decoders raise many kinds of errors for a broken file.
    except Exception as error:
        reason = "" if isinstance(error, UnidentifiedImageError) else f" ({error})"
        raise DataError(
            f"{path}: not a readable picture{reason}; replace it or remove it"
        ) from None


def _check_path(path: Path, root: Path | None) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise DataError(f"{path}: its name is not UTF-8; rename it") from None
    if root is not None:
        check_inside(path, root, "picture")
    # Reading a pipe or a device might never end.
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: not a readable picture; replace it or remove it")


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation of a picture whose pixels are not loaded yet; 1 for upright."""
    # Pillow rotates TIFF itself. In PNG it would decode the pixels to look for EXIF after them.
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return 1
    try:
        value: object = image.getexif().get(_ORIENTATION)
    except Exception:  # broken EXIF does not make the pixels unreadable
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
