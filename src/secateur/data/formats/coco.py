"""COCO: one JSON file for each split.

Layout, with the pictures in ``root/SPLIT``, ``root/images/SPLIT``, ``root/images`` or ``root``::

    root/annotations/SPLIT.json or root/annotations/instances_SPLIT.json
    root/SPLIT.json
    root/SPLIT/_annotations.coco.json      written by Roboflow
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from secateur.data.detection_set import (
    AnnotatedPicture,
    DetectionSet,
    annotated_picture,
    picture_size,
)
from secateur.data.formats.format import Format, Recognised, find_splits
from secateur.data.safe_paths import check_root, is_file, listed_path, read_text
from secateur.errors import DataError


class _Image(BaseModel):
    id: int
    file_name: str
    width: int
    height: int


class _Category(BaseModel):
    id: int
    name: str


class _Annotation(BaseModel):
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]  # left, top, width, height in pixels
    iscrowd: bool | None = False


class _CocoFile(BaseModel):
    images: Annotated[list[_Image], Field(min_length=1)]
    categories: Annotated[list[_Category], Field(min_length=1)]
    annotations: list[_Annotation]


def read_coco(root: Path, split: str, classes: Sequence[str] | None) -> DetectionSet:
    """Read a split of a data set in the layout of COCO.

    Objects with ``iscrowd`` are marked difficult. Boxes that leave the picture by at most 1 pixel,
    as by rounding, are clipped.

    Args:
        root: the data set's folder.
        split: name of the split, as in the name of its annotation file.
        classes: names in the order of the labels; None for the file's categories in the order of
            their ids. Categories of the same name are one class.

    Raises:
        DataError: a file is missing or broken, a class is unknown, or a box is outside its picture.
    """
    check_root(root)
    listed_path(root, split, root)
    file = annotation_file(root, split)
    if file is None:
        raise DataError(
            f"{root}: no annotation file of the split {split!r}; put it at "
            f"annotations/{split}.json or correct the split's name"
        )
    content = _read_file(file, root)
    categories = sorted(content.categories, key=lambda category: category.id)
    if classes is None:
        classes = tuple(dict.fromkeys(category.name for category in categories))
    labels = {name: label for label, name in enumerate(classes, start=1)}
    label_of = {each.id: labels[each.name] for each in categories if each.name in labels}
    objects: dict[int, list[_Annotation]] = {image.id: [] for image in content.images}
    if len(objects) < len(content.images):
        raise DataError(f"{file}: two images have the same id; give each its own")
    for number, annotation in enumerate(content.annotations):
        if annotation.image_id not in objects:
            raise DataError(
                f"{file}: annotations.{number} is of image {annotation.image_id}, which is not "
                "listed in images; add that image or remove the annotation"
            )
        if annotation.category_id not in label_of:
            names = [each.name for each in categories if each.id == annotation.category_id]
            raise DataError(
                f"{file}: annotations.{number} is of category {annotation.category_id} "
                f"{names}, an unknown class; correct it or add it to the classes"
            )
        if min(annotation.bbox[2:]) <= 0:
            raise DataError(
                f"{file}: annotations.{number}, of image {annotation.image_id}, has a box without "
                "width or height; remove the annotation"
            )
        objects[annotation.image_id].append(annotation)
    folders = [root / split, root / "images" / split, root / "images", root]
    folders = [folder for folder in folders if folder.is_dir()]
    return DetectionSet(
        tuple(classes),
        tuple(
            _read_picture(root, image, objects[image.id], label_of, folders, file)
            for image in content.images
        ),
    )


def annotation_file(root: Path, split: str) -> Path | None:
    """Return the annotation file of a split, None if there is none."""
    candidates = (
        root / "annotations" / f"{split}.json",
        root / "annotations" / f"instances_{split}.json",
        root / f"{split}.json",
        root / split / "_annotations.coco.json",
    )
    return next(filter(is_file, candidates), None)


def _read_file(file: Path, root: Path) -> _CocoFile:
    try:
        return _CocoFile.model_validate_json(read_text(file, root, "restore it"))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(
            f"{file}: {place}: {first['msg']}; correct it or export the data set again"
        ) from None


def _read_picture(
    root: Path,
    image: _Image,
    objects: Sequence[_Annotation],
    label_of: dict[int, int],
    folders: Sequence[Path],
    file: Path,
) -> AnnotatedPicture:
    candidates = [listed_path(folder, image.file_name, file) for folder in folders]
    path = next(filter(is_file, candidates), candidates[0])
    width, height = picture_size(path, file, root)
    if (width, height) != (image.width, image.height):
        raise DataError(
            f"{file}: gives {image.file_name} {image.width} by {image.height} pixels, but the "
            f"picture has {width} by {height}; restore the picture that the boxes were drawn on "
            "or correct the entry"
        )
    corners = [(x, y, x + w, y + h) for x, y, w, h in (each.bbox for each in objects)]
    return annotated_picture(
        path,
        corners,
        [label_of[each.category_id] for each in objects],
        [bool(each.iscrowd) for each in objects],
        file,
    )


def _recognise(root: Path) -> Recognised | None:
    return find_splits(lambda split: annotation_file(root, split) is not None)


COCO = Format(
    task="detection",
    description="COCO: `annotations/SPLIT.json` or `annotations/instances_SPLIT.json`, pictures in "
    "`SPLIT`, `images/SPLIT` or `images`; or `SPLIT/_annotations.coco.json`",
    read=lambda wanted: read_coco(wanted.root, wanted.split, wanted.classes),
    recognise=_recognise,
)
