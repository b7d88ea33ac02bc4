"""From a recipe's ``data`` entry to the pictures it means."""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

from secateur.config.data import Data, DetectionData
from secateur.data.classification_set import ClassificationSet
from secateur.data.detection_set import DetectionSet
from secateur.data.formats.cifar10 import read_cifar10
from secateur.data.formats.class_folders import class_folders, read_class_folders
from secateur.data.formats.coco import read_coco
from secateur.data.formats.gtsdb import ClassScheme, read_gtsdb
from secateur.data.formats.gtsrb import read_gtsrb
from secateur.data.formats.signs import read_signs
from secateur.data.formats.voc import read_voc
from secateur.data.formats.yolo import read_yolo
from secateur.data.splits import split_validation
from secateur.data.track_split import split_tracks
from secateur.data.transforms.augmentation import NativeCrops, SSDAugmentation, Transform
from secateur.errors import DataError

PictureSet = DetectionSet | ClassificationSet


@dataclass(frozen=True, slots=True)
class Splits:
    """The pictures of a run, all of one kind. Test is read once, at the end.

    Attributes:
        train: what the network learns from.
        validation: cut from train; every decision goes by it.
        test: None where the recipe names none.
    """

    train: PictureSet
    validation: PictureSet
    test: PictureSet | None


def read_split(data: Data, split: str, size: int) -> PictureSet:
    """Read one split of the pictures a recipe names.

    Args:
        data: the recipe's entry.
        split: the split's name.
        size: of the model's input, pixels: a classifier's pictures are resized to it, and drawn
            ones are drawn at it.

    Raises:
        DataError: anything is wrong with the folder, its pictures or its annotations.
    """
    if isinstance(data, DetectionData):
        return read_detection_split(data, split, size)
    match data.format:
        case "folders":
            partial = split != data.train
            classes = data.classes
            if classes is None and partial:
                classes = tuple(each.name for each in class_folders(data.root / data.train))
            return read_class_folders(data.root, split, size, classes, partial=partial)
        case "cifar10":
            return read_cifar10(data.root, split, size, data.classes)
        case "gtsrb":
            return read_gtsrb(data.root, split, size, data.classes)


def read_detection_split(data: DetectionData, split: str, size: int) -> DetectionSet:
    """Read one split of pictures with boxes; as ``read_split``."""
    classes = None if isinstance(data.classes, str) else data.classes
    match data.format:
        case "voc":
            return read_voc(data.root, split, classes)
        case "coco":
            return read_coco(data.root, split, classes)
        case "yolo":
            return read_yolo(data.root, split, classes)
        case "gtsdb":
            return read_gtsdb(data.root, split, cast(ClassScheme, data.classes or "43"))
        case "signs":
            return read_signs(data.root, split, size=size)


def read_splits(data: Data, size: int, seed: int) -> Splits:
    """Read all pictures of a run and cut validation from train.

    Raises:
        DataError: as ``read_split``, or train and test disagree on the classes.
    """
    everything = read_split(data, data.train, size)
    train: PictureSet
    validation: PictureSet
    if isinstance(everything, DetectionSet):
        train, validation = split_validation(everything, data.validation, seed)
    else:
        train, validation = split_tracks(everything, data.validation, seed)
    test = read_split(data, data.test, size) if data.test is not None else None
    if test is not None and test.classes != train.classes:
        raise DataError(
            f"{data.root}: {data.train} and {data.test} do not have the same classes; "
            "name them in data.classes"
        )
    return Splits(train, validation, test)


def missing_classes(pictures: PictureSet) -> list[str]:
    """Give the names of the classes of which no picture has an example."""
    if isinstance(pictures, ClassificationSet):
        found, first = set(pictures.labels.tolist()), 0
    else:
        found, first = {label for each in pictures.pictures for label in each.labels.tolist()}, 1
    return [name for k, name in enumerate(pictures.classes, start=first) if k not in found]


def training_transform(data: DetectionData, size: int) -> Transform:
    """Give the augmentation a recipe asks for."""
    a = data.augmentation
    if data.resize:
        return SSDAugmentation(
            size, photometric=a.photometric, expand=a.expand, crop=a.crop, flip=a.flip
        )
    return NativeCrops(size, photometric=a.photometric, zoom=a.zoom, flip=a.flip)


def picture_name(path: Path, root: Path) -> str:
    """Give a picture's path below the data's folder, or all of it where it lies elsewhere."""
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def describe(dataset: PictureSet, root: Path) -> list[list[object]]:
    """Give what identifies each picture, its name first: its pixels or bytes, and what is on it.

    Raises:
        DataError: a picture can no longer be read.
    """
    if isinstance(dataset, ClassificationSet):
        return [
            [name, label, hashlib.sha256(pixels.numpy().tobytes()).hexdigest()]
            for name, label, pixels in zip(
                dataset.names, dataset.labels.tolist(), dataset.pixels, strict=True
            )
        ]
    return [
        [
            picture_name(p.path, root),
            p.height,
            p.width,
            p.boxes.tolist(),
            p.labels.tolist(),
            p.difficult.tolist(),
            _digest_as_it_is(p.path),
        ]
        for p in dataset.pictures
    ]


def _digest_as_it_is(path: Path) -> str:
    try:
        state = path.stat()
        return _digest(path, state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error}); restore it or remove it") from None


@cache  # for a comparison's runs, which all have the same pictures
def _digest(path: Path, _size: int, _changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
