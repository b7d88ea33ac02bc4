"""Accuracy of a network file on annotated pictures that its user names."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from secateur.data.detection_set import DetectionSet
from secateur.data.gtsdb import GTSDB_CLASSES, SUPER_CATEGORIES
from secateur.data.layout import guess_layout
from secateur.data.source import read_split, read_splits
from secateur.errors import ModelError
from secateur.models.network_file import load_network
from secateur.models.ssd import SSDArchitecture
from secateur.recipe import Data, Evaluate, load_recipe
from secateur.tasks.average_precision import average_precision
from secateur.tasks.detection import METRICS, find_objects, measure_accuracy

VALIDATION = "validation"


@dataclass(frozen=True, slots=True)
class ClassAccuracy:
    """Accuracy on one class, in percent; None where the pictures show no such object.

    Attributes:
        objects: how many there are to find; those marked difficult are not counted.
    """

    objects: int
    AP50_area: float | None
    AP50_voc07: float | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a network finds of what there is.

    Attributes:
        split: name of the split that was read.
        pictures: number of pictures.
        metrics: in percent, by name; None where there is nothing to find.
        by_class: by class name.
    """

    split: str
    pictures: int
    metrics: dict[str, float | None]
    by_class: dict[str, ClassAccuracy]


def evaluate_file(
    model: Path,
    data: Path,
    split: str | None,
    bar: Callable[[str, int], AbstractContextManager[Callable[..., None]]],
) -> Evaluation:
    """Measure a network file on a split of a recipe's data, or of a folder of known layout.

    Args:
        model: the network file.
        data: a recipe (``.yaml``), whose ``evaluate`` entry then holds too, or a folder.
        split: its name; ``validation`` is what a recipe cuts from its training pictures. None
            for test, or where there is none, for a recipe validation and for a folder train.
        bar: shows progress.

    Raises:
        ModelError: the file is no network, or its classes are not those of the recipe.
        DataError: anything is wrong with the pictures, or a class is not the network's.
        RecipeError: the recipe is wrong.
    """
    network = load_network(model)
    architecture = network.architecture
    if data.suffix in (".yaml", ".yml") and not data.is_dir():
        recipe = load_recipe(data)
        settings = recipe.evaluate
        split = split or recipe.data.test or VALIDATION
        if split == VALIDATION:
            pictures = read_splits(recipe.data, architecture.size, recipe.seed).validation
        else:
            pictures = read_split(recipe.data, split, architecture.size)
    else:
        settings = Evaluate()
        entry = _folder_entry(data, architecture)
        split = split or entry.test or entry.train
        pictures = read_split(entry, split, architecture.size)
    if pictures.classes != architecture.classes:
        raise ModelError(_disagreement(model, architecture.classes, data, pictures.classes))
    with bar("evaluating", len(pictures.pictures)) as advance:
        detections = find_objects(
            network.ssd, architecture, pictures.pictures, settings, advance=advance
        )
    voc = average_precision(detections, pictures.pictures, pictures.classes)
    metrics = measure_accuracy(detections, pictures, METRICS)
    return Evaluation(
        split,
        len(pictures.pictures),
        {name: _number(value) for name, value in metrics.items()},
        {
            name: ClassAccuracy(
                _count(pictures, label),
                _number(voc.AP50_area_by_class[name]),
                _number(voc.AP50_voc07_by_class[name]),
            )
            for label, name in enumerate(pictures.classes, start=1)
        },
    )


def _folder_entry(root: Path, architecture: SSDArchitecture) -> Data:
    """Say how to read a folder in terms of the network's own classes."""
    layout = guess_layout(root)
    schemes = {GTSDB_CLASSES: "43", tuple(SUPER_CATEGORIES): "super", ("sign",): "sign"}
    return Data.model_validate(
        {
            "format": layout.format,
            "root": root,
            "train": layout.train,
            "test": layout.test,
            "classes": schemes.get(architecture.classes, "43")
            if layout.format == "gtsdb"
            else architecture.classes,
        }
    )


def _disagreement(model: Path, own: tuple[str, ...], data: Path, others: tuple[str, ...]) -> str:
    unknown = [name for name in others if name not in own]
    absent = [name for name in own if name not in others]
    differences = [
        f"{what} {', '.join(names[:3])}{' …' if len(names) > 3 else ''}"
        for what, names in (("the data add", unknown), ("the data lack", absent))
        if names
    ] or ["their order differs"]
    return (
        f"{model}: its {len(own)} classes are not the {len(others)} of {data} "
        f"({'; '.join(differences)}); name the network's in data.classes, in its order"
    )


def _count(pictures: DetectionSet, label: int) -> int:
    return sum(int(((p.labels == label) & ~p.difficult).sum()) for p in pictures.pictures)


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value
