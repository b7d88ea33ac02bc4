"""Pascal VOC: one XML file for each picture, and a list of picture names for each split.

Layout::

    root/Annotations/NAME.xml
    root/ImageSets/Main/SPLIT.txt     one NAME a line
    root/JPEGImages/NAME.jpg
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from defusedxml import ElementTree

from secateur.data.detection_set import AnnotatedPicture, DetectionSet, annotated_picture
from secateur.data.formats.format import Format, Recognised
from secateur.data.safe_paths import (
    check_inside,
    check_root,
    existing_picture,
    is_file,
    listed_path,
    read_text,
)
from secateur.errors import DataError

VOC_CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)


class _Object(NamedTuple):
    name: str
    box: tuple[float, float, float, float]
    difficult: bool


def read_voc(root: Path, split: str, classes: Sequence[str] | None) -> DetectionSet:
    """Read a split of a data set in the layout of Pascal VOC.

    Args:
        root: the folder that contains ``Annotations``, or one ``VOCdevkit/VOC*`` that does.
        split: name of a list in ``ImageSets/Main``, or several joined by ``+``. If ``root``
            contains several years, ``VOC2007/trainval+VOC2012/trainval`` names lists of each.
        classes: names in the order of the labels; None for the 20 of Pascal VOC.

    Raises:
        DataError: a file is missing or broken, a class is unknown, or a box is outside its picture.
    """
    names = VOC_CLASSES if classes is None else tuple(classes)
    labels = {name: label for label, name in enumerate(names, start=1)}
    return DetectionSet(
        names, tuple(_read_picture(root, *entry, labels) for entry in _entries(root, split))
    )


def read_class_names(root: Path, split: str) -> tuple[str, ...]:
    """Return the names of the classes that occur in a split, sorted.

    Args:
        root: as for ``read_voc``.
        split: as for ``read_voc``.

    Raises:
        DataError: a file is missing or broken.
    """
    files = (annotation for annotation, _ in _entries(root, split))
    return tuple(sorted({found.name for file in files for found in _read_objects(file, root)[1]}))


def voc_folder(root: Path) -> Path:
    """Return the folder that contains ``Annotations``: ``root`` or its one ``VOCdevkit/VOC*``.

    Raises:
        DataError: there is no such folder, or there are several.
    """
    check_root(root)
    if (root / "Annotations").is_dir():
        return root
    years = [found.parent for found in root.glob("VOCdevkit/VOC*/Annotations")]
    if len(years) != 1:
        raise DataError(
            f"{root}: expected a folder Annotations here or in one VOCdevkit/VOC* below, found "
            f"{len(years)}; give the path of the folder that contains Annotations"
        )
    return years[0]


def _entries(root: Path, split: str) -> list[tuple[Path, Path]]:
    """Annotation and picture of each entry, without repetitions, in the order of the lists."""
    entries: dict[tuple[Path, Path], None] = {}
    check_root(root)
    for part in split.split("+"):
        year, _, list_name = part.rpartition("/")
        folder = listed_path(root, year, root) if year else voc_folder(root)
        file = folder / "ImageSets" / "Main" / f"{list_name}.txt"
        text = read_text(file, root, "write this list of picture names or correct the split's name")
        for name in filter(None, map(str.strip, text.splitlines())):
            annotation = listed_path(folder / "Annotations", f"{name}.xml", file)
            entries[annotation, folder / "JPEGImages" / f"{name}.jpg"] = None
    if not entries:
        raise DataError(f"{file}: the list is empty; write one picture name per line")
    return list(entries)


def _read_picture(
    root: Path, annotation: Path, picture: Path, labels: dict[str, int]
) -> AnnotatedPicture:
    size, objects = _read_objects(annotation, root)
    for found in objects:
        if found.name not in labels:
            raise DataError(
                f"{annotation}: unknown class {found.name!r}; correct it or add it to the classes"
            )
    read = annotated_picture(
        existing_picture(picture),
        [found.box for found in objects],
        [labels[found.name] for found in objects],
        [found.difficult for found in objects],
        annotation,
        root,
    )
    if size is not None and size != (read.width, read.height):
        raise DataError(
            f"{annotation}: gives its picture {size[0]} by {size[1]} pixels, but {read.path.name} "
            f"has {read.width} by {read.height}; restore the picture that the boxes were drawn on "
            "or correct the size"
        )
    return read


def _read_objects(file: Path, root: Path) -> tuple[tuple[int, int] | None, list[_Object]]:
    """The picture's width and height, None if the file does not give them, and the objects."""
    if not is_file(file):
        raise DataError(
            f"{file}: annotation not found; restore it or remove it from the split's list"
        )
    check_inside(file, root)
    try:
        tree = ElementTree.parse(file)
    # An unknown encoding raises LookupError, and what defusedxml forbids raises ValueError.
    except (ElementTree.ParseError, LookupError, OSError, ValueError) as error:
        raise DataError(f"{file}: broken XML, {error}; correct it") from None
    objects = []
    for number, element in enumerate(tree.findall("object"), start=1):
        sides = [element.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
        try:
            xmin, ymin, xmax, ymax = (float(side or "") for side in sides)
        except ValueError:
            raise DataError(
                f"{file}: object {number} needs a bndbox with xmin, ymin, xmax and ymax in "
                "pixels; correct it"
            ) from None
        # VOC counts pixels from 1, and the last pixel is part of the box.
        box = (xmin - 1, ymin - 1, xmax, ymax)
        name = element.findtext("name", "").strip()
        objects.append(_Object(name, box, element.findtext("difficult", "").strip() == "1"))
    width, height = (tree.findtext(f"size/{side}", "").strip() for side in ("width", "height"))
    known = all(
        side.isdecimal() and int(side) > 0 for side in (width, height)
    )  # some tools write 0
    return (int(width), int(height)) if known else None, objects


def _recognise(root: Path) -> Recognised | None:
    # By the exact name: some file systems do not tell it from COCO's "annotations".
    names = {each.name for each in root.iterdir()}
    if "Annotations" not in names and not any(root.glob("VOCdevkit/VOC*/Annotations")):
        return None
    lists = voc_folder(root) / "ImageSets" / "Main"
    found = {file.stem for file in lists.glob("*.txt")}
    # The test list of VOC2012 is not public: val is used instead, and is then not trained on.
    test = next((name for name in ("test", "val") if name in found), None)
    train = "train" if test == "val" or "trainval" not in found else "trainval"
    if train not in found:
        raise DataError(f"{lists}: no list train.txt; write one picture name per line")
    classes = read_class_names(root, train if test is None else f"{train}+{test}")
    return Recognised(train, test, None if set(classes) <= set(VOC_CLASSES) else classes)


VOC = Format(
    task="detection",
    description="Pascal VOC: `Annotations/NAME.xml`, `JPEGImages/NAME.jpg` (or another suffix), "
    "lists of names in `ImageSets/Main/SPLIT.txt`; `train+val` joins two lists, and "
    "`VOC2007/trainval+VOC2012/trainval` lists of two years",
    read=lambda wanted: read_voc(wanted.root, wanted.split, wanted.classes),
    recognise=_recognise,
    classes=VOC_CLASSES,
)
