"""German Traffic Sign Recognition Benchmark (Stallkamp et al., 2012), as published or in folders.

Layout::

    root/GTSRB/Final_Training/Images/CCCCC/TTTTT_NNNNN.ppm     or Training/CCCCC/…
    root/GTSRB/Final_Training/Images/CCCCC/GT-CCCCC.csv        lists the pictures of the folder
    root/GTSRB/Final_Test/Images/NNNNN.ppm
    root/GTSRB/Final_Test/Images/GT-final_test.csv             or in a parent folder

or::

    root/train/CCCCC/TTTTT_NNNNN.webp, root/test/CCCCC/NNNNN.webp     or png, ppm, …

``CCCCC`` is the class, 00000 to 00042, ``TTTTT`` the track and ``NNNNN`` the frame. The 30 frames
of a track show one sign on one drive past it.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from secateur.data.classification_set import ClassificationSet, read_pictures
from secateur.data.formats.class_folders import class_folders, class_order, pictures_by_class
from secateur.data.formats.format import Format
from secateur.data.formats.gtsdb import GTSDB_CLASSES
from secateur.data.safe_paths import check_root, is_file, listed_path, read_text
from secateur.errors import DataError

# Both benchmarks have the same 43 kinds of sign with the same numbers.
GTSRB_CLASSES = GTSDB_CLASSES

_BASES = ("", "GTSRB", "gtsrb/GTSRB")
_TRAINING = ("Final_Training/Images", "Training")
_TEST = "Final_Test/Images"
_TEST_LIST = "GT-final_test.csv"


def read_gtsrb(
    root: Path, split: str, size: int, classes: Sequence[str] | None = None
) -> ClassificationSet:
    """Read a split of the German Traffic Sign Recognition Benchmark, whole pictures.

    Training frames of one track share its name in ``tracks``.

    Args:
        root: the folder that contains ``GTSRB`` or its contents, or ``train`` and ``test``.
        split: ``train`` or ``test``.
        size: side to which every picture is resized, pixels.
        classes: the 43 names in the order of the labels; None for the order of their numbers.

    Raises:
        DataError: a file or class is missing, a picture is broken, or the classes are not GTSRB's.
    """
    check_root(root)
    if split not in ("train", "test"):
        raise DataError(f"{root}: unknown split {split!r} of GTSRB; name it train or test")
    order = class_order(GTSRB_CLASSES, classes, root)
    # Where each split may be, the published place first.
    published = {
        "train": [Path(base, inner) for base in _BASES for inner in _TRAINING],
        "test": [Path(base, _TEST) for base in _BASES],
    }
    for place in published[split]:
        if (root / place).is_dir():
            if split == "test":
                return _read_published_test(root, root / place, size, order)
            return _read_folders(root, root / place, size, order)
    if not (root / split).is_dir():
        raise DataError(
            f"{root}: contains neither GTSRB/{published[split][0]} nor a folder {split} with a "
            "folder for each class; unpack the benchmark there or correct the path"
        )
    dataset = _read_folders(root, root / split, size, order)
    # The tracks of test frames are unknown.
    return dataset if split == "train" else replace(dataset, tracks=dataset.names)


def _read_folders(root: Path, folder: Path, size: int, order: tuple[str, ...]) -> ClassificationSet:
    """Read one folder for each class, named by the class's number."""
    found = {inner.name: inner for inner in class_folders(folder)}
    numbers = {f"{number:05}": name for number, name in enumerate(GTSRB_CLASSES)}
    for name in found:
        if name not in numbers:
            raise DataError(f"{folder / name}: not a class of GTSRB; name it 00000 to 00042")
    for number in numbers:
        if number not in found:
            raise DataError(f"{folder / number}: folder not found; restore this class")
        _check_complete(found[number], root)
    by_name = {name: found[number] for number, name in numbers.items()}
    dataset = pictures_by_class(root, {name: by_name[name] for name in order}, size)
    # A file's name without its last part, the number of the frame.
    tracks = tuple(
        name.rpartition("_")[0] or name for name in (_stem(name) for name in dataset.names)
    )
    return replace(dataset, tracks=tracks)


def _stem(name: str) -> str:
    return Path(name).with_suffix("").as_posix()


def _check_complete(folder: Path, root: Path) -> None:
    """Refuse a class folder without a picture that the folder's own list names."""
    source = folder / f"GT-{folder.name}.csv"
    if source.is_file():
        for name, _ in _read_list(source, root):
            if not is_file(listed_path(folder, name, source)):
                raise DataError(
                    f"{folder / name}: picture not found, but {source} names it; restore it"
                )


def _read_published_test(
    root: Path, folder: Path, size: int, order: tuple[str, ...]
) -> ClassificationSet:
    # The list is a separate download, which users unpack in one of these folders.
    places = [folder, *(above for above in folder.parents if above.is_relative_to(root))]
    source = next(
        (place / _TEST_LIST for place in places if (place / _TEST_LIST).is_file()),
        folder / _TEST_LIST,
    )
    entries = _read_list(source, root)
    paths = [listed_path(folder, name, source) for name, _ in entries]
    return ClassificationSet(
        order,
        read_pictures(paths, size, root),
        torch.tensor([order.index(GTSRB_CLASSES[kind]) for _, kind in entries]),
        tuple(path.relative_to(root).as_posix() for path in paths),
    )


def _read_list(source: Path, root: Path) -> list[tuple[str, int]]:
    """File name and class number of each picture in a list."""
    text = read_text(source, root, "unpack GTSRB_Final_Test_GT.zip there")
    entries: list[tuple[str, int]] = []
    try:
        for row in csv.DictReader(io.StringIO(text), delimiter=";"):
            name, kind = row["Filename"], int(row["ClassId"])
            if not name or kind not in range(len(GTSRB_CLASSES)):
                raise ValueError
            entries.append((name, kind))
    except (csv.Error, KeyError, TypeError, ValueError):
        raise DataError(
            f"{source}: entry {len(entries) + 1} needs a Filename and a ClassId of 0 to 42, "
            "between semicolons; correct it"
        ) from None
    if not entries:
        raise DataError(f"{source}: the list is empty; restore it")
    return entries


GTSRB = Format(
    task="classification",
    description="German Traffic Sign Recognition Benchmark: the published files, or "
    "`SPLIT/CCCCC/picture` with the class numbers `00000` to `00042`; the frames of a sign's track "
    "are never divided between training and validation",
    read=lambda wanted: read_gtsrb(wanted.root, wanted.split, wanted.size, wanted.classes),
    classes=GTSRB_CLASSES,
)
