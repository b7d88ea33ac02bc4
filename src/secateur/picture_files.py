"""Pictures without annotations: which to read, and where their copies go."""

from collections.abc import Sequence
from pathlib import Path

from secateur.data.detection_set import AnnotatedPicture, annotated_picture
from secateur.data.listing import PICTURE_SUFFIXES
from secateur.errors import DataError

# What people can open; pictures of other formats are written as PNG.
_KEPT_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def find_pictures(paths: Sequence[Path]) -> list[AnnotatedPicture]:
    """Open the headers of the pictures named, and of all in the folders named.

    Raises:
        DataError: a path is missing or no picture, or a folder has none.
    """
    files: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            inside = sorted(f for f in path.iterdir() if f.suffix.lower() in PICTURE_SUFFIXES)
            if not inside:
                raise DataError(
                    f"{path}: no picture in this folder; it may hold {', '.join(PICTURE_SUFFIXES)}"
                )
            files |= dict.fromkeys(inside)
        elif path.exists():
            files[path] = None
        else:
            raise DataError(f"{path}: no such picture or folder; correct the path")
    return [annotated_picture(file, [], [], [], file) for file in files]


def copy_paths(pictures: Sequence[AnnotatedPicture], folder: Path) -> list[Path]:
    """Give where the drawn copy of each picture goes.

    Raises:
        DataError: a copy would replace a picture, or another copy.
    """
    sources: dict[Path, Path] = {}
    for picture in pictures:
        copy = folder / picture.path.name
        if copy.suffix.lower() not in _KEPT_SUFFIXES:
            copy = copy.with_suffix(".png")
        if copy.exists() and copy.samefile(picture.path):
            raise DataError(f"{copy}: would be drawn over; give another folder to --out")
        if copy in sources:
            raise DataError(
                f"{picture.path}: its copy {copy} would replace that of {sources[copy]}; "
                "give them in two commands with two folders"
            )
        sources[copy] = picture.path
    return list(sources)
