"""Speed of average precision, compared with pycocotools and with a plain loop of VOC's rule.

``python benchmarks/evaluation_speed.py`` writes ``benchmarks/results/evaluation_speed.json``. All
implementations get the same seeded ``Detections`` and annotated pictures. The conversion of these
into an implementation's own format is part of its time. Implementations take turns, in an order
that changes every round. Times are CPU times of one thread, so that other programs matter little.

There are 5,000 pictures of 500 × 375 pixels, 20 classes, and 200 detections per picture. A picture
has 1 to 12 objects (uniformly) with sides around 60 pixels; one in 20 is difficult. Two in five
detections belong to an object: their centre and sides are off by about 15 % of a side, one in
seven has another class, and better boxes have higher scores. The others have random boxes and
classes, and low scores.
"""

import argparse
import contextlib
import gc
import io
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from checks import print_checks
from published import CLASSES
from secateur.data.detection_set import AnnotatedPicture
from secateur.files.atomic_write import write_json
from secateur.run.context import provenance
from secateur.tasks.detection.average_precision import (
    average_precision,
    coco_average_precision,
)
from secateur.tasks.detection.detections import Detections

HERE = Path(__file__).parent
SEED = 20261202
PICTURES, DETECTIONS, WIDTH, HEIGHT = 5_000, 200, 500, 375
TIMES_FASTER = 10.0
# Largest difference of results: absolute in percent for VOC, relative for COCO.
VOC_APART, COCO_APART = 1e-6, 1e-4

Drawn = tuple[list[Detections], list[AnnotatedPicture]]
Side = Callable[[Sequence[Detections], Sequence[AnnotatedPicture]], dict[str, float]]


def draw(count: int) -> Drawn:
    """Generate detections and objects as described at the top of this file."""
    rng = np.random.default_rng(SEED)
    found, truth = [], []
    for number in range(count):
        objects = int(rng.integers(1, 13))
        sides = np.clip(60 * np.exp(0.6 * rng.standard_normal((objects, 2))), 8, 300)
        centres = rng.uniform(sides / 2, np.array([WIDTH, HEIGHT]) - sides / 2)
        labels = rng.integers(1, len(CLASSES) + 1, objects)
        truth.append(
            AnnotatedPicture(
                Path(f"{number}.jpg"),
                HEIGHT,
                WIDTH,
                as_boxes(centres, sides),
                torch.from_numpy(labels),
                torch.from_numpy(rng.random(objects) < 0.05),
            )
        )
        of = rng.integers(0, objects, DETECTIONS)
        near = rng.random(DETECTIONS) < 0.4
        shift = rng.normal(0, 0.15, (DETECTIONS, 2))
        stretch = rng.normal(0, 0.15, (DETECTIONS, 2))
        anywhere = rng.uniform(0, 1, (DETECTIONS, 2)) * [WIDTH, HEIGHT]
        any_sides = 60 * np.exp(0.6 * rng.standard_normal((DETECTIONS, 2)))
        any_label = rng.integers(1, len(CLASSES) + 1, DETECTIONS)
        taken_right = near & (rng.random(DETECTIONS) > 1 / 7)
        off = np.abs(shift).sum(1) + np.abs(stretch).sum(1)
        sureness = np.where(near, 2 - 6 * off, -4) + rng.standard_normal(DETECTIONS)
        found.append(
            Detections(
                as_boxes(
                    np.where(near[:, None], centres[of] + shift * sides[of], anywhere),
                    np.where(near[:, None], sides[of] * np.exp(stretch), any_sides),
                ),
                torch.from_numpy(np.where(taken_right, labels[of], any_label)),
                torch.from_numpy((1 / (1 + np.exp(-sureness))).astype(np.float32)),
            )
        )
    return found, truth


def as_boxes(centres: NDArray[np.float64], sides: NDArray[np.float64]) -> torch.Tensor:
    """Corners (N, 4), clipped to the picture."""
    corners = np.concatenate([centres - sides / 2, centres + sides / 2], 1)
    edges = np.array([WIDTH, HEIGHT, WIDTH, HEIGHT])
    return torch.from_numpy(np.clip(corners, 0, edges).astype(np.float32))


