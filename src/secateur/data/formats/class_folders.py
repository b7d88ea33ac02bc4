"""Pictures in one folder for each class, as torchvision's ``ImageFolder`` reads them.

Layout::

    root/SPLIT/CLASS/*.jpg        or png, webp, ppm, …; folders below a class belong to it
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from secateur.data.classification_set import ClassificationSet, read_pictures
from secateur.data.listing import PICTURE_SUFFIXES, check_root, listed_path
from secateur.errors import DataError

SUFFIXES = (*PICTURE_SUFFIXES, ".pgm", ".tif", ".tiff")
# Pictures too, and not read; to leave them out in silence would be to lie.
_OTHER_SUFFIXES = (".avif", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jxl", ".psd", ".svg")


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
        root: the folder with the splits.
        split: name of the folder with the classes, often ``train`` or ``test``.
        size: side that every picture is resized to, pixels.
        classes: names in the order of their labels, all of them; None for the folders' names,
            sorted.
        partial: whether folders of some classes may be missing, as in a test split.

    Raises:
        DataError: a folder is missing, empty or not among the classes, or a picture is broken.
    """
    check_root(root)
    folder = listed_path(root, split, root)
    found = class_folders(folder)
    names = [inner.name for inner in found]
    if partial and classes is not None:
        names += [name for name in classes if name not in names]
    order = class_order(names, classes, folder)
    return pictures_by_class(root, {name: folder / name for name in order}, size, partial=partial)


def class_folders(folder: Path) -> list[Path]:
    """Folders of a split, sorted by name; what begins with a dot is left out.

    Raises:
        DataError: the split's folder is missing, or has no folder in it.
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
    """Names of the classes in the order of their labels: as wanted, or else as found.

    Args:
        found: the classes that the data have.
        wanted: those that the user names, or None.
        source: where they were found, named in errors.

    Raises:
        DataError: the two are not the same names.
    """
    if wanted is None:
        return tuple(found)
    for name in wanted:
        if name not in found:
            raise DataError(f"{source}: has no class {name!r}; restore it or take it off classes")
    for name in found:
        if name not in wanted:
            raise DataError(
                f"{source}: has a class {name!r}, which is not among the {len(wanted)} classes; "
                "take its folder away, or add it to the training pictures and data.classes"
            )
    if len(set(wanted)) < len(wanted):
        raise DataError(f"{source}: classes names one class twice; take one of them off")
    return tuple(wanted)


def pictures_in(folder: Path) -> list[Path]:
    """Files of all pictures in a folder and those below it, sorted.

    Raises:
        DataError: there is none, or one of a kind that is not read.
    """
    files = sorted(path for path in folder.rglob("*") if path.name[0] != "." and path.is_file())
    found = [path for path in files if path.suffix.lower() in SUFFIXES]
    for path in files:
        if path.suffix.lower() in _OTHER_SUFFIXES:
            raise DataError(f"{path}: pictures of this kind are not read; make it a JPEG or PNG")
    if not found:
        raise DataError(f"{folder}: no picture in this folder; put some there or remove the folder")
    return found


def pictures_by_class(
    root: Path, folders: dict[str, Path], size: int, *, partial: bool = False
) -> ClassificationSet:
    """Read all pictures of the folder of each class.

    Args:
        root: the data folder; pictures are named by their path in it.
        folders: of each class by its name, in the order of the labels.
        size: side that every picture is resized to, pixels.
        partial: whether folders may be missing.

    Raises:
        DataError: a folder has no picture, or a picture is broken.
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
