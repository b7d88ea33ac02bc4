"""From a recipe's ``data`` entry to the pictures it means."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from secateur.data.augmentation import Transform, native_crops, ssd_augmentation
from secateur.data.coco import read_coco
from secateur.data.detection_set import AnnotatedPicture, DetectionSet
from secateur.data.gtsdb import ClassScheme, read_gtsdb
from secateur.data.signs import read_signs
from secateur.data.split import split_validation
from secateur.data.voc import read_voc
from secateur.data.yolo import read_yolo
from secateur.errors import DataError
from secateur.recipe import Data


@dataclass(frozen=True, slots=True)
class Splits:
    """The pictures of a run. Test is read once, at the end.

    Attributes:
        train: what the network learns from.
        validation: cut from train; every decision goes by it.
        test: None where the recipe names none.
    """

    train: DetectionSet
    validation: DetectionSet
    test: DetectionSet | None


def read_split(data: Data, split: str, size: int | None) -> DetectionSet:
    """Read one split of the pictures a recipe names.

    Args:
        data: the recipe's entry.
        split: the split's name.
        size: of the model's input, pixels; drawn pictures are drawn at it.

    Raises:
        DataError: anything is wrong with the folder, its pictures or its annotations.
    """
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
            return read_signs(data.root, split, size=size or 160)


def read_splits(data: Data, size: int | None, seed: int) -> Splits:
    """Read all pictures of a run and cut validation from train.

    Raises:
        DataError: as ``read_split``, or train and test disagree on the classes.
    """
    everything = read_split(data, data.train, size)
    train, validation = split_validation(everything, data.validation, seed)
    test = read_split(data, data.test, size) if data.test is not None else None
    if test is not None and test.classes != train.classes:
        raise DataError(
            f"{data.root}: {data.train} and {data.test} do not have the same classes; "
            "name them in data.classes"
        )
    return Splits(train, validation, test)


def training_transform(data: Data, size: int) -> Transform:
    """Give the augmentation a recipe asks for."""
    a = data.augmentation
    if data.resize:
        return ssd_augmentation(
            size, photometric=a.photometric, expand=a.expand, crop=a.crop, flip=a.flip
        )
    return native_crops(size, photometric=a.photometric, zoom=a.zoom, flip=a.flip)


def describe(dataset: DetectionSet, root: Path) -> list[list[object]]:
    """Give what identifies each picture: its path, size, boxes, labels and difficulty."""

    def one(picture: AnnotatedPicture) -> list[object]:
        inside = picture.path.is_relative_to(root)
        return [
            str(picture.path.relative_to(root) if inside else picture.path),
            picture.height,
            picture.width,
            picture.boxes.tolist(),
            picture.labels.tolist(),
            picture.difficult.tolist(),
        ]

    return [one(picture) for picture in dataset.pictures]
