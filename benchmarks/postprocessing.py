"""Speed of decoding and NMS compared with torchvision's, on raw outputs generated from a seed.

``python benchmarks/postprocessing.py`` writes ``benchmarks/results/postprocessing.json``. Both
implementations get the same raw outputs of an SSD300 (8,732 default boxes, 21 classes, batches of
8) and run in turns in one process, with torch's default number of threads.

The outputs do not come from a trained network. Three kinds are generated:

- ``trained``: logits are Gaussian noise with standard deviation 0.75, plus 9 for the background, so
  that noise alone gives almost no detection. A picture has 4 objects with sides around 60 pixels,
  each with a class and a second class that it resembles. Default boxes with an IoU above 0.3 with
  an object respond to it: with g = 3 + 24 (IoU - 0.3), the logit of its class increases by g, that
  of the second class by 0.7 g, and the background's decreases by 0.3 g. Their offsets encode the
  object, with noise of 0.3 in units of the raw offsets; all other offsets are Gaussian noise with
  standard deviation 1. Then about 100 to 300 pairs of default box and class score above 0.01.
- ``crowded``: the same with 60 objects, and about ten times as many such pairs.
- ``untrained``: logits and offsets are Gaussian noise with standard deviation 1, and nearly all
  pairs score above 0.01.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD
from torchvision.ops import box_iou

from checks import print_checks
from secateur.files.atomic_write import write_json
from secateur.models.ssd import build_ssd, grid_sizes, ssd_architecture
from secateur.run.context import provenance
from secateur.tasks.detection.detections import Detections
from secateur.tasks.detection.outputs import RawOutputs
from secateur.tasks.detection.postprocessing import PostprocessSettings, postprocess

HERE = Path(__file__).parent
SEED = 20261124
SIZE, CLASSES, BATCH = 300, 21, 8
OBJECTS = {"trained": 4, "crowded": 60, "untrained": None}
WARM_UPS = 5
REPEATS = {"trained": 200, "crowded": 100, "untrained": 30}
TIMES_FASTER = 5.0
# Two detections are the same if their labels are equal and nothing else differs by more.
PIXELS, SCORE = 1e-4, 1e-6


def default_boxes(ssd: SSD) -> Tensor:
    """The default boxes (8732, 4) of a picture."""
    maps = [torch.zeros(1, 1, grid, grid) for grid in grid_sizes("ssd300", SIZE)]
    boxes: Tensor = ssd.anchor_generator(
        ImageList(torch.zeros(1, 3, SIZE, SIZE), [(SIZE,) * 2]), maps
    )[0]
    return boxes


def raw_outputs(ssd: SSD, boxes: Tensor, objects: int | None) -> tuple[Tensor, Tensor]:
    """Generate logits (N, B, 21) and offsets (N, B, 4) as described at the top of this file."""
    generator = torch.Generator().manual_seed(SEED)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    logits, offsets = noise(BATCH, len(boxes), CLASSES), noise(BATCH, len(boxes), 4)
    if objects is None:
        return logits, offsets
    logits *= 0.75
    logits[..., 0] += 9
    for i in range(BATCH):
        sides = (60 * (0.6 * noise(objects, 2)).exp()).clamp(20, 250)  # (M, 2)
        corner = torch.rand(objects, 2, generator=generator) * (SIZE - sides)
        places = torch.cat([corner, corner + sides], 1)  # (M, 4)
        label = torch.randint(1, CLASSES, (objects,), generator=generator)
        step = torch.randint(1, CLASSES - 1, (objects,), generator=generator)
        second = (label - 1 + step) % (CLASSES - 1) + 1  # any but the first
        iou, owner = box_iou(boxes, places).max(1)  # (B,)
        near = (iou > 0.3).nonzero()[:, 0]
        owner, gain = owner[near], 3 + 24 * (iou[near] - 0.3)
        logits[i, near, label[owner]] += gain
        logits[i, near, second[owner]] += 0.7 * gain
        logits[i, near, 0] -= 0.3 * gain
        to_object = ssd.box_coder.encode_single(places[owner], boxes[near])
        offsets[i, near] = to_object + 0.3 * noise(len(near), 4)
    return logits, offsets


def differing(ours: list[Detections], theirs: list[dict[str, Tensor]]) -> int:
    """Count the detections of either implementation that the other lacks."""
    count = 0
    for a, b in zip(ours, theirs, strict=True):
        alike = (
            ((a.boxes[:, None] - b["boxes"]).abs().amax(-1) <= PIXELS)
            & ((a.scores[:, None] - b["scores"]).abs() <= SCORE)
            & (a.labels[:, None] == b["labels"])
        )
        count += int((~alike.any(0)).sum() + (~alike.any(1)).sum())
    return count


def timed(sides: dict[str, Callable[[], object]], repeats: int) -> dict[str, dict[str, Any]]:
    """Run the implementations in turns; times in milliseconds."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(WARM_UPS + repeats):
        for name in sorted(sides, reverse=bool(repeat % 2)):
            start = time.perf_counter()
            sides[name]()
            if repeat >= WARM_UPS:
                times[name].append(1000 * (time.perf_counter() - start))
    return {name: _spread(values) for name, values in times.items()}


