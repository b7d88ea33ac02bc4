"""From raw outputs to detections: decoding and NMS, all classes of a batch together.

The result is that of ``torchvision.models.detection.ssd.SSD.postprocess_detections``, which takes
one class of one picture at a time. Here an *entry* is a pair of a default box and a class; a batch
has N·B·K entries, and only those that can become detections are computed.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision.models.detection.ssd import SSD
from torchvision.ops import nms

from secateur.tasks.detection.box_coder import decode
from secateur.tasks.detection.detections import Detections
from secateur.tasks.detection.outputs import RawOutputs

# Tuned on the outputs of benchmarks/postprocessing.py.
_FEW = 8000  # entries a picture, up to which all are sorted and suppressed
_FIRST = 4  # with more entries: best entries that are tried first, for each detection wanted
_AT_ONCE = 400  # entries in one call of NMS on the CPU; its time grows with their square
_AT_ONCE_ELSEWHERE = 4000  # not tuned


class PostprocessSettings(NamedTuple):
    """Settings of scores and NMS, named as torchvision's SSD names them."""

    score_thresh: float  # probability that a detection must exceed, 0 to 1
    nms_thresh: float  # IoU above which the lower-scored box of a class is suppressed, 0 to 1
    topk_candidates: int  # most boxes of a class of a picture that enter NMS
    detections_per_img: int  # most detections of a picture

    @classmethod
    def of(cls, ssd: SSD) -> "PostprocessSettings":
        """Read the settings that an SSD holds."""
        return cls(*(getattr(ssd, name) for name in cls._fields))


@torch.no_grad()
def postprocess(
    outputs: RawOutputs, size: tuple[int, int], settings: PostprocessSettings
) -> list[Detections]:
    """Decode a batch and keep the best detections of each picture.

    Args:
        outputs: of an SSD.
        size: height and width of the pictures, pixels; boxes are clipped to it.
        settings: of scores and NMS.

    Returns:
        The detections of each picture by falling score, on the device of ``outputs``; on the CPU
        for MPS, which has no double precision.
    """
    if outputs.logits.device.type == "mps":
        outputs = RawOutputs(*(each.cpu() for each in outputs))
    logits = outputs.logits
    n, b, k = logits.shape[0], logits.shape[1], logits.shape[2] - 1
    # A probability above t is more than t times the background's. The margin allows for rounding.
    threshold = settings.score_thresh
    least = math.log(threshold) - 1e-4 if threshold > 0 else -math.inf
    entries = _true_indices(logits[..., 1:] >= logits[..., :1] + least)  # (E,) of N·B·K
    if len(entries) <= _FEW * n:
        return _suppress(outputs, size, entries, settings)

    # An untrained network has about 150,000 entries. NMS goes from the best entry down, so the
    # best entries of a picture are enough, provided that NMS keeps enough of them.
    wanted = settings.detections_per_img
    scores = logits.softmax(-1)[..., 1:]  # (N, B, K)
    start = torch.arange(0, n * b * k, b * k, device=logits.device)  # (N,)
    best = scores.flatten(1).topk(min(_FIRST * wanted, b * k)).indices  # (N, F), of B·K
    found = _suppress(outputs, size, (start[:, None] + best).flatten(), settings)
    short = [i for i, each in enumerate(found) if len(each.scores) < wanted]
    if short:
        candidates = min(settings.topk_candidates, b)
        values, box = scores[short].transpose(1, 2).topk(candidates)  # (S, K, C), of B
        of_picture = box * k + torch.arange(k, device=box.device)[:, None]  # (S, K, C) of B·K
        of_batch = start[short][:, None, None] + of_picture  # (S, K, C) of N·B·K
        again = _suppress(outputs, size, of_batch[values > threshold], settings)
        found = [again[i] if i in short else each for i, each in enumerate(found)]
    return found


def _suppress(
    outputs: RawOutputs, size: tuple[int, int], entries: Tensor, settings: PostprocessSettings
) -> list[Detections]:
    """Postprocess some entries (E,), sorted by picture, as if there were no others."""
    logits, offsets, boxes = outputs
    candidates, detections = settings.topk_candidates, settings.detections_per_img
    n, b, classes = logits.shape
    row = entries // (classes - 1)  # (E,) of N·B
    picture = row // b  # (E,)
    group = picture * classes + entries % (classes - 1) + 1  # (E,) a class of a picture
    rows, which = torch.unique_consecutive(row, return_inverse=True)  # (R,), (E,) of R
    scores = logits.flatten(0, 1).index_select(0, rows).softmax(-1)  # (R, 1 + K)
    score = scores[which, group % classes]  # (E,)
    above = (score > settings.score_thresh).nonzero()[:, 0]
    row, picture, group, score = (
        each.index_select(0, above) for each in (row, picture, group, score)
    )

    counts = picture.bincount(minlength=n)  # (N,)
    if counts.max() > candidates:
        order = _best_first(group, score)
        counts = group.bincount(minlength=n * classes)  # (N·(1 + K),)
        first = counts.cumsum(0) - counts  # index of a group's first entry
        rank = torch.arange(len(order), device=order.device) - first[group[order]]
        order = order[rank < candidates]
        row, group, score = (each.index_select(0, order) for each in (row, group, score))
        counts = counts.clamp(max=candidates)

    raw = offsets.flatten(0, 1).index_select(0, row)  # (E, 4)
    decoded = decode(raw, boxes.index_select(0, row % b), size)  # (E, 4)
    # Shift groups apart, so that boxes of different groups do not overlap; float64 stays exact.
    apart = decoded + (group.double() * (max(size) + 1))[:, None]  # (E, 4)
    limit = _AT_ONCE if score.device.type == "cpu" else _AT_ONCE_ELSEWHERE
    runs = list(_runs(counts.tolist(), limit))
    parts, start = [], 0
    for run, run_score in zip(
        apart.split_with_sizes(runs), score.double().split_with_sizes(runs), strict=True
    ):
        parts.append(nms(run, run_score, settings.nms_thresh) + start)
        start += len(run)
    kept = torch.cat(parts)  # (D,) of E
    kept = kept[_best_first(group[kept] // classes, score[kept])]
    lengths = (group[kept] // classes).bincount(minlength=n).tolist()
    kept = torch.cat([each[:detections] for each in kept.split_with_sizes(lengths)])
    lengths = [min(length, detections) for length in lengths]
    columns = (decoded[kept], group[kept] % classes, score[kept])
    pictures = zip(*(column.split_with_sizes(lengths) for column in columns), strict=True)
    return [Detections(*columns) for columns in pictures]


def _true_indices(mask: Tensor) -> Tensor:
    """Indices of the true elements of the flattened mask."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy()))  # several times faster than torch's
    return mask.flatten().nonzero()[:, 0]


def _best_first(group: Tensor, score: Tensor) -> Tensor:
    """Sort by group, then by falling score; the bits of a positive float32 sort as its value."""
    return (group * 2**31 - score.view(torch.int32)).argsort()


def _runs(counts: Sequence[int], limit: int) -> Iterator[int]:
    """Yield the lengths of runs of whole groups, at most ``limit`` unless one group is longer."""
    run = 0
    for count in counts:
        if run and run + count > limit:
            yield run
            run = 0
        run += count
    yield run
