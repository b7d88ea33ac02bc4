"""Picture files from strangers: their sizes and pixels, as people see them, or a clear refusal.

A picture is turned as its EXIF says, as browsers, viewers and annotation tools show it, and so are
the width and height that boxes refer to. Of an animated one the first frame is read.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from secateur.errors import DataError

# Not all that Pillow knows: it would hand PostScript to another program, for example.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")

_ORIENTATION = 0x0112  # the entry of EXIF


def picture_size(path: Path, root: Path | None = None) -> tuple[int, int]:
    """Width and height of a picture in pixels, from its header.

    Args:
        path: the picture's file.
        root: the data folder, which no link may leave; None where there is none.

    Raises:
        FileNotFoundError: the picture is missing; the caller knows who named it.
        DataError: it is no picture, too large, not of 8 bits, or outside the folder.
    """
    with bombs_refused(), _opened(path, root) as image:
        width, height = image.size
        return (height, width) if _orientation(image) >= 5 else (width, height)


def decode_picture(path: Path, root: Path | None = None) -> Image.Image:
    """Decode a picture to 8 bits of red, green and blue; arguments and errors as above.

    Several threads may do so at once, inside of one ``bombs_refused``.
    """
    with _opened(path, root) as image:
        turned = _orientation(image) > 1
        # Pillow warns of the direct way from a palette with transparency.
        layered = image.mode == "P" and "transparency" in image.info
        pixels = (image.convert("RGBA") if layered else image).convert("RGB")
        return ImageOps.exif_transpose(pixels) if turned else pixels


@contextmanager
def bombs_refused() -> Iterator[None]:
    """Let Pillow refuse pictures of more pixels than it finds sane, where it would only warn.

    What warns is set for every thread of the process, so threads cannot each do so.
    """
    with warnings.catch_warnings():
        # Of notes beside the pixels, such as broken EXIF, which do no harm.
        warnings.filterwarnings("ignore", module="PIL")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


@contextmanager
def _opened(path: Path, root: Path | None) -> Iterator[Image.Image]:
    try:
        _check_path(path, root)
        with Image.open(path, formats=FORMATS) as image:
            # Pillow would cut their values off at 255, which leaves white.
            if image.mode[0] in "IF":
                raise DataError(
                    f"{path}: its pixels ({image.mode}) are not of 8 bits; save it again with 8 "
                    "bits"
                )
            yield image
    except (DataError, FileNotFoundError):
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        limit = (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise DataError(
            f"{path}: more than {limit} million pixels; make it smaller or remove it"
        ) from None
    # A broken file makes Pillow's decoders raise many kinds.
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
        inside, real = os.path.realpath(root), os.path.realpath(path)
        if os.path.commonpath([inside, real]) != inside:
            raise DataError(
                f"{path}: leads out of {inside}; put the picture itself there, not a link"
            )
    # A pipe or a device would be read for ever.
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: not a readable picture; replace it or remove it")


def _orientation(image: Image.Image) -> int:
    """How a picture that is not loaded yet is to be turned, as EXIF counts it; 1 for not at all."""
    # Pillow turns TIFF by itself. In PNG it would look for EXIF behind the pixels, and decode them.
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return 1
    try:
        turn: object = image.getexif().get(_ORIENTATION)
    except Exception:  # a broken note spoils no picture
        return 1
    return turn if isinstance(turn, int) and 1 <= turn <= 8 else 1
