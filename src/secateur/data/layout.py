"""Recognise the layout of a folder of pictures."""

from dataclasses import dataclass
from pathlib import Path

from secateur.data.formats.table import FORMATS
from secateur.data.safe_paths import check_root
from secateur.errors import DataError

# Folders that are looked into for a known layout, to suggest one.
_MOST = 20


@dataclass(frozen=True, slots=True)
class Layout:
    """How to read a folder.

    Attributes:
        format: name of the layout in ``FORMATS``.
        root: the folder.
        train: name of the split to train on.
        test: name of the split to test on; None if there is none.
        classes: value for a recipe's ``data.classes``; None if the data name their classes.
    """

    format: str
    root: Path
    train: str
    test: str | None
    classes: tuple[str, ...] | str | None


def guess_layout(root: Path) -> Layout:
    """Recognise a folder's layout by its files.

    Raises:
        DataError: the folder is missing, or its layout is unknown or incomplete.
    """
    if root.is_file():
        raise DataError(f"{root}: is a file; give the folder that contains it, {root.parent}")
    check_root(root)
    if (found := _recognise(root)) is not None:
        return found
    near = next(filter(_is_layout, _near(root)), None)
    if near is not None:
        raise DataError(f"{root}: unknown layout of annotated pictures; did you mean {near}?")
    known = (each.description for each in FORMATS.values() if each.recognise is not None)
    raise DataError(
        f"{root}: unknown layout of annotated pictures; use one of these. "
        + ". ".join(known).replace("`", "")
    )


def _near(root: Path) -> list[Path]:
    """The folder's own folder, and those in it."""
    try:
        inside = sorted(each for each in root.iterdir() if each.is_dir() and not each.is_symlink())
    except OSError:
        inside = []
    return [root.parent, *inside[:_MOST]]


def _is_layout(root: Path) -> bool:
    try:
        return _recognise(root) is not None
    except DataError:  # incomplete
        return False


def _recognise(root: Path) -> Layout | None:
    for name, layout in FORMATS.items():
        found = layout.recognise(root) if layout.recognise is not None else None
        if found is not None:
            return Layout(name, root, found.train, found.test, found.classes)
    return None
