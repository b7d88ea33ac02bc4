"""From raw outputs to detections: decoding and NMS, all classes of a batch together.

What is found is what ``torchvision.models.detection.ssd.SSD.postprocess_detections`` finds. There,
each class of each picture is gone through alone. Here an *entry* is a pair of a default box and a
class, N·B·K in a batch, and only those that can come through are looked at.
"""

import math
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import nms

from secateur.tasks.detection.average_precision import Detections

# Found by trying, with the outputs of benchmarks/postprocessing.py.
_FEW = 8000  # entries a picture, up to which all are sorted and suppressed
_FIRST = 4  # of more entries, the best that are tried first, for each detection wanted
_AT_ONCE = 400  # entries in one call of NMS on the CPU; its time grows with their square
_AT_ONCE_ELSEWHERE = 4000  # a guess: not measured


@torch.no_grad()
def postprocess(
    logits: Tensor,
    offsets: Tensor,
    boxes: Tensor,
    size: tuple[int, int],
    *,
    score_thresh: float,
    nms_thresh: float,
    candidates: int,
    detections: int,
) -> list[Detections]:
    """Decode a batch, and keep the best boxes of each picture, the surest first.

    Args:
        logits: (N, B, 1 + K) float32, raw; class 0 is the background.
        offsets: (N, B, 4) float32, raw: of the centre and of the log of the sides, times 10, 10,
            5 and 5.
        boxes: default boxes (B, 4) float32, ``x1, y1, x2, y2`` in pixels.
        size: height and width of the pictures, pixels; boxes are clipped to it.
        score_thresh: probability that a detection must exceed, 0 to 1.
        nms_thresh: IoU above which the lesser box of a class goes, 0 to 1.
        candidates: the most boxes of a class of a picture that enter NMS.
        detections: the most that are kept of a picture.

    Returns:
        For each picture its detections, on the device of ``logits``; on the CPU for MPS, which
        has no double precision.
    """
    if logits.device.type == "mps":
        logits, offsets, boxes = logits.cpu(), offsets.cpu(), boxes.cpu()
    n, b, k = logits.shape[0], logits.shape[1], logits.shape[2] - 1
    choose = partial(
        _choose,
        logits,
        offsets,
        boxes,
        size,
        score_thresh=score_thresh,
        nms_thresh=nms_thresh,
        candidates=candidates,
        detections=detections,
    )
    # A probability above t is more than t times that of the background. The slack is for rounding.
    least = math.log(score_thresh) - 1e-4 if score_thresh > 0 else -math.inf
    entries = _true(logits[..., 1:] >= logits[..., :1] + least)  # (E,) of N·B·K
    if len(entries) <= _FEW * n:
        return choose(entries)

    # NMS goes from the best down, so that the best of a picture suffice, wherever enough of them
    # are kept. A network that is not trained has some 150,000 others.
    scores = logits.softmax(-1)[..., 1:]  # (N, B, K)
    start = torch.arange(0, n * b * k, b * k, device=logits.device)  # (N,)
    best = scores.flatten(1).topk(min(_FIRST * detections, b * k)).indices  # (N, F), of B·K
    found = choose((start[:, None] + best).flatten())
    short = [i for i, each in enumerate(found) if len(each.scores) < detections]
    if short:
        values, box = scores[short].transpose(1, 2).topk(min(candidates, b))  # (S, K, C), of B
        of_picture = box * k + torch.arange(k, device=box.device)[:, None]  # (S, K, C) of B·K
        of_batch = start[short][:, None, None] + of_picture  # (S, K, C) of N·B·K
        again = choose(of_batch[values > score_thresh])
        found = [again[i] if i in short else each for i, each in enumerate(found)]
    return found