def our_voc(found: Sequence[Detections], truth: Sequence[AnnotatedPicture]) -> dict[str, float]:
    """Both of VOC's definitions, mean and by class."""
    result = average_precision(found, truth, CLASSES)
    return {
        "AP50_voc07": result.AP50_voc07,
        "AP50_area": result.AP50_area,
        **{f"AP50_voc07 {name}": each for name, each in result.AP50_voc07_by_class.items()},
        **{f"AP50_area {name}": each for name, each in result.AP50_area_by_class.items()},
    }


def plain_voc(found: Sequence[Detections], truth: Sequence[AnnotatedPicture]) -> dict[str, float]:
    """The same by loops over classes, pictures, detections and objects."""
    boxes = [each.boxes.tolist() for each in found]
    labels = [each.labels.tolist() for each in found]
    scores = [each.scores.tolist() for each in found]
    true_boxes = [each.boxes.tolist() for each in truth]
    true_labels = [each.labels.tolist() for each in truth]
    difficult = [each.difficult.tolist() for each in truth]
    voc07, area = {}, {}
    for label, name in enumerate(CLASSES, start=1):
        rows, objects = [], 0
        for picture in range(len(found)):
            for i, own in enumerate(labels[picture]):
                if own == label:
                    rows.append((scores[picture][i], picture, boxes[picture][i]))
            for i, own in enumerate(true_labels[picture]):
                if own == label and not difficult[picture][i]:
                    objects += 1
        rows.sort(key=lambda row: -row[0])
        seen = set()
        hits: list[bool] = []
        for _, picture, box in rows:
            best, most = -1, 0.0
            for i, own in enumerate(true_labels[picture]):
                if own == label and (overlap := iou(box, true_boxes[picture][i])) > most:
                    best, most = i, overlap
            if most < 0.5:
                hits.append(False)
            elif not difficult[picture][best]:
                hits.append((picture, best) not in seen)
                seen.add((picture, best))
        voc07[name], area[name] = plain_average_precision(hits, objects)
    return {
        "AP50_voc07": sum(voc07.values()) / len(voc07),
        "AP50_area": sum(area.values()) / len(area),
        **{f"AP50_voc07 {name}": each for name, each in voc07.items()},
        **{f"AP50_area {name}": each for name, each in area.items()},
    }


def iou(a: list[float], b: list[float]) -> float:
    """Intersection over union of two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def plain_average_precision(hits: list[bool], objects: int) -> tuple[float, float]:
    """``AP50_voc07`` and ``AP50_area`` of detections in order of descending score."""
    counts, precision, count = [], [], 0
    for number, hit in enumerate(hits, start=1):
        count += hit
        counts.append(count)
        precision.append(count / number)
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    levels = [
        next((p for c, p in zip(counts, precision, strict=True) if 10 * c >= k * objects), 0.0)
        for k in range(11)
    ]
    under = sum(p for hit, p in zip(hits, precision, strict=True) if hit) / objects
    return 100 * sum(levels) / 11, 100 * under


def our_coco(found: Sequence[Detections], truth: Sequence[AnnotatedPicture]) -> dict[str, float]:
    """COCO's six average precisions."""
    return coco_average_precision(found, truth, CLASSES)


