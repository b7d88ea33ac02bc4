"""German Traffic Sign Detection Benchmark (Houben et al., IJCNN 2013), as published.

Layout::

    root/NNNNN.ppm or root/NNNNN.jpg      00000 to 00599 train, 00600 to 00899 test
    root/gt.txt                           file;left;top;right;bottom;class, one line for each sign
"""

import re
from pathlib import Path

from secateur.data.detection_set import DetectionSet, annotated_picture
from secateur.data.formats.format import Format, Recognised
from secateur.data.safe_paths import check_root, existing_picture, read_text
from secateur.errors import DataError

GTSDB_CLASSES = (
    "speed limit 20",
    "speed limit 30",
    "speed limit 50",
    "speed limit 60",
    "speed limit 70",
    "speed limit 80",
    "end of speed limit 80",
    "speed limit 100",
    "speed limit 120",
    "no overtaking",
    "no overtaking by trucks",
    "right of way at next crossing",
    "priority road",
    "give way",
    "stop",
    "no vehicles",
    "no trucks",
    "no entry",
    "danger",
    "bend left",
    "bend right",
    "double bend",
    "uneven road",
    "slippery road",
    "road narrows",
    "road works",
    "traffic lights",
    "pedestrian crossing",
    "children",
    "cyclists",
    "snow",
    "wild animals",
    "end of restrictions",
    "turn right",
    "turn left",
    "straight on",
    "straight on or right",
    "straight on or left",
    "keep right",
    "keep left",
    "roundabout",
    "end of no overtaking",
    "end of no overtaking by trucks",
)

SUPER_CATEGORIES = {
    "prohibitory": (*range(6), *range(7, 11), 15, 16),
    "mandatory": tuple(range(33, 41)),
    "danger": (11, *range(18, 32)),
    "other": (6, 12, 13, 14, 17, 32, 41, 42),
}

SCHEMES = {"43": GTSDB_CLASSES, "super": tuple(SUPER_CATEGORIES), "sign": ("sign",)}

_RANGES = {"train": range(600), "test": range(600, 900)}
_LINE = re.compile(r"(00[0-8]\d\d)\.\w+" + 5 * r";(\d{1,5})", re.ASCII)


def read_gtsdb(root: Path, split: str, scheme: str = "43") -> DetectionSet:
    """Read a split of the German Traffic Sign Detection Benchmark.

    Pictures without a sign are kept.

    Args:
        root: the folder that contains ``gt.txt`` and the pictures.
        split: ``train`` or ``test``.
        scheme: ``43`` for a class for each kind of sign, ``super`` for the four super-categories,
            ``sign`` for one class.

    Raises:
        DataError: a file is missing or broken, a class is unknown, or a box is outside its picture.
    """
    check_root(root)
    if split not in _RANGES:
        raise DataError(f"{root}: unknown split {split!r} of GTSDB; name it train or test")
    labels = _labels(scheme)
    source = root / "gt.txt"
    boxes: dict[int, list[tuple[int, int, int, int]]] = {}
    kinds: dict[int, list[int]] = {}
    for number, line in enumerate(read_text(source, root, "restore it").splitlines(), start=1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise DataError(
                f"{source}: line {number}: expected NNNNN.ppm;left;top;right;bottom;class, found "
                f"{line!r}; correct it"
            )
        picture, left, top, right, bottom, kind = map(int, match.groups())
        if kind >= len(labels):
            raise DataError(f"{source}: line {number}: unknown class {kind}; correct it to 0 to 42")
        # The last pixel is part of the sign.
        boxes.setdefault(picture, []).append((left, top, right + 1, bottom + 1))
        kinds.setdefault(picture, []).append(labels[kind])
    pictures = []
    there = {path.stem for path in root.iterdir()}
    for picture in _RANGES[split]:
        if picture not in boxes and f"{picture:05}" not in there:
            continue
        path = existing_picture(root / f"{picture:05}.ppm")
        if picture in boxes or path.is_file():
            found = kinds.get(picture, ())
            pictures.append(
                annotated_picture(
                    path, boxes.get(picture, ()), found, [False] * len(found), source, root
                )
            )
    if not pictures:
        raise DataError(f"{root}: no picture of the split {split!r}; put NNNNN.ppm files there")
    return DetectionSet(SCHEMES[scheme], tuple(pictures))


def _labels(scheme: str) -> list[int]:
    """The label of each of the 43 kinds of sign."""
    kinds = range(len(GTSDB_CLASSES))
    match scheme:
        case "43":
            return [kind + 1 for kind in kinds]
        case "super":
            groups = list(enumerate(SUPER_CATEGORIES.values(), start=1))
            return [next(label for label, group in groups if kind in group) for kind in kinds]
        case "sign":
            return [1 for _ in kinds]
    raise DataError(f"unknown classes {scheme!r} of GTSDB; choose '43', 'super' or 'sign'")


GTSDB = Format(
    task="detection",
    description="German Traffic Sign Detection Benchmark: `gt.txt`, `00000.ppm` to `00899.ppm` "
    "(or JPEG)",
    read=lambda wanted: read_gtsdb(wanted.root, wanted.split, wanted.scheme or "43"),
    recognise=lambda root: (
        Recognised("train", "test", "43") if (root / "gt.txt").is_file() else None
    ),
    classes=GTSDB_CLASSES,
    schemes=SCHEMES,
)