def _choose(
    logits: Tensor,
    offsets: Tensor,
    boxes: Tensor,
    size: tuple[int, int],
    entries: Tensor,
    *,
    score_thresh: float,
    nms_thresh: float,
    candidates: int,
    detections: int,
) -> list[Detections]:
    """Postprocess some entries (E,) as if there were no others; they stand picture by picture."""
    n, b, classes = logits.shape
    row = entries // (classes - 1)  # (E,) of N·B
    picture = row // b  # (E,)
    group = picture * classes + entries % (classes - 1) + 1  # (E,) a class of a picture
    rows, which = torch.unique_consecutive(row, return_inverse=True)  # (R,), (E,) of R
    scores = logits.flatten(0, 1).index_select(0, rows).softmax(-1)  # (R, 1 + K)
    score = scores[which, group % classes]  # (E,)
    sure = (score > score_thresh).nonzero()[:, 0]
    row, picture, group, score = (
        each.index_select(0, sure) for each in (row, picture, group, score)
    )

    counts = picture.bincount(minlength=n)  # (N,)
    if counts.max() > candidates:
        order = _best_first(group, score)
        counts = group.bincount(minlength=n * classes)  # (N·(1 + K),)
        first = counts.cumsum(0) - counts  # where a group begins
        rank = torch.arange(len(order), device=order.device) - first[group[order]]
        order = order[rank < candidates]
        row, group, score = (each.index_select(0, order) for each in (row, group, score))
        counts = counts.clamp(max=candidates)

    raw = offsets.flatten(0, 1).index_select(0, row)  # (E, 4)
    decoded = _decode(raw, boxes.index_select(0, row % b), size)  # (E, 4)
    # Groups are moved apart, so that no box meets one of another; in float64, which stays exact.
    apart = decoded + (group.double() * (max(size) + 1))[:, None]  # (E, 4)
    most = _AT_ONCE if score.device.type == "cpu" else _AT_ONCE_ELSEWHERE
    runs = list(_runs(counts.tolist(), most))
    parts, start = [], 0
    for run, run_score in zip(
        apart.split_with_sizes(runs), score.double().split_with_sizes(runs), strict=True
    ):
        parts.append(nms(run, run_score, nms_thresh) + start)
        start += len(run)
    kept = torch.cat(parts)  # (D,) of E
    kept = kept[_best_first(group[kept] // classes, score[kept])]
    lengths = (group[kept] // classes).bincount(minlength=n).tolist()
    kept = torch.cat([each[:detections] for each in kept.split_with_sizes(lengths)])
    lengths = [min(length, detections) for length in lengths]
    columns = (decoded[kept], group[kept] % classes, score[kept])
    pictures = zip(*(column.split_with_sizes(lengths) for column in columns), strict=True)
    return [Detections(*columns) for columns in pictures]


def _true(mask: Tensor) -> Tensor:
    """Where a mask is true, as places in the flat mask."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy()))  # several times as fast as torch's
    return mask.flatten().nonzero()[:, 0]


def _best_first(group: Tensor, score: Tensor) -> Tensor:
    """Sort by group, and in each by falling score; float32 above 0 sorts as its bits do."""
    return (group * 2**31 - score.view(torch.int32)).argsort()


def _runs(counts: Sequence[int], most: int) -> Iterator[int]:
    """Yield the lengths of runs of whole groups, up to ``most`` where a group is not longer."""
    run = 0
    for count in counts:
        if run and run + count > most:
            yield run
            run = 0
        run += count
    yield run


def _decode(offsets: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Apply offsets (E, 4) to default boxes (E, 4) as torchvision's BoxCoder does, and clip."""
    height, width = size
    side = boxes[:, 2:] - boxes[:, :2]  # (E, 2)
    centre = boxes[:, :2] + 0.5 * side + offsets[:, :2] / 10 * side  # (E, 2)
    half = 0.5 * side * (offsets[:, 2:] / 5).clamp(max=math.log(1000 / 16)).exp()  # (E, 2)
    corners = torch.stack((centre - half, centre + half), 1).clamp(min=0)  # (E, 2, 2)
    return corners.minimum(boxes.new_tensor([width, height])).flatten(1)
