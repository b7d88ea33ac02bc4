"""Whether two networks give the same answers."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou

from secateur.tasks.average_precision import Detections

# How near an overlap must come to the limit of NMS to be at its edge.
_JUST = 1e-3


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far answers may lie apart.

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
    """How far the answers of two networks lie apart.

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
    nms: float,
) -> Agreement:
    """Look for each object's counterpart: of its class, its place and its score.

    Rounding may push an object over an edge. So it may lack a counterpart where it scores no more
    than the least that is given and the tolerance, and where the other network has an object that
    overlaps it by just the limit of NMS, or one that is excused so itself.

    Args:
        ours: objects of each picture.
        theirs: of the same pictures.
        tolerance: how far a counterpart may lie.
        least: score at which objects begin to be given.
        most: objects given for a picture; where there are as many, the least score of them is
            its edge.
        nms: IoU above which a box of a class was left out beside a better one.
    """
    found = objects = matched = 0
    pixels = score = 0.0
    for first, second in zip(ours, theirs, strict=True):
        edge = max(least, *(_least_given(each, most) for each in (first, second)))
        sides = ((first, second), (second, first))
        distances = [_nearest(one, other) for one, other in sides]
        paired = [(f <= tolerance.pixels) & (u <= tolerance.score) for f, u in distances]
        overlaps = [_overlap(one, other) for one, other in sides]
        just = [((overlap - nms).abs() <= _JUST).any(1) for overlap in overlaps]
        for own, other in ((0, 1), (1, 0)):
            # Left out over there by one that is itself there only because of the limit.
            by_excused = (overlaps[own] > nms) & (just[other] & ~paired[other])
            excused = just[own] | by_excused.any(1)
            sure = sides[own][0].scores > edge + tolerance.score
            counted = paired[own] | (sure & ~excused)
            found += len(counted)
            objects += int(counted.sum())
            matched += int(paired[own].sum())
            if paired[own].any():
                far, unlike = distances[own]
                pixels = max(pixels, float(far[paired[own]].max()))
                score = max(score, float(unlike[paired[own]].max()))
    return Agreement(len(ours), found, objects, matched, pixels, score)


def compare_scores(ours: Tensor, theirs: Tensor, tolerance: Tolerance) -> Agreement:
    """Compare the probabilities of classes, (N, K) each; a picture counts as one object."""
    apart = (ours - theirs).abs().amax(1)
    within = apart <= tolerance.score
    worst = float(apart[within].max()) if within.any() else 0.0
    return Agreement(len(ours), len(ours), len(ours), int(within.sum()), 0.0, worst)


def _least_given(found: Detections, most: int) -> float:
    return float(found.scores.min()) if len(found.scores) >= most > 0 else 0.0


def _overlap(one: Detections, other: Detections) -> Tensor:
    """IoU with each object of the same class, (M, N); 0 with those of others."""
    overlap: Tensor = box_iou(one.boxes, other.boxes)
    return overlap.masked_fill(one.labels[:, None] != other.labels, 0)


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
