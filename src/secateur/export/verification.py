"""Verification of an exported file against its network."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from secateur.config.evaluate import Evaluate
from secateur.errors import ExportError
from secateur.export.table import Tolerance
from secateur.files.progress import Bar
from secateur.inference.evaluate import NamedPictures, evaluate_predictor
from secateur.inference.predictor import Predictor
from secateur.tasks.detection.detections import Detections


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well the predictions of two networks agree.

    Attributes:
        pictures: compared.
        found: objects that the two networks find, counted for both; of classifiers, pictures.
        objects: those of them that must have a counterpart: all but the unmatched ones so close
            to the score threshold that rounding may have dropped the counterpart.
        matched: those of them with a counterpart within the tolerance.
        worst_pixels: largest difference of a side among the matched.
        worst_score: largest difference of score among the matched.
    """

    pictures: int
    found: int
    objects: int
    matched: int
    worst_pixels: float
    worst_score: float

    def within(self, tolerance: Tolerance) -> bool:
        """Whether enough objects have a counterpart; at least one object must need one."""
        return self.matched >= tolerance.share * self.objects and (
            self.objects > 0 or not self.found
        )


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Accuracy before and after export.

    Attributes:
        metric: name of the metric.
        before: of the network, percent.
        after: of the exported file, percent.
    """

    metric: str
    before: float
    after: float


def verify_agreement(
    original: Predictor,
    exported: Predictor,
    batches: Sequence[Tensor],
    settings: Evaluate,
    tolerance: Tolerance,
    bar: Bar,
) -> Agreement:
    """Run both networks on the same pictures and compare their predictions.

    Args:
        original: the network.
        exported: the exported file.
        batches: pictures, (1, 3, H, W) uint8 each.
        settings: the score threshold and the number of objects per picture.
        tolerance: how much predictions may differ.
        bar: shows progress.

    Raises:
        ExportError: too few objects have a counterpart.
    """
    detector = original.header.task == "detector"
    ours: list[Any] = []
    theirs: list[Any] = []
    with bar("verifying", len(batches)) as advance:
        for pixels in batches:
            for predictor, predictions in ((original, ours), (exported, theirs)):
                if detector:
                    predictions.extend(predictor.detect(pixels))
                else:
                    predictions.append(predictor.classify(pixels))
            advance(1)
    if detector:
        found = compare_detections(
            ours, theirs, tolerance, least=settings.score, most=settings.boxes
        )
    else:
        found = compare_scores(torch.cat(ours), torch.cat(theirs), tolerance)
    if not found.within(tolerance):
        half = exported.header.precision == "fp16"
        cure = "take --precision fp32" if half else "try a higher --score or other --data"
        raise ExportError(
            f"{found.objects - found.matched} of {found.objects} predictions differ from the "
            f"network's by more than {tolerance.pixels:g} pixels or {tolerance.score:g} of score; "
            f"{cure}; if that does not help, please report this network"
        )
    return found


def verify_accuracy(
    original: Predictor,
    exported: Predictor,
    named: NamedPictures,
    max_drop: float,
    bar: Bar,
) -> Accuracy:
    """Measure both networks on annotated pictures.

    Args:
        original: the network.
        exported: the exported file.
        named: the pictures and the metric.
        max_drop: points of the metric that may be lost.
        bar: shows progress.

    Raises:
        ExportError: more is lost, or the pictures have no objects.
    """
    metric = named.settings.metric if original.header.task == "detector" else "top1"
    precision, values = exported.header.precision, []
    for predictor in (original, exported):
        with bar(f"measuring {predictor.header.precision}", len(named.pictures)) as advance:
            values.append(evaluate_predictor(predictor, named, advance).metrics[metric])
    before, after = values
    if before is None or after is None:
        raise ExportError(
            f"{named.split} has no object to measure {metric} with, which {precision} needs; give "
            "other annotated pictures by --data and --split"
        )
    if before - after > max_drop:
        raise ExportError(
            f"{metric} on {named.split} is {after:.2f} with {precision} and {before:.2f} without; "
            "allow a larger --max-drop, or use --precision fp16"
        )
    return Accuracy(metric, before, after)


def compare_detections(
    ours: Sequence[Detections],
    theirs: Sequence[Detections],
    tolerance: Tolerance,
    *,
    least: float,
    most: int,
) -> Agreement:
    """Find each object's counterpart: the same class, box and score.

    Rounding can push an object below the lowest score that a network returns, so unmatched objects
    within the tolerance of that score are not counted. Rounding can also change which of two
    nearly equal boxes NMS keeps; ``Tolerance.share`` allows for that.

    Args:
        ours: objects of each picture.
        theirs: of the same pictures.
        tolerance: how much counterparts may differ.
        least: score threshold.
        most: largest number of objects per picture; a picture with that many has their lowest
            score as its threshold.
    """
    found = objects = matched = 0
    pixels = score = 0.0
    for first, second in zip(ours, theirs, strict=True):
        edge = max(least, *(_lowest_score(each, most) for each in (first, second)))
        for one, other in ((first, second), (second, first)):
            distance, difference = _nearest(one, other)
            paired = (distance <= tolerance.pixels) & (difference <= tolerance.score)
            counted = paired | (one.scores > edge + tolerance.score)
            found += len(counted)
            objects += int(counted.sum())
            matched += int(paired.sum())
            if paired.any():
                pixels = max(pixels, float(distance[paired].max()))
                score = max(score, float(difference[paired].max()))
    return Agreement(len(ours), found, objects, matched, pixels, score)


def compare_scores(ours: Tensor, theirs: Tensor, tolerance: Tolerance) -> Agreement:
    """Compare class probabilities, (N, K) each; a picture counts as one object."""
    difference = (ours - theirs).abs().amax(1)
    within = difference <= tolerance.score
    worst = float(difference[within].max()) if within.any() else 0.0
    return Agreement(len(ours), len(ours), len(ours), int(within.sum()), 0.0, worst)


def _lowest_score(found: Detections, most: int) -> float:
    """Lowest score of a picture with as many objects as can be; otherwise 0."""
    return float(found.scores.min()) if len(found.scores) >= most > 0 else 0.0


def _nearest(one: Detections, other: Detections) -> tuple[Tensor, Tensor]:
    """Differences to each object's counterpart: of a side in pixels and of score; inf if none.

    The counterpart is the nearest object of the same class; among those within the same pixel, it
    is the one with the most similar score.
    """
    distance = torch.full_like(one.scores, torch.inf)
    difference = torch.full_like(one.scores, torch.inf)
    if not len(one.scores) or not len(other.scores):
        return distance, difference
    sides = (one.boxes[:, None] - other.boxes[None]).abs().amax(2)  # (M, N)
    scores = (one.scores[:, None] - other.scores[None]).abs()
    other_class = one.labels[:, None] != other.labels[None]
    order = (sides.floor() + scores).masked_fill(other_class, torch.inf)
    least, index = order.min(1)
    found = least < torch.inf
    rows = torch.arange(len(distance))
    distance[found] = sides[rows, index][found]
    difference[found] = scores[rows, index][found]
    return distance, difference
