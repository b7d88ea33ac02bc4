"""Paths and text files named by annotation files from strangers, checked before they are opened."""

import os
from collections.abc import Callable
from pathlib import Path, PureWindowsPath

from secateur.errors import DataError

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".webp")


def check_root(root: Path) -> None:
    """Check that the data folder exists.

    Raises:
        DataError: ``root`` is not a folder.
    """
    if not _is(Path.is_dir, root):
        raise DataError(f"{root}: data folder not found; correct the path or put the data there")


def check_inside(path: Path, root: Path, what: str = "file") -> None:
    """Check that no link leads out of the data folder.

    Args:
        path: a file of the data set.
        root: the data folder, which itself may be a link.
        what: what the message calls the file.

    Raises:
        DataError: ``path`` leads to another place.
    """
    inside, real = os.path.realpath(root), os.path.realpath(path)
    if os.path.commonpath([inside, real]) != inside:
        raise DataError(f"{path}: points outside {inside}; put the {what} itself there, not a link")


def read_text(path: Path, root: Path, cure: str) -> str:
    """Read a UTF-8 file, with or without a byte order mark.

    Args:
        path: the file.
        root: the data folder, out of which no link may lead.
        cure: what to do if the file is missing; part of the message.

    Raises:
        DataError: the file is missing, is not UTF-8 text, or is outside the data folder.
    """
    try:
        check_inside(path, root)
        if path.exists() and not path.is_file():  # reading a pipe or a device might never end
            raise OSError
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: file not found; {cure}") from None
    except (OSError, ValueError):  # not UTF-8, or not a valid file name
        raise DataError(f"{path}: not readable as text; save it again as UTF-8") from None


def listed_path(folder: Path, name: str, source: Path) -> Path:
    """Return the path of the file in ``folder`` that the annotation file ``source`` calls ``name``.

    Raises:
        DataError: the name is empty, points outside the folder, or contains a line break.
    """
    if len(name.splitlines()) > 1:
        raise DataError(f"{source}: the name {name!r} contains a line break; rename that file")
    # Windows' rules know both slashes and drive letters, so a name that is relative under them is
    # relative everywhere.
    listed = PureWindowsPath(name)
    if not listed.name or listed.anchor or ".." in listed.parts or "\0" in name:
        raise DataError(
            f"{source}: the name {name!r} points outside {folder}; write it relative to that "
            "folder, without '..'"
        )
    return folder / name


def existing_picture(path: Path) -> Path:
    """Return ``path``, or the existing picture whose name differs from it in the suffix only."""
    suffixes = (s for suffix in PICTURE_SUFFIXES for s in (suffix, suffix.upper()))
    candidates = (path, *(path.with_suffix(suffix) for suffix in suffixes))
    return next(filter(is_file, candidates), path)


def is_file(path: Path) -> bool:
    """Tell whether ``path`` is a file; false for a name that no file can have."""
    return _is(Path.is_file, path)


def _is(kind: Callable[[Path], bool], path: Path) -> bool:
    try:
        return kind(path)
    except (OSError, ValueError):  # too long for the file system, for example
        return False