def measure(ssd: SSD, boxes: Tensor, kind: str) -> dict[str, Any]:
    """Compare and time both implementations on one kind of raw outputs."""
    logits, offsets = raw_outputs(ssd, boxes, OBJECTS[kind])
    outputs = {"cls_logits": logits, "bbox_regression": offsets}

    def torchvision() -> list[dict[str, Tensor]]:
        found: list[dict[str, Tensor]] = ssd.postprocess_detections(
            outputs, [boxes] * BATCH, [(SIZE, SIZE)] * BATCH
        )
        return found

    def secateur() -> list[Detections]:
        return postprocess(
            RawOutputs(logits, offsets, boxes), (SIZE, SIZE), PostprocessSettings.of(ssd)
        )

    above = (logits.softmax(-1)[..., 1:] > ssd.score_thresh).sum((1, 2))
    found = secateur()
    result: dict[str, Any] = {
        "above_threshold": above.tolist(),
        "detections": [len(each.scores) for each in found],
        "differing": differing(found, torchvision()),
    }
    result["milliseconds"] = timed(
        {"secateur": secateur, "torchvision": torchvision}, REPEATS[kind]
    )
    ours, theirs = (result["milliseconds"][side]["median"] for side in ("secateur", "torchvision"))
    return result | {"times_faster": theirs / ours}


def checks(kinds: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Compare each kind with the target, which is meant for ``trained``."""
    rows = []
    for kind, result in kinds.items():
        faster, differ = result["times_faster"], result["differing"]
        rows += [
            (
                f"{kind}: times faster than torchvision",
                faster,
                TIMES_FASTER,
                faster >= TIMES_FASTER,
            ),
            (f"{kind}: detections that differ, at most", differ, 0, differ == 0),
        ]
    return [
        {"name": name, "value": value, "target": target, "met": met}
        for name, value, target, met in rows
    ]


@torch.no_grad()
def main() -> None:
    """Measure, check and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE / "results" / "postprocessing.json")
    arguments = parser.parse_args()
    # The backbone is not run, but torchvision's post-processing is a method of the SSD.
    classes = tuple(f"class {i}" for i in range(1, CLASSES))
    ssd = build_ssd(ssd_architecture("ssd300", classes, widths=0.05)).eval()
    boxes = default_boxes(ssd)
    kinds = {kind: measure(ssd, boxes, kind) for kind in OBJECTS}
    held = checks(kinds)
    result = {
        "what": "decoding and NMS of raw SSD300 outputs made from a seed; see the benchmark's file",
        "seed": SEED,
        "batch": BATCH,
        "default_boxes": len(boxes),
        "classes": CLASSES,
        "settings": {
            "score_thresh": ssd.score_thresh,
            "nms_thresh": ssd.nms_thresh,
            "candidates": ssd.topk_candidates,
            "detections": ssd.detections_per_img,
        },
        "kinds": kinds,
        "checks": held,
        "provenance": provenance(),
    }
    write_json(arguments.out, result)
    print_checks(held)


def _spread(times: list[float]) -> dict[str, Any]:
    lower, median, upper = statistics.quantiles(times, n=4)
    return {
        "median": median,
        "quartiles": [lower, upper],
        "least": min(times),
        "times": [round(each, 4) for each in times],
    }


if __name__ == "__main__":
    main()
