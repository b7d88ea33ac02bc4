"""What annotation files list: names, and the files behind them."""

from collections.abc import Callable
from pathlib import Path, PureWindowsPath

from secateur.errors import DataError

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".webp")


def check_root(root: Path) -> None:
    """Refuse a data folder that is not there.

    Raises:
        DataError: ``root`` is no folder.
    """
    if not _is(Path.is_dir, root):
        raise DataError(f"{root}: data folder not found; correct the path or put the data there")


def read_text(path: Path, cure: str) -> str:
    """Read a UTF-8 file, with or without the mark that Windows editors put first.

    Args:
        path: the file.
        cure: what to do if it is missing, for the message.

    Raises:
        DataError: the file is missing or no UTF-8 text.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe or a device would be read for ever
            raise OSError
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: file not found; {cure}") from None
    except (OSError, ValueError):  # no UTF-8, or a name that no file can have
        raise DataError(f"{path}: not readable as text; save it again as UTF-8") from None


def listed_path(folder: Path, name: str, source: Path) -> Path:
    """Path of the file under ``folder`` that the annotation file ``source`` lists as ``name``.

    Raises:
        DataError: the name is empty, leads out of the folder, or has several lines.
    """
    if len(name.splitlines()) > 1:
        raise DataError(f"{source}: the name {name!r} holds a line break; rename that file")
    # Windows' rules know both slashes and drive letters: what they let pass is safe anywhere.
    listed = PureWindowsPath(name)
    if not listed.name or listed.anchor or ".." in listed.parts or "\0" in name:
        raise DataError(
            f"{source}: the name {name!r} leads out of {folder}; write it relative to that folder, "
            "without '..'"
        )
    return folder / name


def existing_picture(path: Path) -> Path:
    """Return ``path``, or the picture beside it that differs in its suffix only, if that exists."""
    suffixes = (s for suffix in PICTURE_SUFFIXES for s in (suffix, suffix.upper()))
    candidates = (path, *(path.with_suffix(suffix) for suffix in suffixes))
    return next(filter(is_file, candidates), path)


def is_file(path: Path) -> bool:
    """Whether there is a file; there is none of a name that no file can have."""
    return _is(Path.is_file, path)


def _is(kind: Callable[[Path], bool], path: Path) -> bool:
    try:
        return kind(path)
    except (OSError, ValueError):  # too long for the file system, for example
        return False
