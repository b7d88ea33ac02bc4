"""What the table of data layouts says about each layout."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from secateur.data.classification_set import ClassificationSet
from secateur.data.detection_set import DetectionSet

PictureSet = DetectionSet | ClassificationSet
Task = Literal["detection", "classification"]

# Names that common tools give to splits, the preferred one first.
TRAIN_SPLITS = ("train", "train2017", "train2014")
TEST_SPLITS = ("test", "val", "valid", "val2017", "val2014")


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRequest:
    """A split to read, as a recipe names it.

    Attributes:
        root: the data folder.
        split: name of the split.
        train: name of the split to train on; where a layout has no list of classes, that split
            defines them.
        size: side of the model's input, pixels.
        classes: names in the order of the labels; None for those of the data.
        scheme: one of the layout's ``schemes``; None for its default.
    """

    root: Path
    split: str
    train: str
    size: int
    classes: tuple[str, ...] | None = None
    scheme: str | None = None


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a folder of a known layout contains.

    Attributes:
        train: name of the split to train on.
        test: name of the split to test on; None if there is none.
        classes: value for a recipe's ``data.classes``; None if the data name their classes.
    """

    train: str
    test: str | None
    classes: tuple[str, ...] | str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One layout of annotated pictures.

    Attributes:
        task: what the annotations are for: boxes for detection, a class a picture for
            classification.
        description: the files of the layout in one line of Markdown, for help and documentation.
        read: reads a split; raises DataError if files are missing, broken or inconsistent.
        recognise: returns what a folder of this layout contains, None for another folder; None if
            a folder's files do not tell the layout.
        classes: names of the classes that data of this layout have unless the user gives others;
            None if they differ from data set to data set.
        schemes: alternative sets of classes by the name that selects one; the first is the default.
        exists: tells whether a split that the reader generates on first use is on disk already;
            None for layouts of the user's own files.
    """

    task: Task
    description: str
    read: Callable[[SplitRequest], PictureSet]
    recognise: Callable[[Path], Recognised | None] | None = None
    classes: tuple[str, ...] | None = None
    schemes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    exists: Callable[[SplitRequest], bool] | None = None


def find_splits(exists: Callable[[str], bool]) -> Recognised | None:
    """Try the usual names of splits; return None if there is no split to train on."""
    train = next(filter(exists, TRAIN_SPLITS), None)
    return None if train is None else Recognised(train, next(filter(exists, TEST_SPLITS), None))
