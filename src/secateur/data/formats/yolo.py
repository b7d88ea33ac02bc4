"""YOLO: one text file a picture, one line an object.

Layout, with the names of the classes in ``root/data.yaml`` (``names``) or ``root/classes.txt``::

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
from secateur.data.listing import PICTURE_SUFFIXES, check_root, listed_path, read_text
from secateur.errors import DataError
from secateur.files.safe_yaml import parse_yaml


class _DataFile(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)  # digits are named 0 to 9

    names: (
        Annotated[list[str], Field(min_length=1)] | Annotated[dict[int, str], Field(min_length=1)]
    )


def read_yolo(root: Path, split: str, classes: Sequence[str] | None) -> DetectionSet:
    """Read a split of a data set in the layout of YOLO.

    A picture with no label file has no object, and of a polygon the box around it is taken.
    Pictures may lie in folders below the split's, with their labels likewise. Boxes that rounding
    pushed over the border by at most 1 pixel are clipped.

    Args:
        root: the data set's folder.
        split: name of the split's folder.
        classes: names in the order of their labels; None for the data set's own names in the
            order of their ids. If the data set names no classes, ``classes`` names its ids.

    Raises:
        DataError: a file is missing or broken, a class is unknown, or a box leaves its picture.
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
    """Files in a folder and in those below it, by their paths in it without endings."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in suffixes:
            name = path.relative_to(folder).with_suffix("").as_posix()
            if name in found:
                raise DataError(
                    f"{path}: {found[name].name} has the same name but for its ending, and so the "
                    "same label file; rename one"
                )
            found[name] = path
    return found


def split_folders(root: Path, split: str) -> tuple[Path, Path] | None:
    """Return the folders of a split's pictures and labels, None if there are none."""
    candidates = (
        (root / "images" / split, root / "labels" / split),
        (root / split / "images", root / split / "labels"),
    )
    return next((pair for pair in candidates if all(map(Path.is_dir, pair))), None)


def _read_names(root: Path, classes: Sequence[str] | None) -> Sequence[str]:
    """Names in the order of their ids."""
    file = root / "data.yaml"
    if not file.is_file():
        file = root / "classes.txt"
        if classes is not None and not file.is_file():
            return classes
        text = read_text(file, "write one class name a line, or a data.yaml with names")
        names = [line.strip() for line in text.rstrip().splitlines()]
        if "" in names or not names:
            line = names.index("") + 1 if names else 1
            raise DataError(f"{file}: line {line} names no class; write one class name a line")
        return names
    try:
        found = _DataFile.model_validate(parse_yaml(read_text(file, "restore it"))).names
    except ValidationError:
        raise DataError(
            f"{file}: no names of classes; write names as a list of them or a map from ids to "
            "them, with quotes around yes and no"
        ) from None
    except ValueError as error:
        raise DataError(f"{file}: broken YAML, {error}; correct it") from None
    if isinstance(found, list):
        return found
    if sorted(found) != list(range(len(found))):
        raise DataError(f"{file}: the ids in names have gaps; number them 0 to {len(found) - 1}")
    return [found[number] for number in range(len(found))]


def _read_picture(
    root: Path, path: Path, file: Path | None, ids: Sequence[int | None]
) -> AnnotatedPicture:
    file, text = (path, "") if file is None else (file, read_text(file, "restore it"))
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
                f"in shares of the picture, found {line!r}; correct it"
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
    """Corners of a box, or of that around a polygon.

    Raises:
        ValueError: it is neither.
    """
    if len(numbers) == 4:
        cx, cy, w, h = numbers
        return cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
    if len(numbers) < 6 or len(numbers) % 2:
        raise ValueError("neither a box nor a polygon")
    xs, ys = numbers[::2], numbers[1::2]
    return min(xs), min(ys), max(xs), max(ys)
