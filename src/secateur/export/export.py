"""A network written for another runtime, and tried before it is handed over."""

import copy
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision.models.detection.ssd import SSD

from secateur.config.evaluate import Evaluate
from secateur.config.recipe import load_recipe
from secateur.errors import ExportError
from secateur.export.agreement import Agreement
from secateur.export.checking import TOLERANCES, check_accuracy, check_agreement
from secateur.export.pictures import own_recipe, pictures_for
from secateur.export.source import Source
from secateur.export.target import Target, check_suffix, described
from secateur.export.writing import write_file
from secateur.files.atomic_write import unwritable, write_json
from secateur.files.progress import Bar, no_bar
from secateur.inference.evaluate import is_recipe
from secateur.inference.predictor import open_model, open_network


@dataclass(frozen=True, slots=True)
class Export:
    """What was written, and how it was found to behave.

    Attributes:
        file: its name.
        bytes: of the file, and of the weights beside it.
        description: what stands in its metadata.
        checked_on: which pictures, in words.
        agreement: with the network it came from; None for 8 bits.
        metric: name of what was measured on annotated pictures, None where it was not.
        before: of the network it came from, percent.
        after: of the export, percent.
    """

    file: str
    bytes: int
    description: dict[str, Any]
    checked_on: str
    agreement: Agreement | None
    metric: str | None = None
    before: float | None = None
    after: float | None = None


def export(
    source: Source,
    out: Path,
    target: Target = Target(),  # noqa: B008 # it cannot change
    *,
    data: Path | None = None,
    split: str | None = None,
    bar: Bar = no_bar,
) -> Export:
    """Write a network for another runtime, check it, and only then put it in place.

    In single and half precision the objects must have their counterparts among those of the
    network it came from (``checking.TOLERANCES``). With 8 bits the metric on annotated pictures is
    measured instead.

    Args:
        source: the network.
        out: the file to write; beside it, ``out.json`` tells what was found.
        target: what is wanted of it.
        data: a recipe or a folder of annotated pictures; None for the recipe of the run that the
            network's file lies in, or else for drawn pictures.
        split: which of them.
        bar: shows progress.

    Raises:
        ExportError: what is wanted cannot be had, or the export does not do what the network
            does; then nothing is left of it.
        DataError: the pictures cannot be read.
        MissingExtraError: the format needs a package that is not installed.
        RunError: the file cannot be written.
    """
    description = described(source, target)
    check_suffix(out, target.format)
    pictures = pictures_for(source, description.shape, data, split)
    settings = _settings(source, data)
    if target.score is not None:
        settings = settings.model_copy(update={"score": target.score})
    if target.precision == "int8" and pictures.named is None:
        raise ExportError(
            f"{source.name}: 8 bits are calibrated on pictures like those it is for"
            f"{pictures.remark}; name them by --data RECIPE or --data FOLDER"
        )
    # The place and the thresholds of the one given are the caller's.
    source = replace(source, model=copy.deepcopy(source.model))
    if description.outputs == "objects" and target.format != "torch":
        inside = settings.model_dump(include={"score", "nms", "boxes"})
        more = {"provenance": description.provenance | inside}
        description = description.model_copy(update=more)
    original = open_model(
        Path(source.name),
        source.model,
        source.description,
        source.mean,
        source.std,
        settings,
        device=torch.device("cpu"),  # where the other runs too, and nothing rounds by TF32
    )
    with _staged(out) as draft:
        with bar(f"writing {out.name}", 1) as advance:
            write_file(source, draft, target, description, pictures.batches)
            advance(1)
        written = open_network(draft, settings=settings)
        size = sum(file.stat().st_size for file in draft.parent.iterdir())
        tried = pictures.origin if target.precision != "int8" else pictures.whole
        agreement, metric, before, after = None, None, None, None
        try:
            if target.precision == "int8" and pictures.named is not None:
                named = replace(pictures.named, settings=settings)
                metric, before, after = check_accuracy(
                    original, written, named, target.max_drop, bar
                )
            else:
                tolerance = TOLERANCES[target.precision]
                agreement = check_agreement(
                    original, written, pictures.batches, settings, tolerance, bar
                )
        except ExportError as error:
            raise ExportError(f"{out}: not written: on {tried}, {error}") from None
    result = Export(
        file=out.name,
        bytes=size,
        description=description.model_dump(mode="json"),
        checked_on=tried + pictures.remark,
        agreement=agreement,
        metric=metric,
        before=before,
        after=after,
    )
    write_json(out.with_name(f"{out.name}.json"), asdict(result))
    return result


def _settings(source: Source, data: Path | None) -> Evaluate:
    """Those of the recipe that is named or that the network was made by, or else its own."""
    if data is not None and is_recipe(data):
        return load_recipe(data).evaluate
    beside = own_recipe(source)
    return load_recipe(beside).evaluate if beside else own_settings(source.model)


def own_settings(model: nn.Module) -> Evaluate:
    """The scores and NMS that a torchvision SSD carries; the defaults for any other network."""
    if not isinstance(model, SSD):
        return Evaluate()
    return Evaluate(
        score=model.score_thresh,
        nms=model.nms_thresh,
        candidates=model.topk_candidates,
        boxes=model.detections_per_img,
    )


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """Give a path in a folder of its own beside ``out``; move all of it there at the end."""
    # Its name is known before it is there, so that no stop comes between its making and its end.
    folder = out.with_name(f".export-{out.name}.{os.getpid()}")
    draft = folder / out.name
    shutil.rmtree(folder, ignore_errors=True)  # of a process of that number that was killed
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield draft
        # The file that names the others comes last.
        for file in sorted(folder.iterdir(), key=lambda file: file == draft):
            file.replace(out.with_name(file.name))
    except OSError as error:
        raise unwritable(out, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
