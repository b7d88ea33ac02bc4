"""Accuracy of a network file on a recipe's data or a folder of annotated pictures."""

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
from secateur.config.shipped import is_shipped
from secateur.data.classification_set import ClassificationSet
from secateur.data.detection_set import DetectionSet
from secateur.data.formats.class_folders import class_folder_splits
from secateur.data.formats.format import PictureSet
from secateur.data.formats.table import FORMATS
from secateur.data.layout import guess_layout
from secateur.data.source import read_split, read_splits
from secateur.errors import DataError, ModelError, RecipeError
from secateur.files.progress import Bar
from secateur.inference.predictor import Predictor, load_file, predictor_of
from secateur.runtimes.header import ExportHeader
from secateur.tasks.classification import accuracy as classification
from secateur.tasks.detection import accuracy as detection
from secateur.tasks.detection.detections import Detections

VALIDATION = "validation"
Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Accuracy of a network on annotated pictures.

    Attributes:
        split: name of the split that was read.
        pictures: number of pictures.
        metrics: in percent, by name; None if there are no objects.
        by_class: by class name: the number of ``objects`` (without those marked difficult) or
            ``pictures``, and metrics, None if that number is 0.
        confusion: of a classifier: pictures by true class (rows) and predicted class (columns).
        note: why the accuracy cannot be compared with others; empty if it can.
    """

    split: str
    pictures: int
    metrics: dict[str, float | None]
    by_class: dict[str, dict[str, float | None]]
    confusion: list[list[int]] | None = None
    note: str = ""


def evaluate_file(
    model: Path,
    data: Path | None,
    split: str | None,
    bar: Bar,
) -> Evaluation:
    """Measure a network file on a split of a recipe's data or of a folder.

    Args:
        model: a network file of any format. An exported file contains its own score threshold and
            NMS.
        data: a recipe (``.yaml``, a run's ``recipe.json``, or the name of a shipped recipe), whose
            ``evaluate`` section applies, or a folder in a known layout; None for the recipe of the
            run folder that holds the model.
        split: its name; ``validation`` is the part of a recipe's training pictures that is held
            out. None for test; without a test split, a recipe's validation or a folder's train.
        bar: shows progress.

    Raises:
        ModelError: the file is not a network, or its classes differ from the pictures'.
        DataError: a picture or an annotation is wrong, or the split is missing.
        RecipeError: the recipe is wrong.
    """
    if data is None:
        data = model.with_name("recipe.json")
        if not model.exists():
            raise ModelError(f"{model}: no such network file; correct the path")
        if not data.is_file():
            raise RecipeError(f"{model}: is not in a run folder; name the data with --data")
    loaded = load_file(model)
    named = read_named(model, loaded.header, data, split)
    predictor = predictor_of(model, loaded, named.settings)
    with bar("evaluating", len(named.pictures)) as advance:
        found = evaluate_predictor(predictor, named, advance)
    threshold, wanted = loaded.header.provenance.get("score"), named.settings.score
    if isinstance(threshold, float) and threshold > wanted:
        return replace(
            found,
            note=f"this file drops detections with a score below {threshold:g}, but the metric "
            f"counts them from {wanted:g}; do not compare this accuracy with the network's",
        )
    return found


@dataclass(frozen=True, slots=True)
class NamedPictures:
    """The annotated pictures that a user named, with the settings to evaluate them."""

    pictures: PictureSet
    split: str
    settings: Evaluate


def read_named(
    model: Path, network: ExportHeader, data: Path, split: str | None, *, test: bool = True
) -> NamedPictures:
    """Read annotated pictures for a network; errors as for ``evaluate_file``.

    Args:
        model: the network's file, named in errors.
        network: its header.
        data: a recipe or a folder.
        split: its name; None for the default.
        test: whether the default is the test split; otherwise, or without a test split, it is a
            recipe's validation or a folder's train.
    """
    if is_recipe(data):
        recipe = load_recipe(data)
        if (network.task == "detector") != isinstance(recipe.data, DetectionData):
            raise ModelError(
                f"{model}: is a {network.task}, but {data} is for {recipe.model.network}; give a "
                f"recipe or folder for a {network.task}"
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
            raise DataError(f"{data}: has no split {VALIDATION}; name another, or give the recipe")
        entry = _folder_entry(data, network)
        split = split or (entry.test if test else None) or entry.train
        pictures = read_split(entry, split, network.size)
    if pictures.classes != network.classes:
        raise ModelError(_disagreement(model, network.classes, data, pictures.classes))
    return NamedPictures(pictures, split, settings)


def is_recipe(data: Path) -> bool:
    """Whether a path names a recipe, not a folder of pictures."""
    if data.is_dir():
        return False
    return data.suffix in (".yaml", ".yml", ".json") or is_shipped(data)


def evaluate_predictor(
    predictor: Predictor, named: NamedPictures, advance: Advance = lambda _count: None
) -> Evaluation:
    """Measure a predictor on annotated pictures.

    Args:
        predictor: with the task and the classes of the pictures.
        named: the pictures.
        advance: called with the number of pictures done since the last call.

    Raises:
        DataError: a picture cannot be read, or the network does not take its size.
    """
    pictures, batch = named.pictures, predictor.header.batch or named.settings.batch_size
    if isinstance(pictures, DetectionSet):
        found = predictor.detect_files(pictures.pictures, batch, advance=advance)
        return _detector_evaluation(found, pictures, named.split)
    scores = []
    for pixels in torch.split(pictures.pixels, batch):
        scores.append(predictor.classify(pixels))
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


def _folder_entry(root: Path, network: ExportHeader) -> Data:
    """Return a recipe's ``data`` section for a folder, with the network's classes."""
    if network.task == "classifier":
        train, test = class_folder_splits(root)
        if train is None and test is None:
            raise DataError(
                f"{root}: has no folder train, test or val with class folders; give the folder "
                "that contains SPLIT/CLASS/picture, or a recipe"
            )
        entry: dict[str, Any] = {"format": "folders", "root": root, "classes": network.classes}
        return ClassificationData.model_validate({**entry, "train": train or "train", "test": test})
    layout = guess_layout(root)
    if FORMATS[layout.format].task != "detection":
        raise DataError(
            f"{root}: has class folders but no boxes, which a detector needs; give pictures with "
            "boxes, or a recipe"
        )
    schemes = FORMATS[layout.format].schemes
    scheme = next((name for name, classes in schemes.items() if classes == network.classes), None)
    return DetectionData.model_validate(
        {
            "format": layout.format,
            "root": root,
            "train": layout.train,
            "test": layout.test,
            "classes": scheme if schemes else network.classes,
        }
    )


def _disagreement(model: Path, own: tuple[str, ...], data: Path, others: tuple[str, ...]) -> str:
    unknown = [name for name in others if name not in own]
    absent = [name for name in own if name not in others]
    differences = [
        f"{what} {', '.join(names[:3])}{' …' if len(names) > 3 else ''}"
        for what, names in (("only in the data:", unknown), ("missing there:", absent))
        if names
    ] or ["in another order"]
    return (
        f"{model}: its {len(own)} classes differ from the {len(others)} of {data} "
        f"({'; '.join(differences)}); list the network's classes in data.classes, in its order"
    )
