"""The pictures of a curve: some without labels to reconstruct with, others to measure on."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from secateur.config.evaluate import Evaluate
from secateur.config.recipe import load_recipe
from secateur.data.classification_set import ClassificationSet, read_pictures
from secateur.data.detection_set import DetectionSet
from secateur.data.formats.format import PictureSet
from secateur.data.loaders import evaluation_batches
from secateur.data.source import read_splits
from secateur.data.unannotated import find_pictures
from secateur.errors import DataError, RecipeError
from secateur.inference.evaluate import NamedPictures, is_recipe, read_named
from secateur.inference.predictor import Predictor
from secateur.runtimes.header import ExportHeader

# Pictures of a batch to reconstruct with.
BATCH = 16
# Score from which the dense network's detections count as objects, where there are no labels.
SURE = 0.4


@dataclass(frozen=True, slots=True)
class CurvePictures:
    """The pictures of a curve.

    Attributes:
        seen: to reconstruct with; their labels are not used.
        measured: to measure on.
        labelled: whether these have labels; otherwise the dense network's predictions are theirs,
            and what is measured is the agreement with it.
        note: what limits the meaning of the measurements; empty if nothing does.
    """

    seen: PictureSet
    measured: NamedPictures
    labelled: bool
    note: str = ""


def read_curve_pictures(
    model: Path, header: ExportHeader, data: Path | None, split: str | None, most: int
) -> CurvePictures:
    """Read the pictures of a curve.

    A recipe's training pictures are those to reconstruct with, and its validation pictures those
    to measure on, because a size is a decision. A folder of pictures without labels is divided
    into two halves.

    Args:
        model: the network's file, named in errors.
        header: of the network.
        data: a recipe or a folder; None for the recipe of the run folder that holds the model.
        split: what is measured on; None for a recipe's validation, or a folder's test.
        most: pictures to reconstruct with.

    Raises:
        DataError: a picture or an annotation is wrong, or the split is missing.
        ModelError: the classes of the network and of the pictures differ.
        RecipeError: the recipe is wrong, or there is none.
    """
    if data is None:
        data = model.with_name("recipe.json")
        if not data.is_file():
            raise RecipeError(f"{model}: is not in a run folder; name the data with --data")
    if is_recipe(data):
        measured = read_named(model, header, data, split, test=False)
        recipe = load_recipe(data)
        train = read_splits(recipe.data, header.size, recipe.seed).train
        return CurvePictures(_some(train, most), measured, labelled=True)
    if not _is_unlabelled(data):
        measured = read_named(model, header, data, split)
        own = read_named(model, header, data, None, test=False)
        note = ""
        if own.split == measured.split:
            note = f"reconstructed with and measured on the same pictures, those of {own.split}"
        return CurvePictures(_some(own.pictures, most), measured, labelled=True, note=note)
    if split is not None:
        raise DataError(f"{data}: has pictures without labels and no splits; leave out --split")
    everything = _unlabelled(data, header)
    if len(everything) < 2:
        raise DataError(f"{data}: has one picture; put more there, a hundred are enough")
    order = torch.randperm(len(everything), generator=torch.Generator().manual_seed(0)).tolist()
    half = min(most, len(order) // 2)
    seen, rest = everything.subset(sorted(order[:half])), everything.subset(sorted(order[half:]))
    settings = Evaluate(metric="AP50_area" if header.task == "detector" else "top1")
    return CurvePictures(seen, NamedPictures(rest, data.name, settings), labelled=False)


def batches(pictures: PictureSet, size: int | None) -> list[Tensor]:
    """Give pictures as batches (N, 3, H, W) uint8.

    Args:
        pictures: of a detector or a classifier.
        size: side to which a detector's are resized, pixels; None for their own sizes.

    Raises:
        DataError: a picture cannot be read.
    """
    if isinstance(pictures, ClassificationSet):
        return list(torch.split(pictures.pixels, BATCH))
    return [pixels for _, pixels in evaluation_batches(pictures.pictures, size, BATCH)]


def with_predictions(predictor: Predictor, named: NamedPictures) -> NamedPictures:
    """Give pictures the predictions of a network as their labels.

    Raises:
        DataError: a picture cannot be read.
    """
    pictures = named.pictures
    if isinstance(pictures, ClassificationSet):
        parts = torch.split(pictures.pixels, named.settings.batch_size)
        labels = torch.cat([predictor.classify(part).argmax(1).cpu() for part in parts])
        return replace(named, pictures=replace(pictures, labels=labels))
    annotated = []
    found = predictor.detect_files(pictures.pictures, named.settings.batch_size)
    for picture, each in zip(pictures.pictures, found, strict=True):
        limits = torch.tensor([picture.width, picture.height] * 2)
        boxes = each.boxes.clamp_min(0).minimum(limits)
        sure = (each.scores >= SURE) & (boxes[:, 2:] > boxes[:, :2]).all(1)
        difficult = torch.zeros(int(sure.sum()), dtype=torch.bool)
        annotated.append(
            replace(picture, boxes=boxes[sure], labels=each.labels[sure], difficult=difficult)
        )
    return replace(named, pictures=replace(pictures, pictures=tuple(annotated)))


def _is_unlabelled(data: Path) -> bool:
    """Whether a folder holds pictures and no other file or folder, as no known layout does."""
    if not data.is_dir():
        return False
    inside = [path for path in data.iterdir() if not path.name.startswith(".")]
    try:
        return bool(inside) and len(find_pictures([data])) == len(inside)
    except DataError:
        return False


def _unlabelled(data: Path, header: ExportHeader) -> PictureSet:
    found = tuple(find_pictures([data]))
    if header.task == "detector":
        return DetectionSet(header.classes, found)
    paths = [each.path for each in found]
    labels = torch.zeros(len(paths), dtype=torch.int64)
    pixels = read_pictures(paths, header.size, data)
    return ClassificationSet(header.classes, pixels, labels, tuple(map(str, paths)))


def _some(pictures: PictureSet, most: int) -> PictureSet:
    """Some pictures, drawn at random."""
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(0)).tolist()
    return pictures.subset(sorted(order[:most]))
