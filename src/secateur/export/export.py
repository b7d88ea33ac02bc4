"""Export: write a network in another format, verify the file, then put it in place."""

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision.models.detection.ssd import SSD

from secateur.config.evaluate import Evaluate
from secateur.config.recipe import load_recipe
from secateur.errors import ExportError
from secateur.export.pictures import VerificationPictures, own_recipe, verification_pictures
from secateur.export.staging import staged
from secateur.export.table import EXPORTS, write_file
from secateur.export.target import Target, check_suffix, export_header
from secateur.export.verification import Accuracy, Agreement, verify_accuracy, verify_agreement
from secateur.files.arguments import checked
from secateur.files.atomic_write import check_output, write_json
from secateur.files.progress import Bar, no_bar
from secateur.inference.evaluate import is_recipe
from secateur.inference.predictor import Predictor, open_predictor, predictor_of
from secateur.inference.torch_network import TorchNetwork
from secateur.models.copying import copy_model


@dataclass(frozen=True, slots=True)
class Export:
    """What was written and how it was verified.

    Attributes:
        file: its name.
        bytes: of the file, and of its weights in a second file.
        header: stored in the file.
        checked_on: which pictures, in words.
        agreement: with the network's predictions; None for int8.
        metric: what was measured on annotated pictures; None for other precisions.
        before: of the network, percent.
        after: of the file, percent.
    """

    file: str
    bytes: int
    header: dict[str, Any]
    checked_on: str
    agreement: Agreement | None
    metric: str | None = None
    before: float | None = None
    after: float | None = None


@checked
def export_network(
    network: TorchNetwork,
    out: str | os.PathLike[str],
    target: Target = Target(),  # noqa: B008 # immutable
    *,
    data: str | os.PathLike[str] | None = None,
    split: str | None = None,
    bar: Bar = no_bar,
) -> Export:
    """Write a network in another format, verify the file, and only then put it in place.

    In single and half precision, the file's objects must have counterparts among the network's
    (``table.PRECISIONS``). With int8, the metric on annotated pictures is measured instead.

    Args:
        network: to export; not changed.
        out: the file to write; what was found is written to ``out.json`` next to it.
        target: format, precision and options.
        data: a recipe or a folder of annotated pictures; None for the recipe in the network's run
            folder or, without one, for drawn pictures.
        split: which of them.
        bar: shows progress.

    Raises:
        ExportError: the network cannot be exported to this target, or verification failed; no
            file is left.
        DataError: the pictures cannot be read.
        MissingExtraError: the format needs a package that is not installed.
        RunError: the file cannot be written.
    """
    out, data = Path(out), None if data is None else Path(data)
    header = export_header(network, target)
    check_suffix(out, target.format)
    check_output(out, [Path(network.name), data])
    pictures = verification_pictures(network, header.shape, data, split)
    settings = _settings(network, data)
    if target.score is not None:
        settings = settings.model_copy(update={"score": target.score})
    kind = EXPORTS[target.format]
    if kind.precisions[target.precision] is None and pictures.named is None:
        raise ExportError(
            f"{network.name}: {target.precision} is calibrated on pictures of its task"
            f"{pictures.remark}; give them with --data RECIPE or --data FOLDER"
        )
    if header.outputs == "objects" and kind.traced:
        inside = settings.model_dump(include={"score", "nms", "boxes"})
        header = header.model_copy(update={"provenance": header.provenance | inside})
    # Predictor and writer get copies: one moves the model and sets its thresholds, and a writer
    # that changed the model would otherwise not be noticed. Both run on the CPU, because
    # accelerators may round to TF32.
    network = replace(network, model=copy_model(network.model))
    original = predictor_of(Path(network.name), network, settings, device=torch.device("cpu"))
    with staged(out) as draft:
        with bar(f"writing {out.name}", 1) as advance:
            copy = replace(network, model=copy_model(network.model))
            write_file(copy, draft, target.format, header, pictures.batches)
            advance(1)
        exported = open_predictor(draft, settings=settings)
        size = sum(file.stat().st_size for file in draft.parent.iterdir())
        try:
            checked_on, found = _verify(original, exported, pictures, settings, target, bar)
        except ExportError as error:
            raise ExportError(f"{out}: not written: {error}") from None
    accuracy = asdict(found) if isinstance(found, Accuracy) else {}
    result = Export(
        file=out.name,
        bytes=size,
        header=header.model_dump(mode="json"),
        checked_on=checked_on + pictures.remark,
        agreement=found if isinstance(found, Agreement) else None,
        **accuracy,
    )
    write_json(out.with_name(f"{out.name}.json"), asdict(result))
    return result


def _verify(
    original: Predictor,
    exported: Predictor,
    pictures: VerificationPictures,
    settings: Evaluate,
    target: Target,
    bar: Bar,
) -> tuple[str, Agreement | Accuracy]:
    """Verify as the table says for the precision; return the pictures' description with it."""
    tolerance = EXPORTS[target.format].precisions[target.precision]
    found: Agreement | Accuracy
    checked_on = pictures.whole if tolerance is None else pictures.origin
    try:
        if tolerance is not None:
            found = verify_agreement(original, exported, pictures.batches, settings, tolerance, bar)
        else:
            assert pictures.named is not None  # noqa: S101 # export_network() requires them
            named = replace(pictures.named, settings=settings)
            found = verify_accuracy(original, exported, named, target.max_drop, bar)
    except ExportError as error:
        raise ExportError(f"on {checked_on}, {error}") from None
    return checked_on, found


def _settings(network: TorchNetwork, data: Path | None) -> Evaluate:
    """Evaluation settings of the recipe named or of the network's run; else the model's own."""
    recipe = data if data is not None and is_recipe(data) else own_recipe(network)
    return load_recipe(recipe).evaluate if recipe else _own_settings(network.model)


def _own_settings(model: nn.Module) -> Evaluate:
    """Score threshold and NMS of a torchvision SSD; the defaults for another network."""
    if not isinstance(model, SSD):
        return Evaluate()
    return Evaluate(
        score=model.score_thresh,
        nms=model.nms_thresh,
        candidates=model.topk_candidates,
        boxes=model.detections_per_img,
    )