def pycocotools(found: Sequence[Detections], truth: Sequence[AnnotatedPicture]) -> dict[str, float]:
    """The same by pycocotools, with the detections as an array."""
    annotations: list[dict[str, Any]] = []
    for picture, each in enumerate(truth):
        for (x1, y1, x2, y2), label, difficult in zip(
            each.boxes.tolist(), each.labels.tolist(), each.difficult.tolist(), strict=True
        ):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": picture,
                    "category_id": label,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": int(difficult),
                }
            )
    boxes = np.concatenate([each.boxes.numpy().astype(np.float64) for each in found])
    rows = np.column_stack(
        [
            np.repeat(np.arange(len(found)), [len(each.scores) for each in found]),
            boxes[:, :2],
            boxes[:, 2:] - boxes[:, :2],
            np.concatenate([each.scores.numpy() for each in found]),
            np.concatenate([each.labels.numpy() for each in found]),
        ]
    )
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        reference = COCO()
        reference.dataset = {
            "images": [
                {"id": i, "height": p.height, "width": p.width} for i, p in enumerate(truth)
            ],
            "categories": [{"id": k, "name": name} for k, name in enumerate(CLASSES, start=1)],
            "annotations": annotations,
        }
        reference.createIndex()
        evaluation = COCOeval(reference, reference.loadRes(rows), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    names = ("AP_coco", "AP50_coco", "AP75_coco")
    sizes = ("AP_coco_small", "AP_coco_medium", "AP_coco_large")
    return dict(zip((*names, *sizes), (100 * evaluation.stats[:6]).tolist(), strict=True))


SIDES: dict[str, Side] = {
    "our_voc": our_voc,
    "plain_voc": plain_voc,
    "our_coco": our_coco,
    "pycocotools": pycocotools,
}


def measure(
    drawn: Drawn, rounds: int
) -> tuple[dict[str, list[float]], dict[str, dict[str, float]]]:
    """Seconds of each implementation in each round, and its results."""
    times: dict[str, list[float]] = {name: [] for name in SIDES}
    numbers: dict[str, dict[str, float]] = {}
    few = drawn[0][:50], drawn[1][:50]
    for side in SIDES.values():
        side(*few)  # the first call is not counted
    for turn in range(rounds):
        for name in sorted(SIDES, reverse=bool(turn % 2)):
            gc.collect()  # so that no garbage of another implementation is collected
            start = time.process_time()
            numbers[name] = SIDES[name](*drawn)
            times[name].append(time.process_time() - start)
            print(f"{name}: {times[name][-1]:.2f} s", flush=True)
    return times, numbers


def checks(
    times: dict[str, list[float]], numbers: dict[str, dict[str, float]]
) -> list[dict[str, Any]]:
    """Compare speeds and results with their targets."""
    rows = []
    for what, a, b, most in (
        ("VOC, against a plain loop", "our_voc", "plain_voc", VOC_APART),
        ("COCO, against pycocotools", "our_coco", "pycocotools", COCO_APART),
    ):
        # The ratio of each round, so that a temporarily slow machine does not matter.
        faster = median(y / x for x, y in zip(times[a], times[b], strict=True))
        apart = max(abs(numbers[a][name] - value) for name, value in numbers[b].items())
        if b == "pycocotools":
            apart = max(abs(numbers[a][name] / value - 1) for name, value in numbers[b].items())
        rows += [
            (f"{what}: times faster", faster, TIMES_FASTER, faster >= TIMES_FASTER),
            (f"{what}: largest difference of results, at most", apart, most, apart <= most),
        ]
    return [
        {"name": name, "value": value, "target": target, "met": met}
        for name, value, target, met in rows
    ]


def main() -> None:
    """Generate, measure, check and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "evaluation_speed.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    drawn = draw(arguments.pictures)
    times, numbers = measure(drawn, arguments.rounds)
    held = checks(times, numbers)
    result = {
        "what": "average precision of generated detections; see the benchmark's file",
        "seed": SEED,
        "pictures": arguments.pictures,
        "detections": sum(len(each.scores) for each in drawn[0]),
        "objects": sum(len(each.labels) for each in drawn[1]),
        "classes": len(CLASSES),
        "rounds": arguments.rounds,
        "seconds": {name: median(some) for name, some in times.items()},
        "times_s": {name: [round(each, 3) for each in some] for name, some in times.items()},
        "numbers": {
            name: {key: value for key, value in some.items() if " " not in key}
            for name, some in numbers.items()
        },
        "checks": held,
        "pycocotools": version("pycocotools"),
        "provenance": provenance(),
    }
    write_json(arguments.out, result)
    print_checks(held)


if __name__ == "__main__":
    main()
