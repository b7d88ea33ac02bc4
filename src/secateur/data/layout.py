"""Which of the known layouts a folder of pictures has."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from secateur.data.formats.class_folders import SUFFIXES
from secateur.data.formats.coco import annotation_file
from secateur.data.formats.voc import VOC_CLASSES, read_class_names, voc_folder
from secateur.data.formats.yolo import split_folders
from secateur.data.listing import check_root
from secateur.errors import DataError

_TRAIN = ("train", "train2017", "train2014")
_TEST = ("test", "val", "valid", "val2017", "val2014")


@dataclass(frozen=True, slots=True)
class Layout:
    """How to read a folder.

    Attributes:
        format: the reader's name.
        root: the folder.
        train: name of the split to train on.
        test: name of the split to test on, None if there is none.
        classes: what the reader takes as ``classes``; None where the data name their own.
    """

    format: Literal["voc", "coco", "yolo", "gtsdb", "folders"]
    root: Path
    train: str
    test: str | None
    classes: tuple[str, ...] | Literal["43"] | None


def guess_layout(root: Path) -> Layout:
    """Find out a folder's layout from the files in it.

    Raises:
        DataError: the folder is missing, has no known layout, or is in VOC's with a broken file.
    """
    check_root(root)
    if (root / "gt.txt").is_file():
        return Layout("gtsdb", root, "train", "test", "43")
    # By its exact name, for not every file system tells it from COCO's annotations.
    folders = {each.name for each in root.iterdir()}
    if "Annotations" in folders or any(root.glob("VOCdevkit/VOC*/Annotations")):
        return _voc_layout(root)
    if splits := _splits(lambda split: annotation_file(root, split) is not None):
        return Layout("coco", root, *splits, None)
    if splits := _splits(lambda split: split_folders(root, split) is not None):
        return Layout("yolo", root, *splits, None)
    if splits := _splits(lambda split: _has_class_folders(root / split)):
        return Layout("folders", root, *splits, None)
    raise DataError(
        f"{root}: no known layout of annotated pictures; use one of VOC (Annotations, "
        "ImageSets/Main/train.txt), COCO (annotations/train.json), YOLO (images/train, "
        "labels/train) or GTSDB (gt.txt); or, for a classifier, train/CLASS/picture"
    )


def class_folder_splits(root: Path) -> tuple[str | None, str | None]:
    """Names of the splits to train and to test on in a folder of class folders, where they are."""
    there = [split for split in (*_TRAIN, *_TEST) if _has_class_folders(root / split)]
    return (
        next((split for split in there if split in _TRAIN), None),
        next((split for split in there if split in _TEST), None),
    )


def _splits(exists: Callable[[str], bool]) -> tuple[str, str | None] | None:
    train = next(filter(exists, _TRAIN), None)
    return None if train is None else (train, next(filter(exists, _TEST), None))


def _has_class_folders(folder: Path) -> bool:
    """Whether folders of pictures are in a split's folder, or folders of such folders."""
    return any(path.suffix.lower() in SUFFIXES for path in folder.glob("*/**/*"))


def _voc_layout(root: Path) -> Layout:
    lists = voc_folder(root) / "ImageSets" / "Main"
    found = {file.stem for file in lists.glob("*.txt")}
    # VOC2012's test list is not public: val stands in for it, and must then stay out of training.
    test = next((name for name in ("test", "val") if name in found), None)
    train = "train" if test == "val" or "trainval" not in found else "trainval"
    if train not in found:
        raise DataError(f"{lists}: no list train.txt; write one picture name a line")
    names = read_class_names(root, train if test is None else f"{train}+{test}")
    return Layout("voc", root, train, test, None if set(names) <= set(VOC_CLASSES) else names)
