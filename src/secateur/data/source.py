"""Read the pictures that a recipe's ``data`` section names."""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from secateur.data.classification_set import ClassificationSet
from secateur.data.detection_set import DetectionSet
from secateur.data.formats.format import PictureSet, SplitRequest
from secateur.data.formats.table import FORMATS
from secateur.data.splits import split_pictures, split_tracks
from secateur.errors import DataError


class DataSettings(Protocol):
    """What is read of a recipe's ``data`` section; see its fields there."""

    @property
    def format(self) -> str:
        """Name of the layout in ``FORMATS``."""

    @property
    def root(self) -> Path:
        """The data folder."""

    @property
    def train(self) -> str:
        """Name of the split to train on."""

    @property
    def test(self) -> str | None:
        """Name of the split to test on; None if there is none."""

    @property
    def classes(self) -> tuple[str, ...] | str | None:
        """Class names, the name of a scheme of the layout, or None for those of the data."""

    @property
    def validation(self) -> float:
        """Share of the training pictures that is kept for validation, 0–1."""


@dataclass(frozen=True, slots=True)
class Splits:
    """The pictures of a run, for one task.

    Attributes:
        train: the network is trained on these.
        validation: taken from the training pictures; every decision uses these.
        test: evaluated once, at the end; None if the recipe names no test split.
    """

    train: PictureSet
    validation: PictureSet
    test: PictureSet | None


def read_split(data: DataSettings, split: str, size: int) -> PictureSet:
    """Read one split of a recipe's pictures.

    Args:
        data: the recipe's section.
        split: name of the split.
        size: side of the model's input, pixels; a classifier's pictures are resized to it, and
            drawn pictures have this side.

    Raises:
        DataError: the folder, a picture or an annotation is missing or broken.
    """
    return FORMATS[data.format].read(_request(data, split, size))


def read_detection_split(data: DataSettings, split: str, size: int) -> DetectionSet:
    """Read one split of pictures with boxes; arguments as for ``read_split``.

    Raises:
        DataError: as for ``read_split``; or the layout has no boxes.
    """
    pictures = read_split(data, split, size)
    if not isinstance(pictures, DetectionSet):
        raise DataError(f"{data.root}: the layout {data.format} has no boxes; name another")
    return pictures


def read_splits(data: DataSettings, size: int, seed: int) -> Splits:
    """Read all pictures of a run and take validation from the training pictures.

    Raises:
        DataError: as for ``read_split``; or train and test have different classes.
    """
    everything = read_split(data, data.train, size)
    train: PictureSet
    validation: PictureSet
    if isinstance(everything, DetectionSet):
        train, validation = split_pictures(everything, data.validation, seed)
    else:
        train, validation = split_tracks(everything, data.validation, seed)
    test = read_split(data, data.test, size) if data.test is not None else None
    if test is not None and test.classes != train.classes:
        raise DataError(
            f"{data.root}: {data.train} and {data.test} have different classes; list the classes "
            "in data.classes"
        )
    return Splits(train, validation, test)


def would_generate(data: DataSettings, size: int) -> bool:
    """Tell whether reading the splits would first generate pictures, which takes time."""
    exists = FORMATS[data.format].exists
    splits = [split for split in (data.train, data.test) if split is not None]
    return exists is not None and not all(exists(_request(data, name, size)) for name in splits)


def expected_classes(data: DataSettings) -> tuple[str, ...] | None:
    """Return the class names that are known without reading the data; None if none are."""
    layout = FORMATS[data.format]
    if isinstance(data.classes, str):
        return layout.schemes[data.classes]
    return data.classes if data.classes is not None else layout.classes


def missing_classes(pictures: PictureSet) -> list[str]:
    """Return the names of the classes without an example in the pictures."""
    if isinstance(pictures, ClassificationSet):
        found, first = set(pictures.labels.tolist()), 0
    else:
        found, first = {label for each in pictures.pictures for label in each.labels.tolist()}, 1
    return [name for k, name in enumerate(pictures.classes, start=first) if k not in found]


def picture_name(path: Path, root: Path) -> str:
    """Return a picture's path relative to the data folder, its full path if it is outside."""
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def describe(dataset: PictureSet, root: Path) -> list[list[object]]:
    """Return what identifies each picture: its name, a digest of its content, its annotations.

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
            _current_digest(p.path),
        ]
        for p in dataset.pictures
    ]


def _request(data: DataSettings, split: str, size: int) -> SplitRequest:
    names, scheme = (None, data.classes) if isinstance(data.classes, str) else (data.classes, None)
    return SplitRequest(
        root=data.root, split=split, train=data.train, size=size, classes=names, scheme=scheme
    )


def _current_digest(path: Path) -> str:
    try:
        state = path.stat()
        return _digest(path, state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error}); restore it or remove it") from None


@cache  # the runs of a comparison all have the same pictures
def _digest(path: Path, _size: int, _changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
