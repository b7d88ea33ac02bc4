"""Pictures and videos without annotations: find them, and name the copies with drawn boxes."""

from collections.abc import Sequence
from pathlib import Path

from secateur.data.detection_set import AnnotatedPicture, annotated_picture
from secateur.data.safe_paths import PICTURE_SUFFIXES
from secateur.data.video import VIDEO_SUFFIXES
from secateur.errors import DataError

# Files of a folder that are read.
_SUFFIXES = (*PICTURE_SUFFIXES, ".gif", ".tif", ".tiff")
# Formats that common viewers open; other pictures are written as PNG.
_KEPT_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def find_pictures(paths: Sequence[Path]) -> list[AnnotatedPicture]:
    """Read the sizes of pictures and of all pictures in folders.

    Args:
        paths: pictures and folders.

    Raises:
        DataError: a path is missing or not a picture, or a folder contains no picture.
    """
    files: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            inside = sorted(f for f in path.iterdir() if f.suffix.lower() in _SUFFIXES)
            if not inside:
                raise DataError(
                    f"{path}: no picture in this folder; put {', '.join(_SUFFIXES)} files there"
                )
            files |= dict.fromkeys(inside)
        elif path.exists():
            files[path] = None
        else:
            raise DataError(f"{path}: no such picture or folder; correct the path")
    return [annotated_picture(file, [], [], [], file) for file in files]


def find_videos(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Separate videos, recognised by their suffixes, from the other paths.

    Raises:
        DataError: a video is missing.
    """
    videos = [path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES]
    for video in videos:
        if not video.is_file():
            raise DataError(f"{video}: no such video; correct the path")
    return list(dict.fromkeys(videos)), [path for path in paths if path not in videos]


def copy_paths(files: Sequence[Path], folder: Path) -> list[Path]:
    """Return the path in ``folder`` of the copy of each picture or video.

    Raises:
        DataError: a copy would replace its original or another copy.
    """
    sources: dict[Path, Path] = {}
    for file in files:
        copy = folder / file.name
        if copy.suffix.lower() in VIDEO_SUFFIXES:
            copy = copy.with_suffix(".mp4")
        elif copy.suffix.lower() not in _KEPT_SUFFIXES:
            copy = copy.with_suffix(".png")
        if copy.exists() and copy.samefile(file):
            raise DataError(f"{copy}: would be overwritten; give another folder to --out")
        if copy in sources:
            raise DataError(
                f"{file}: its copy {copy} would replace the copy of {sources[copy]}; "
                "use two commands with two folders"
            )
        sources[copy] = file
    return list(sources)
