"""Whether two networks give the same predictions."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from secateur.tasks.detection.average_precision import Detections


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far predictions may lie apart.

    Attributes:
        pixels: along each side of a box.
        score: of a confidence or probability.
        share: of the objects that must have a counterpart, 0 to 1.
    """

    pixels: float
    score: float
    share: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far the predictions of two networks lie apart.

    Attributes:
        pictures: compared.
        found: objects that the two networks find together; of classifiers, pictures.
        objects: of them, those that must have a counterpart: without those that rounding may push
            over an edge.
        matched: of them, those with a counterpart within the tolerance.
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
        """Whether enough of the objects have a counterpart, and some must have one."""
        return self.matched >= tolerance.share * self.objects and (
            self.objects > 0 or not self.found
        )


def compare_detections(
    ours: Sequence[Detections],
    theirs: Sequence[Detections],
    tolerance: Tolerance,
    *,
    least: float,
    most: int,
) -> Agreement:
    """Look for each object's counterpart: of its class, its place and its score.

    Rounding may push an object over the edge of what is given at all, so those that score no more
    than the edge and the tolerance may lack a counterpart. It may also turn a choice of NMS
    between two boxes that are almost alike; that is what ``Tolerance.share`` leaves room for.

    Args:
        ours: objects of each picture.
        theirs: of the same pictures.
        tolerance: how far a counterpart may lie.
        least: score at which objects begin to be given.
        most: objects given for a picture; where there are as many, the least score of them is
            its edge.
    """
    found = objects = matched = 0
    pixels = score = 0.0
    for first, second in zip(ours, theirs, strict=True):
        edge = max(least, *(_least_given(each, most) for each in (first, second)))
        for one, other in ((first, second), (second, first)):
            far, unlike = _nearest(one, other)
            paired = (far <= tolerance.pixels) & (unlike <= tolerance.score)
            counted = paired | (one.scores > edge + tolerance.score)
            found += len(counted)
            objects += int(counted.sum())
            matched += int(paired.sum())
            if paired.any():
                pixels = max(pixels, float(far[paired].max()))
                score = max(score, float(unlike[paired].max()))
    return Agreement(len(ours), found, objects, matched, pixels, score)


def compare_scores(ours: Tensor, theirs: Tensor, tolerance: Tolerance) -> Agreement:
    """Compare the probabilities of classes, (N, K) each; a picture counts as one object."""
    apart = (ours - theirs).abs().amax(1)
    within = apart <= tolerance.score
    worst = float(apart[within].max()) if within.any() else 0.0
    return Agreement(len(ours), len(ours), len(ours), int(within.sum()), 0.0, worst)


def _least_given(found: Detections, most: int) -> float:
    return float(found.scores.min()) if len(found.scores) >= most > 0 else 0.0


def _nearest(one: Detections, other: Detections) -> tuple[Tensor, Tensor]:
    """Distance of sides in pixels, and of scores, to the counterpart of each; inf without one.

    The counterpart is of the same class, and the most alike in score among those at the place.
    """
    far = torch.full_like(one.scores, torch.inf)
    unlike = torch.full_like(one.scores, torch.inf)
    if not len(one.scores) or not len(other.scores):
        return far, unlike
    sides = (one.boxes[:, None] - other.boxes[None]).abs().amax(2)  # (M, N)
    scores = (one.scores[:, None] - other.scores[None]).abs()
    strange = one.labels[:, None] != other.labels[None]
    # Places first, in steps of a pixel; of several at one place the score decides.
    order = (sides.floor() + scores).masked_fill(strange, torch.inf)
    least, index = order.min(1)
    found = least < torch.inf
    rows = torch.arange(len(far))
    far[found] = sides[rows, index][found]
    unlike[found] = scores[rows, index][found]
    return far, unlike
