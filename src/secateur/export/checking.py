"""An export tried against the network it came from."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from secateur.config.evaluate import Evaluate
from secateur.errors import ExportError
from secateur.export.agreement import (
    Agreement,
    Tolerance,
    compare_detections,
    compare_scores,
)
from secateur.files.progress import Bar
from secateur.inference.evaluate import NamedPictures, evaluate_network
from secateur.inference.predictor import OpenNetwork, class_probabilities
from secateur.runtimes.description import Precision

# Counterparts must be this near; 8 bits are judged by accuracy instead.
TOLERANCES: dict[Precision, Tolerance] = {
    "fp32": Tolerance(pixels=0.5, score=1e-3, share=0.998),
    "fp16": Tolerance(pixels=2.0, score=2e-2, share=0.99),
}


def check_agreement(
    original: OpenNetwork,
    written: OpenNetwork,
    batches: Sequence[Tensor],
    settings: Evaluate,
    tolerance: Tolerance,
    bar: Bar,
) -> Agreement:
    """Run both on the same pictures; refuse an export that predictions otherwise.

    Args:
        original: the network.
        written: its export, in single or half precision.
        batches: pictures, (1, 3, H, W) uint8 each.
        settings: the least score of an object that is given, and how many are.
        tolerance: how near the predictions must be.
        bar: shows progress.

    Raises:
        ExportError: too few objects have a counterpart.
    """
    ours: list[Any] = []
    theirs: list[Any] = []
    with bar("checking", len(batches)) as advance:
        for pixels in batches:
            for network, predictions in ((original, ours), (written, theirs)):
                find = network.find
                predictions.extend(find(pixels) if find else [class_probabilities(network, pixels)])
            advance(1)
    if original.find is None:
        found = compare_scores(torch.cat(ours), torch.cat(theirs), tolerance)
    else:
        least, most = settings.score, settings.boxes
        found = compare_detections(ours, theirs, tolerance, least=least, most=most)
    if not found.within(tolerance):
        half = written.description.precision == "fp16"
        cure = "take --precision fp32" if half else "try a higher --score or other --data"
        raise ExportError(
            f"{found.objects - found.matched} of {found.objects} predictions lie further than "
            f"{tolerance.pixels:g} pixels and {tolerance.score:g} of score from those of the "
            f"network; {cure}, or if it is no better then, report the network to us"
        )
    return found


def check_accuracy(
    original: OpenNetwork,
    written: OpenNetwork,
    named: NamedPictures,
    max_drop: float,
    bar: Bar,
) -> tuple[str, float, float]:
    """Measure both on annotated pictures; refuse an export that lost too much.

    Args:
        original: the network.
        written: its export, with 8 bits.
        named: the pictures, and the metric.
        max_drop: points of the metric that may be lost.
        bar: shows progress.

    Returns:
        The metric, and its value before and after, percent.

    Raises:
        ExportError: it lost more, or there is nothing to find.
    """
    metric = named.settings.metric if original.find else "top1"
    values = []
    for network, title in ((original, "measuring fp32"), (written, "measuring int8")):
        with bar(title, len(named.pictures)) as advance:
            values.append(evaluate_network(network, named, advance).metrics[metric])
    before, after = values
    if before is None or after is None:
        raise ExportError(
            f"{named.split} has no object that {metric} could be measured by, and with 8 bits that "
            "must be seen; name annotated pictures by --data and --split"
        )
    if before - after > max_drop:
        raise ExportError(
            f"{metric} on {named.split} is {after:.2f} with 8 bits and {before:.2f} without; allow "
            "more by --max-drop, or take --precision fp16"
        )
    return metric, before, after
