"""Accuracy of a network file on annotated pictures that its user names."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from secateur.config.data import ClassificationData, Data, DetectionData
from secateur.config.evaluate import Evaluate
from secateur.config.recipe import load_recipe
from secateur.data.classification_set import ClassificationSet
from secateur.data.detection_set import DetectionSet
from secateur.data.formats.gtsdb import GTSDB_CLASSES, SUPER_CATEGORIES
from secateur.data.layout import class_folder_splits, guess_layout
from secateur.data.source import PictureSet, read_split, read_splits
from secateur.errors import DataError, ModelError
from secateur.files.progress import Bar
from secateur.inference.predictor import (
    OpenNetwork,
    class_probabilities,
    description_of,
    find_all,
    load_any,
    made_ready,
)
from secateur.runtimes.description import Description
from secateur.tasks.classification import classification
from secateur.tasks.detection import detection
from secateur.tasks.detection.average_precision import Detections

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
        note: what keeps the accuracy from being compared; empty if nothing does.
    """

    split: str
    pictures: int
    metrics: dict[str, float | None]
    by_class: dict[str, dict[str, float | None]]
    confusion: list[list[int]] | None = None
    note: str = ""


def evaluate_file(
    model: Path,
    data: Path,
    split: str | None,
    bar: Bar,
) -> Evaluation:
    """Measure a network file on a split of a recipe's data, or of a folder of known layout.

    Args:
        model: the network file, of secateur's own format, ONNX or OpenVINO. An exported file has
            its own settings of scores and NMS.
        data: a recipe (``.yaml``, or a run's ``recipe.json``), whose ``evaluate`` entry then
            holds too, or a folder.
        split: its name; ``validation`` is what a recipe cuts from its training pictures. None
            for test, or where there is none, for a recipe validation and for a folder train.
        bar: shows progress.

    Raises:
        ModelError: the file is no network, or its classes are not those of the recipe.
        DataError: anything is wrong with the pictures, or a class is not the network's.
        RecipeError: the recipe is wrong.
    """
    loaded = load_any(model)
    description = description_of(loaded)
    named = read_named(model, description, data, split)
    network = made_ready(model, loaded, named.settings)
    with bar("evaluating", len(named.pictures)) as advance:
        found = evaluate_network(network, named, advance)
    inside, asked = description.provenance.get("score"), named.settings.score
    if isinstance(inside, float) and inside > asked:
        return replace(
            found,
            note=f"this file gives nothing of a score below {inside:g}, and what lies between that "
            f"and {asked:g} counts too; its accuracy is no match for that of its network",
        )
    return found


@dataclass(frozen=True, slots=True)
class NamedPictures:
    """Annotated pictures that a user named, and how to measure on them."""

    pictures: PictureSet
    split: str
    settings: Evaluate


def read_named(
    model: Path, network: Description, data: Path, split: str | None, *, test: bool = True
) -> NamedPictures:
    """Read the pictures that a network is to be tried on; as for ``evaluate_file``.

    Args:
        model: the network's file, named in errors.
        network: what it is.
        data: a recipe or a folder.
        split: its name; None for test where it is allowed and there is one, or else a recipe's
            validation and a folder's train.
        test: whether it is.
    """
    if is_recipe(data):
        recipe = load_recipe(data)
        if (network.task == "detector") != isinstance(recipe.data, DetectionData):
            raise ModelError(
                f"{model}: is a {network.task}, and {data} is for {recipe.model.network}; name a "
                "recipe or folder of its kind of pictures"
            )
        settings = recipe.evaluate
        split = split or (recipe.data.test if test else None) or VALIDATION
        if split == VALIDATION:
            pictures = read_splits(recipe.data, network.size, recipe.seed).validation
        else:
            pictures = read_split(recipe.data, split, network.size)
    else:
        settings = Evaluate()
        if split == VALIDATION and not (data / VALIDATION).exists():
            raise DataError(f"{data}: only a recipe says which pictures are validation; give that")
        entry = _folder_entry(data, network)
        split = split or (entry.test if test else None) or entry.train
        pictures = read_split(entry, split, network.size)
    if pictures.classes != network.classes:
        raise ModelError(_disagreement(model, network.classes, data, pictures.classes))
    return NamedPictures(pictures, split, settings)


def is_recipe(data: Path) -> bool:
    """Whether a path is that of a recipe, and not of a folder of pictures."""
    return data.suffix in (".yaml", ".yml", ".json") and not data.is_dir()


def evaluate_network(
    network: OpenNetwork, named: NamedPictures, advance: Advance = lambda _count: None
) -> Evaluation:
    """Measure an open network.

    Args:
        network: of the kind of the pictures, and with their classes.
        named: the pictures.
        advance: told how many pictures were done.

    Raises:
        DataError: a picture cannot be read, or does not fit the network.
    """
    pictures, batch = named.pictures, network.description.batch or named.settings.batch_size
    if isinstance(pictures, DetectionSet):
        found = find_all(network, pictures.pictures, batch, advance=advance)
        return _detector_evaluation(found, pictures, named.split)
    scores = []
    for pixels in torch.split(pictures.pixels, batch):
        scores.append(class_probabilities(network, pixels))
        advance(len(pixels))
    return _classifier_evaluation(torch.cat(scores).argmax(1), pictures, named.split)


def _detector_evaluation(found: list[Detections], pictures: DetectionSet, split: str) -> Evaluation:
    metrics = detection.measure_accuracy(found, pictures, detection.METRICS)
    return Evaluation(
        split,
        len(pictures),
        # JSON has no NaN.
        {name: None if math.isnan(value) else value for name, value in metrics.items()},
        detection.accuracy_by_class(found, pictures)["by_class"],
    )


def _classifier_evaluation(
    predicted: Tensor, pictures: ClassificationSet, split: str
) -> Evaluation:
    counted = classification.accuracy_by_class(predicted, pictures.labels, pictures.classes)
    return Evaluation(
        split,
        len(pictures),
        {"top1": classification.top1(predicted, pictures.labels)},
        counted["by_class"],
        counted["confusion"],
    )


def _folder_entry(root: Path, network: Description) -> Data:
    """Say how to read a folder in terms of the network's own classes."""
    if network.task == "classifier":
        train, test = class_folder_splits(root)
        if train is None and test is None:
            raise DataError(
                f"{root}: has no folder train, test or val of class folders; give the folder that "
                "holds SPLIT/CLASS/picture, or a recipe"
            )
        entry: dict[str, Any] = {"format": "folders", "root": root, "classes": network.classes}
        return ClassificationData.model_validate({**entry, "train": train or "train", "test": test})
    layout = guess_layout(root)
    if layout.format == "folders":
        raise DataError(
            f"{root}: holds class folders, and no boxes to measure a detector by; give pictures "
            "with boxes, or a recipe"
        )
    schemes = {GTSDB_CLASSES: "43", tuple(SUPER_CATEGORIES): "super", ("sign",): "sign"}
    return DetectionData.model_validate(
        {
            "format": layout.format,
            "root": root,
            "train": layout.train,
            "test": layout.test,
            "classes": schemes.get(network.classes, "43")
            if layout.format == "gtsdb"
            else network.classes,
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
