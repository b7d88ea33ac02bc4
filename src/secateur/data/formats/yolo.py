"""YOLO: one text file for each picture, with one line for each object.

Layout, with the class names in ``root/data.yaml`` (``names``) or ``root/classes.txt``::

    root/images/SPLIT/NAME.jpg    root/labels/SPLIT/NAME.txt
    root/SPLIT/images/NAME.jpg    root/SPLIT/labels/NAME.txt
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from secateur.data.detection_set import (
    AnnotatedPicture,
    DetectionSet,
    annotated_picture,
    picture_size,
)
from secateur.data.formats.format import Format, Recognised, find_splits
from secateur.data.safe_paths import PICTURE_SUFFIXES, check_root, listed_path, read_text
from secateur.errors import DataError
from secateur.files.safe_yaml import parse_yaml


class _DataFile(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)  # for classes named 0 to 9

    names: (
        Annotated[list[str], Field(min_length=1)] | Annotated[dict[int, str], Field(min_length=1)]
    )


def read_yolo(root: Path, split: str, classes: Sequence[str] | None) -> DetectionSet:
    """Read a split of a data set in the layout of YOLO.

    A picture without a label file has no objects. A polygon becomes the box around it. Pictures may
    be in subfolders of the split's folder, with their labels in subfolders of the same names. Boxes
    that leave the picture by at most 1 pixel, as by rounding, are clipped.

    Args:
        root: the data set's folder.
        split: name of the split's folder.
        classes: names in the order of the labels; None for the data set's own names in the order
            of their ids. If the data set names no classes, these are the names of its ids.

    Raises:
        DataError: a file is missing or broken, a class is unknown, or a box is outside its picture.
    """
    check_root(root)
    listed_path(root, split, root)
    folders = split_folders(root, split)
    if folders is None:
        raise DataError(
            f"{root}: no pictures and labels of the split {split!r}; put them at images/{split} "
            f"and labels/{split} or correct the split's name"
        )
    images, labels = folders
    pictures = _by_name(images, PICTURE_SUFFIXES)
    if not pictures:
        raise DataError(f"{images}: no picture in this folder; put the split's pictures there")
    files = _by_name(labels, (".txt",))
    for name, file in files.items():
        if name not in pictures and file.stem != "classes":  # labelImg writes classes.txt
            raise DataError(
                f"{file}: its picture is missing from {images}; restore it or remove this file"
            )
    names = _read_names(root, classes)
    chosen = tuple(dict.fromkeys(names if classes is None else classes))
    label_of = {name: label for label, name in enumerate(chosen, start=1)}
    ids = [label_of.get(name) for name in names]
    return DetectionSet(
        chosen,
        tuple(_read_picture(root, path, files.get(n), ids) for n, path in pictures.items()),
    )


def _by_name(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """Files in a folder and its subfolders, by their relative paths without suffix."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in suffixes:
            name = path.relative_to(folder).with_suffix("").as_posix()
            if name in found:
                raise DataError(
                    f"{path}: {found[name].name} differs from it in the suffix only, so both would "
                    "have the same label file; rename one"
                )
            found[name] = path
    return found


def split_folders(root: Path, split: str) -> tuple[Path, Path] | None:
    """Return the folders of a split's pictures and labels; None if they do not exist."""
    candidates = (
        (root / "images" / split, root / "labels" / split),
        (root / split / "images", root / split / "labels"),
    )
    return next((pair for pair in candidates if all(map(Path.is_dir, pair))), None)


def _read_names(root: Path, classes: Sequence[str] | None) -> Sequence[str]:
    """Class names in the order of their ids."""
    file = root / "data.yaml"
    if not file.is_file():
        file = root / "classes.txt"
        if classes is not None and not file.is_file():
            return classes
        text = read_text(file, root, "write one class name per line, or a data.yaml with names")
        names = [line.strip() for line in text.rstrip().splitlines()]
        if "" in names or not names:
            line = names.index("") + 1 if names else 1
            raise DataError(f"{file}: line {line} names no class; write one class name per line")
        return names
    try:
        found = _DataFile.model_validate(parse_yaml(read_text(file, root, "restore it"))).names
    except ValidationError:
        raise DataError(
            f"{file}: no class names; write names as a list or as a map from ids to names, with "
            "quotes around yes and no"
        ) from None
    except ValueError as error:
        raise DataError(f"{file}: broken YAML, {error}; correct it") from None
    if isinstance(found, list):
        return found
    if sorted(found) != list(range(len(found))):
        raise DataError(
            f"{file}: the ids in names are not consecutive; number them 0 to {len(found) - 1}"
        )
    return [found[number] for number in range(len(found))]


def _read_picture(
    root: Path, path: Path, file: Path | None, ids: Sequence[int | None]
) -> AnnotatedPicture:
    file, text = (path, "") if file is None else (file, read_text(file, root, "restore it"))
    width, height = picture_size(path, file, root)
    boxes, labels = [], []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            name, *sides = line.split()
            index, (x1, y1, x2, y2) = int(name), _corners(list(map(float, sides)))
        except ValueError:
            raise DataError(
                f"{file}: line {number}: expected 'class cx cy w h' or 'class x1 y1 x2 y2 x3 y3 …' "
                f"relative to the picture's sides, found {line!r}; correct it"
            ) from None
        label = ids[index] if 0 <= index < len(ids) else None
        if label is None:
            raise DataError(
                f"{file}: line {number}: unknown class {index}; correct it or add its name to the "
                "classes"
            )
        labels.append(label)
        boxes.append((x1 * width, y1 * height, x2 * width, y2 * height))
    return annotated_picture(path, boxes, labels, [False] * len(boxes), file, root)


def _corners(numbers: Sequence[float]) -> tuple[float, float, float, float]:
    """Corners of a box, or of the box around a polygon.

    Raises:
        ValueError: the numbers are neither.
    """
    if len(numbers) == 4:
        cx, cy, w, h = numbers
        return cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
    if len(numbers) < 6 or len(numbers) % 2:
        raise ValueError("neither a box nor a polygon")
    xs, ys = numbers[::2], numbers[1::2]
    return min(xs), min(ys), max(xs), max(ys)


def _recognise(root: Path) -> Recognised | None:
    return find_splits(lambda split: split_folders(root, split) is not None)


YOLO = Format(
    task="detection",
    description="YOLO: `images/SPLIT` and `labels/SPLIT`, or `SPLIT/images` and `SPLIT/labels`; "
    "class names in `data.yaml` or `classes.txt`; pictures without a label file have no objects, "
    "and polygons become boxes",
    read=lambda wanted: read_yolo(wanted.root, wanted.split, wanted.classes),
    recognise=_recognise,
)
