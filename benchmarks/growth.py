"""How time and memory grow with the number of pictures, classes, pixels and layers.

``python benchmarks/growth.py`` writes ``benchmarks/results/growth.json`` and
``docs/images/growth.svg``. For pictures, classes and pixels, each point is a run of ``secateur
compress`` without its report, in its own process, on random pictures with random boxes, with
trainings of one epoch: the seconds of all steps, and the peak memory. For layers, each point is the
graph, selection, removal and verification of a chain of convolutions, in three times as many
rounds. One quantity grows at a time; points take turns, and medians count. The exponent is the
slope from the first point to the last on logarithmic axes: 1 means linear growth, and costs that do
not grow reduce it.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import yaml
from matplotlib.figure import Figure
from PIL import Image
from torch import nn

from checks import at_most, print_checks
from secateur.files.atomic_write import write_json
from secateur.models.cost import count_macs
from secateur.pruning.graph.trace import channel_groups
from secateur.pruning.removal import remove_filters
from secateur.pruning.selection.budget import Budget
from secateur.pruning.selection.by_budget import choose_by_budget
from secateur.pruning.selection.match import match_groups
from secateur.pruning.verification import verify_removal
from secateur.report.charts.number_text import set_log_ticks
from secateur.report.charts.theme import LIGHT, inline_svg, new_figure, themed, write_figure
from secateur.run.context import provenance

HERE = Path(__file__).parent
SEED = 20261128
MOST = 1.1  # largest exponent that counts as linear, because times vary
MIB = 2**20
# The command without its report, which takes longer than such a run and grows with layers only.
RUN = """
import sys
from pathlib import Path
from secateur.cli.console import ConsoleReporter, open_console
from secateur.run.pipeline import compress_recipe
from secateur.config.recipe import load_recipe
recipe, run = map(Path, sys.argv[1:])
compress_recipe(load_recipe(recipe), run, ConsoleReporter(open_console()))
"""
BATCH = 8
OBJECTS = 4
PICTURES, CLASSES, SIDE = 96, 5, 64
AXES: dict[str, Sequence[int]] = {
    "pictures": (96, 192, 384, 768),
    "classes": (20, 80),
    "pixels": (64**2, 90**2, 128**2),
    "layers": (16, 32, 64, 128),
}


def draw(folder: Path, pictures: int, classes: int, side: int) -> None:
    """Write random pictures with random boxes in YOLO's layout, and half as many for test."""
    generator = np.random.default_rng(SEED)
    for split, count in (("train", pictures), ("test", pictures // 2)):
        images, labels = folder / "images" / split, folder / "labels" / split
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for number in range(count):
            pixels = generator.integers(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(images / f"{number}.jpg")
            lines = [
                f"{(number * OBJECTS + k) % classes} {x:.4f} {y:.4f} {0.2 + w:.4f} {0.2 + h:.4f}"
                for k, (x, y, w, h) in enumerate(
                    zip(
                        *generator.uniform(0.3, 0.7, (2, OBJECTS)),
                        *generator.uniform(0, 0.3, (2, OBJECTS)),
                        strict=True,
                    )
                )
            ]
            (labels / f"{number}.txt").write_text("\n".join(lines), "utf-8")


def recipe(folder: Path, pictures: int, classes: int, side: int) -> dict[str, Any]:
    """A recipe with one epoch each of dense training, sparsifying and retraining."""
    epoch = pictures // BATCH
    training = {"batch_size": BATCH, "optimizer": "adamw", "lr": 1e-3}
    return {
        "name": "growth",
        "data": {
            "format": "yolo",
            "root": str(folder),
            "test": "test",
            "classes": [f"class{number}" for number in range(classes)],
            "validation": 0.25,
            "workers": 0,
        },
        "model": {
            "size": side,
            "widths": 0.125,
            "batch_norm": True,
            "detection_layers": 3,
            "scales": [0.2, 0.3, 0.5, 0.7],
        },
        "train": {"steps": epoch, **training},
        "compress": {
            "phases": [{"layers": "conv1_1-conv8_2"}],
            "sparsify": {"steps": epoch, **training},
            "select": {"keep_macs": 0.5},
            "retrain": {"steps": epoch, **training},
        },
    }


def compress(pictures: int = PICTURES, classes: int = CLASSES, side: int = SIDE) -> dict[str, Any]:
    """Run the command; give its seconds and the most memory that it had."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        draw(folder / "data", pictures, classes, side)
        path = folder / "recipe.yaml"
        path.write_text(yaml.safe_dump(recipe(folder / "data", pictures, classes, side)), "utf-8")
        log = folder / "log"
        with log.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-c", RUN, str(path), str(folder / "run")],
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"failed: {log.read_text('utf-8')[-500:]}")
        summary = json.loads((folder / "run" / "summary.json").read_text("utf-8"))
        return {"seconds": sum(summary["seconds"].values()), "mib": used.ru_maxrss * 1024 / MIB}


def prune_chain(layers: int) -> dict[str, Any]:
    """Prune a chain of convolutions with batch norms to half of its MACs."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    blocks = [
        nn.Sequential(nn.Conv2d(32 if n else 3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU())
        for n in range(layers)
    ]
    model = nn.Sequential(*blocks).eval()
    example = torch.randn(1, 3, 8, 8)
    start = time.perf_counter()
    graph = channel_groups(model, example)
    tensors = {name: weight.detach() for name, weight in model.named_parameters()}
    budget = 0.5 * count_macs(model, example)
    choice = choose_by_budget(graph, match_groups(graph, None), tensors, Budget(macs=budget))
    slim = remove_filters(model, graph, choice.kept)
    verify_removal(model, slim, graph, choice.kept, example)
    return {"seconds": time.perf_counter() - start, "mib": None}


MEASURES: dict[str, Callable[[int], dict[str, Any]]] = {
    "pictures": lambda count: compress(pictures=count),
    "classes": lambda count: compress(classes=count),
    "pixels": lambda count: compress(side=math.isqrt(count)),
    "layers": prune_chain,
}


def measure(axis: str, rounds: int) -> dict[str, Any]:
    """Measure all points of one axis, in turns."""
    if axis == "layers":
        prune_chain(4)  # the first trace in a process takes longer
        rounds *= 3
    found: dict[int, list[dict[str, Any]]] = {point: [] for point in AXES[axis]}
    for _ in range(rounds):
        for point, some in found.items():
            some.append(MEASURES[axis](point))
            print(f"{axis} {point}: {some[-1]}", flush=True)
    points = [
        {
            axis: point,
            "seconds": median(each["seconds"] for each in some),
            "mib": None if some[0]["mib"] is None else median(each["mib"] for each in some),
        }
        for point, some in found.items()
    ]
    first, last = points[0], points[-1]
    rise = math.log(last["seconds"] / first["seconds"])
    return {"points": points, "exponent": rise / math.log(last[axis] / first[axis])}


@themed
def curves(axes: dict[str, Any]) -> Figure:
    """Draw the seconds, and a line of exponent 1 through the last point."""
    figure, places = new_figure(6.4, 2.0, columns=len(axes))
    for place, (axis, found) in zip(places, axes.items(), strict=True):
        given = [point[axis] for point in found["points"]]
        seconds = [point["seconds"] for point in found["points"]]
        linear = [seconds[-1] * each / given[-1] for each in given]
        place.plot(given, linear, "--", color=LIGHT["muted"], linewidth=0.8)
        place.plot(given, seconds, "o-", color=LIGHT["slim"], gid="mark")
        place.set_xscale("log")
        place.set_yscale("log")
        low, high = min(*seconds, *linear) / 1.3, max(seconds) * 1.3
        place.set_ylim(low, high)
        set_log_ticks(place.yaxis, low, high)
        place.set_xticks(given, [f"{each:,}" for each in given], rotation=30)
        place.minorticks_off()
        place.set_title(axis)
        place.grid(axis="y")
    places[0].set_ylabel("seconds")
    return figure


def main() -> None:
    """Measure, draw and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    axes = {axis: measure(axis, arguments.rounds) for axis in AXES}
    checks = [
        at_most(f"exponent of time by {axis}, at most", found["exponent"], MOST)
        for axis, found in axes.items()
    ]
    made_by = {"checks": checks, "seed": SEED, "provenance": provenance()}
    write_json(HERE / "results" / "growth.json", {"axes": axes, **made_by})
    svg = inline_svg(curves(axes), "growth", "Seconds by pictures, classes, pixels and layers")
    with tempfile.TemporaryDirectory() as work:
        write_figure(curves(axes), svg, Path(work), "growth")
        shutil.copyfile(Path(work) / "growth.svg", HERE.parent / "docs" / "images" / "growth.svg")
    print_checks(checks)


if __name__ == "__main__":
    main()
