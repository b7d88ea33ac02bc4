"""Pictures in one folder for each class, as torchvision's ``ImageFolder`` reads them.

Layout::

    root/SPLIT/CLASS/*.jpg        or png, webp, ppm, …; subfolders are part of their class
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from secateur.data.classification_set import ClassificationSet, read_pictures
from secateur.data.formats.format import (
    TEST_SPLITS,
    TRAIN_SPLITS,
    Format,
    Recognised,
    SplitRequest,
    find_splits,
)
from secateur.data.safe_paths import PICTURE_SUFFIXES, check_root, listed_path
from secateur.errors import DataError

SUFFIXES = (*PICTURE_SUFFIXES, ".pgm", ".tif", ".tiff")
# Pictures that cannot be read; skipping them without a message would hide data.
_UNREADABLE_SUFFIXES = (".avif", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jxl", ".psd", ".svg")


def read_class_folders(
    root: Path,
    split: str,
    size: int,
    classes: Sequence[str] | None = None,
    *,
    partial: bool = False,
) -> ClassificationSet:
    """Read a split of a data set in class folders.

    Args:
        root: the folder that contains the splits.
        split: name of the folder that contains the classes, often ``train`` or ``test``.
        size: side to which every picture is resized, pixels.
        classes: names of all classes in the order of the labels; None for the folders' names,
            sorted.
        partial: whether folders of some classes may be missing, as in a test split.

    Raises:
        DataError: a folder is missing, empty or not one of the classes, or a picture is broken.
    """
    check_root(root)
    folder = listed_path(root, split, root)
    names = [each.name for each in class_folders(folder)]
    if partial and classes is not None:
        names += [name for name in classes if name not in names]
    order = class_order(names, classes, folder)
    return pictures_by_class(root, {name: folder / name for name in order}, size, partial=partial)


def class_folders(folder: Path) -> list[Path]:
    """Return the class folders of a split, sorted by name, without hidden ones.

    Raises:
        DataError: the split's folder is missing or contains no folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: folder not found; put one there with a folder for each class")
    found = sorted(each for each in folder.iterdir() if each.is_dir() and each.name[0] != ".")
    if not found:
        raise DataError(f"{folder}: no folder inside; put one there for each class")
    return found


def class_order(
    found: Sequence[str], wanted: Sequence[str] | None, source: Path
) -> tuple[str, ...]:
    """Return the class names in the order of the labels.

    Args:
        found: the classes of the data.
        wanted: the classes that the user names, in the user's order; None for the data's order.
        source: where the classes were found; part of the message.

    Raises:
        DataError: ``wanted`` and ``found`` are not the same names.
    """
    if wanted is None:
        return tuple(found)
    for name in wanted:
        if name not in found:
            raise DataError(
                f"{source}: has no class {name!r}; restore it or remove it from classes"
            )
    for name in found:
        if name not in wanted:
            raise DataError(
                f"{source}: has a class {name!r}, which is not one of the {len(wanted)} classes; "
                "remove its folder, or add it to the training pictures and data.classes"
            )
    if len(set(wanted)) < len(wanted):
        raise DataError(f"{source}: classes names one class twice; remove one of them")
    return tuple(wanted)


def pictures_in(folder: Path) -> list[Path]:
    """Return the files of all pictures in a folder and its subfolders, sorted.

    Raises:
        DataError: there is no picture, or one of a kind that cannot be read.
    """
    files = sorted(path for path in folder.rglob("*") if path.name[0] != "." and path.is_file())
    for path in files:
        if path.suffix.lower() in _UNREADABLE_SUFFIXES:
            raise DataError(f"{path}: pictures of this kind are not read; make it a JPEG or PNG")
    found = [path for path in files if path.suffix.lower() in SUFFIXES]
    if not found:
        raise DataError(f"{folder}: no picture in this folder; put some there or remove the folder")
    return found


def pictures_by_class(
    root: Path, folders: dict[str, Path], size: int, *, partial: bool = False
) -> ClassificationSet:
    """Read all pictures in the folder of each class.

    Args:
        root: the data folder; pictures are named by their path relative to it.
        folders: folder of each class by class name, in the order of the labels.
        size: side to which every picture is resized, pixels.
        partial: whether folders may be missing.

    Raises:
        DataError: a folder contains no picture, or a picture is broken.
    """
    paths: list[Path] = []
    labels: list[int] = []
    for label, folder in enumerate(folders.values()):
        if partial and not folder.exists():
            continue
        inside = pictures_in(folder)
        paths += inside
        labels += [label] * len(inside)
    return ClassificationSet(
        tuple(folders),
        read_pictures(paths, size, root),
        torch.tensor(labels),
        tuple(path.relative_to(root).as_posix() for path in paths),
    )


def class_folder_splits(root: Path) -> tuple[str | None, str | None]:
    """Return the names of the splits to train and to test on, None for each that is missing."""
    train, test = (
        next((name for name in names if _has_class_folders(root / name)), None)
        for names in (TRAIN_SPLITS, TEST_SPLITS)
    )
    return train, test


def _has_class_folders(folder: Path) -> bool:
    return any(path.suffix.lower() in SUFFIXES for path in folder.glob("*/**/*"))


def _read(wanted: SplitRequest) -> ClassificationSet:
    partial, classes = wanted.split != wanted.train, wanted.classes
    if partial and classes is None:
        classes = tuple(each.name for each in class_folders(wanted.root / wanted.train))
    return read_class_folders(wanted.root, wanted.split, wanted.size, classes, partial=partial)


def _recognise(root: Path) -> Recognised | None:
    return find_splits(lambda split: _has_class_folders(root / split))


CLASS_FOLDERS = Format(
    task="classification",
    description="one folder for each class: `SPLIT/CLASS/picture`, with any names",
    read=_read,
    recognise=_recognise,
)
