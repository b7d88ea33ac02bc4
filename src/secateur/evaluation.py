"""Accuracy of a network file on annotated pictures that its user names."""

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchvision.models.detection.ssd import SSD

from secateur.data.classification_set import ClassificationSet
from secateur.data.detection_set import DetectionSet
from secateur.data.gtsdb import GTSDB_CLASSES, SUPER_CATEGORIES
from secateur.data.layout import guess_layout
from secateur.data.source import read_split, read_splits
from secateur.errors import DataError, ModelError
from secateur.models.network import Architecture
from secateur.models.network_file import NetworkFile, load_network
from secateur.models.ssd import SSDArchitecture
from secateur.recipe import ClassificationData, Data, DetectionData, Evaluate, load_recipe
from secateur.tasks import classification
from secateur.tasks.average_precision import average_precision
from secateur.tasks.detection import METRICS, find_objects, measure_accuracy

VALIDATION = "validation"
Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a network makes of pictures, against what they show.

    Attributes:
        split: name of the split that was read.
        pictures: number of pictures.
        metrics: in percent, by name; None where there is nothing to find.
        by_class: by class name; ``objects`` or ``pictures``, how many there are to find (those
            marked difficult are not counted), and metrics, None where there are none.
        confusion: of a classifier, pictures by true class (rows) and found class (columns).
    """

    split: str
    pictures: int
    metrics: dict[str, float | None]
    by_class: dict[str, dict[str, float | None]]
    confusion: list[list[int]] | None = None


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
    detector = isinstance(architecture, SSDArchitecture)
    if data.suffix in (".yaml", ".yml") and not data.is_dir():
        recipe = load_recipe(data)
        if detector != isinstance(recipe.data, DetectionData):
            raise ModelError(
                f"{model}: is a {'detector' if detector else 'classifier'}, and {data} is for "
                f"{recipe.model.network}; name a recipe or folder of its kind of pictures"
            )
        settings = recipe.evaluate
        split = split or recipe.data.test or VALIDATION
        if split == VALIDATION:
            pictures = read_splits(recipe.data, architecture.size, recipe.seed).validation
        else:
            pictures = read_split(recipe.data, split, architecture.size)
    else:
        settings = Evaluate()
        if split == VALIDATION and not (data / VALIDATION).exists():
            raise DataError(f"{data}: only a recipe says which pictures are validation; give that")
        entry = _folder_entry(data, architecture)
        split = split or entry.test or entry.train
        pictures = read_split(entry, split, architecture.size)
    if pictures.classes != architecture.classes:
        raise ModelError(_disagreement(model, architecture.classes, data, pictures.classes))
    with bar("evaluating", len(pictures)) as advance:
        if isinstance(pictures, DetectionSet):
            return _evaluate_detector(network, pictures, split, settings, advance)
        return _evaluate_classifier(network, pictures, split, settings, advance)


def _evaluate_detector(
    file: NetworkFile, pictures: DetectionSet, split: str, settings: Evaluate, advance: Advance
) -> Evaluation:
    assert isinstance(file.model, SSD)  # noqa: S101 # the kinds of data and network agree
    assert isinstance(file.architecture, SSDArchitecture)  # noqa: S101
    found = find_objects(
        file.model, file.architecture, pictures.pictures, settings, advance=advance
    )
    voc = average_precision(found, pictures.pictures, pictures.classes)
    return Evaluation(
        split,
        len(pictures),
        _numbers(measure_accuracy(found, pictures, METRICS)),
        {
            name: _numbers(
                {
                    "objects": _count(pictures, label),
                    "AP50_area": voc.AP50_area_by_class[name],
                    "AP50_voc07": voc.AP50_voc07_by_class[name],
                }
            )
            for label, name in enumerate(pictures.classes, start=1)
        },
    )


def _evaluate_classifier(
    file: NetworkFile, pictures: ClassificationSet, split: str, settings: Evaluate, advance: Advance
) -> Evaluation:
    predicted = classification.classify(
        file.model,
        pictures.pixels,
        mean=file.architecture.mean,
        std=file.architecture.std,
        batch_size=settings.batch_size,
        advance=advance,
    )
    matrix = classification.confusion_matrix(predicted, pictures.labels, len(pictures.classes))
    shares = classification.accuracy_by_class(matrix)
    return Evaluation(
        split,
        len(pictures),
        {"top1": classification.top1(predicted, pictures.labels)},
        {
            name: {"pictures": count, "top1": share}
            for name, count, share in zip(
                pictures.classes, matrix.sum(1).tolist(), shares, strict=True
            )
        },
        matrix.tolist(),
    )


def _folder_entry(root: Path, architecture: Architecture) -> Data:
    """Say how to read a folder in terms of the network's own classes."""
    if not isinstance(architecture, SSDArchitecture):
        if not any((root / split).is_dir() for split in ("train", "test")):
            raise DataError(
                f"{root}: has no folder train or test; give the folder that holds "
                "SPLIT/CLASS/picture, or a recipe"
            )
        entry: dict[str, Any] = {"format": "folders", "root": root, "classes": architecture.classes}
        test = "test" if (root / "test").is_dir() else None
        return ClassificationData.model_validate({**entry, "test": test})
    layout = guess_layout(root)
    schemes = {GTSDB_CLASSES: "43", tuple(SUPER_CATEGORIES): "super", ("sign",): "sign"}
    return DetectionData.model_validate(
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


def _numbers(values: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no NaN."""
    return {name: None if math.isnan(value) else value for name, value in values.items()}
