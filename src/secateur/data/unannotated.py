"""Pictures and videos without annotations: which to read, and where their copies go."""

from collections.abc import Sequence
from pathlib import Path

from secateur.data.detection_set import AnnotatedPicture, annotated_picture
from secateur.data.listing import PICTURE_SUFFIXES
from secateur.data.video import VIDEO_SUFFIXES
from secateur.errors import DataError

# What is taken of a folder.
_SUFFIXES = (*PICTURE_SUFFIXES, ".gif", ".tif", ".tiff")
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
            inside = sorted(f for f in path.iterdir() if f.suffix.lower() in _SUFFIXES)
            if not inside:
                raise DataError(
                    f"{path}: no picture in this folder; it may hold {', '.join(_SUFFIXES)}"
                )
            files |= dict.fromkeys(inside)
        elif path.exists():
            files[path] = None
        else:
            raise DataError(f"{path}: no such picture or folder; correct the path")
    return [annotated_picture(file, [], [], [], file) for file in files]


def find_videos(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Tell the videos among the paths named, by their endings, from all else.

    Raises:
        DataError: a video is missing.
    """
    videos = [path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES]
    for video in videos:
        if not video.is_file():
            raise DataError(f"{video}: no such video; correct the path")
    return list(dict.fromkeys(videos)), [path for path in paths if path not in videos]


def copy_paths(files: Sequence[Path], folder: Path) -> list[Path]:
    """Give where the drawn copy of each picture or video goes.

    Raises:
        DataError: a copy would replace a picture, or another copy.
    """
    sources: dict[Path, Path] = {}
    for file in files:
        copy = folder / file.name
        if copy.suffix.lower() in VIDEO_SUFFIXES:
            copy = copy.with_suffix(".mp4")
        elif copy.suffix.lower() not in _KEPT_SUFFIXES:
            copy = copy.with_suffix(".png")
        if copy.exists() and copy.samefile(file):
            raise DataError(f"{copy}: would be drawn over; give another folder to --out")
        if copy in sources:
            raise DataError(
                f"{file}: its copy {copy} would replace that of {sources[copy]}; "
                "give them in two commands with two folders"
            )
        sources[copy] = file
    return list(sources)
