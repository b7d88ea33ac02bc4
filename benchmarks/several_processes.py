"""Runs of one recipe in one process, in two, and on two machines; one process is killed.

``python benchmarks/several_processes.py`` writes ``benchmarks/results/several_processes.json``. Two
network namespaces, connected by virtual network cards, stand for the machines; they need root and
``ip`` (``apt install iproute2``). They share the disk. All runs are on the CPU, with gloo.
"""

import json
import os
import runpy
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
import yaml

from checks import print_checks
from secateur.config.data import DetectionData
from secateur.config.recipe import load_recipe
from secateur.data.detection_set import DetectionSet
from secateur.data.loaders import training_batches
from secateur.data.source import read_splits
from secateur.distributed.rank import Rank
from secateur.files.atomic_write import write_json
from secateur.models.network_file import load_network
from secateur.run.context import provenance
from secateur.tasks.detection.detector import training_transform
from secateur.tasks.task import task_of
from tiny import RECIPE

HERE = Path(__file__).parent
SEEDS = (0, 1, 2)
METRIC = "AP50_area"
TRAINING = {"batch_size": 8, "optimizer": "adamw", "lr": 0.003}
DETECTOR: dict[str, Any] = {
    **RECIPE,
    "name": "detector",
    "train": {"steps": 120, **TRAINING},
    "compress": {
        **RECIPE["compress"],
        "sparsify": {"steps": 60, **TRAINING, "lr": 0.001, "strength": 0.002},
        "retrain": {"steps": 90, **TRAINING},
    },
    "evaluate": {"batch_size": 3},
}
# Without norms and dropout, the mean gradient of the processes is that of the whole batch.
CLASSIFIER: dict[str, Any] = {
    "name": "classifier",
    "data": {"format": "folders", "validation": 0.25, "augmentation": {"shift": 0.1}},
    "model": {
        "network": "vgg16",
        "size": 32,
        "widths": 0.06,
        "hidden": [],
        "pool": 1,
        "batch_norm": False,
    },
    "train": {"steps": 100, "batch_size": 8, "optimizer": "sgd", "lr": 0.01},
    "compress": {
        "phases": [{"layers": "conv1_1-conv3_3"}],
        "sparsify": {"steps": 1, "batch_size": 8, "strength": 0.01},
        "select": {"keep_params": 0.95},
        "retrain": {"steps": 1, "batch_size": 8},
    },
}
PYTHON = [sys.executable, "-m"]
TORCHRUN = [*PYTHON, "torch.distributed.run"]
TWO = [*TORCHRUN, "--standalone", "--nproc-per-node", "2"]
MACHINES = ("machine-a", "machine-b")
ADDRESSES = ("10.77.0.1", "10.77.0.2")
CARD = "secateur0"  # in each namespace

Process = subprocess.Popen[bytes]


def start(folder: Path, starter: Sequence[str], *command: object, name: str = "") -> Process:
    """Start a secateur command; its output goes to a log beside the run folder."""
    if starter != PYTHON:
        starter = [*starter, "-m", "--"]
    return subprocess.Popen(
        [*starter, "secateur", *map(str, command), "--run", str(folder)],
        stdout=folder.with_suffix(f"{name}.log").open("ab"),
        stderr=subprocess.STDOUT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": CARD if name else "lo"},
    )


def finish(*processes: Process) -> None:
    """Wait for processes; they must succeed."""
    for process in processes:
        if process.wait():
            raise SystemExit(f"failed: {process.args!r}")


def write_recipe(work: Path, recipe: dict[str, Any]) -> Path:
    """Draw the pictures of a recipe and write the recipe beside them."""
    shapes = runpy.run_path(str(HERE.parent / "tests" / "shapes.py"))
    pictures = work / f"{recipe['name']}-pictures"
    draw = "draw_voc_folder" if recipe is DETECTOR else "draw_class_folders"
    shapes[draw](pictures)
    path = work / f"{recipe['name']}.yaml"
    path.write_text(yaml.safe_dump({**recipe, "data": {**recipe["data"], "root": str(pictures)}}))
    return path


def summary_of(folder: Path) -> dict[str, Any]:
    """The summary of a finished run."""
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text("utf-8"))
    return summary


def pictures_read(recipe: Path) -> dict[str, int]:
    """Count the pictures that one process, and that two, load to train the dense network."""
    loaded = load_recipe(recipe)
    data = DetectionData.model_validate(loaded.data)
    train = cast(DetectionSet, read_splits(data, loaded.model.input_size, loaded.seed).train)
    counts = {}
    for count in (1, 2):
        loaders = [
            training_batches(
                train.pictures,
                training_transform(data, loaded.model.input_size),
                steps=loaded.train.steps,
                batch_size=loaded.train.batch_size,
                seed=0,
                workers=0,
                rank=Rank(rank, count),
            )
            for rank in range(count)
        ]
        counts[str(count)] = sum(len(pixels) for loader in loaders for pixels, *_ in loader)
    return counts


def losses_differ(work: Path) -> float:
    """Largest relative difference between a classifier's losses with one process and with two."""
    recipe = write_recipe(work, CLASSIFIER)
    traces = []
    for name, starter in (("class-one", PYTHON), ("class-two", TWO)):
        finish(start(work / name, starter, "train", recipe))
        step = json.loads((work / name / "steps/dense/step.json").read_text("utf-8"))
        traces.append(step["result"]["loss"])
    return float(max(abs(two - one) / one for one, two in zip(*traces, strict=True)))


def evaluated_again(run: Path, recipe: Path) -> dict[str, Any]:
    """Evaluate the networks of a run of two processes in this process; compare the metrics."""
    loaded = load_recipe(recipe)
    task = task_of(loaded.data, loaded.evaluate)
    pictures = read_splits(loaded.data, loaded.model.input_size, loaded.seed).test
    summary = summary_of(run)
    difference = 0.0
    torch.set_num_threads(1)
    for name in ("dense", "slim"):
        network = load_network(run / f"{name}.safetensors")
        found = task.predictions(network.model, network.architecture, pictures)
        for metric, value in task.measure(found, pictures, task.metrics).items():
            difference = max(difference, abs(value - summary[name]["metrics"][metric]))
    size = loaded.evaluate.batch_size
    asked = sum(len(Rank(rank, 2).sample_indices(len(found), size)) for rank in (0, 1))
    return {"pictures": len(found), "asked_of_both": asked, "largest_difference": difference}


def process_of(starters: Sequence[Process], rank: int) -> int:
    """The id of the process to which torchrun gave a rank."""
    for starter in starters:
        children = Path(f"/proc/{starter.pid}/task/{starter.pid}/children").read_text().split()
        for child in map(int, children):
            if f"RANK={rank}".encode() in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
                return child
    raise SystemExit(f"no process of rank {rank}")


def kill_half_way(folder: Path, starters: Sequence[Process]) -> dict[str, Any]:
    """Kill rank 1 while phase 1 is sparsified, and wait until all processes have ended."""
    step = folder / "steps" / "phase1-sparsify"
    while not (step / "unfinished/training.safetensors").is_file():
        if any(starter.poll() is not None for starter in starters):
            raise SystemExit(f"ended too early; see the log beside {folder}")
        time.sleep(0.02)
    os.kill(process_of(starters, rank=1), signal.SIGKILL)
    begun = time.perf_counter()
    codes = [starter.wait() for starter in starters]
    seconds = round(time.perf_counter() - begun, 1)
    text = "".join(log.read_text() for log in folder.parent.glob(f"{folder.name}.*log"))
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    return {
        "codes": codes,
        "seconds_until_the_end": seconds,
        "errors": [line.replace(str(folder.parent), "") for line in errors],
        "torchrun_reported_it": "Signal 9 (SIGKILL)" in text,
    }


def resumed_after(folder: Path) -> int:
    """The step after which the run says that it resumed the training."""
    text = "".join(log.read_text() for log in folder.parent.glob(f"{folder.name}.*log"))
    found = [line for line in text.splitlines() if "resumes after step" in line]
    return int(found[-1].split("step ")[1].split(" ")[0]) if found else 0


def same_networks(run: Path, other: Path) -> int:
    """How many of the two networks, dense and slim, are equal to the last bit in two runs."""
    return sum(
        (run / f"{name}.safetensors").read_bytes() == (other / f"{name}.safetensors").read_bytes()
        for name in ("dense", "slim")
    )


@contextmanager
def two_machines() -> Iterator[list[list[str]]]:
    """Make two connected network namespaces; give torchrun's command in each."""

    def ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True)  # noqa: S607

    try:
        for machine in MACHINES:
            ip("netns", "add", machine)
        ends = [("name", CARD, "netns", machine) for machine in MACHINES]
        ip("link", "add", *ends[0], "type", "veth", "peer", *ends[1])
        for machine, address in zip(MACHINES, ADDRESSES, strict=True):
            ip("-n", machine, "addr", "add", f"{address}/30", "dev", CARD)
            ip("-n", machine, "link", "set", CARD, "up")
            ip("-n", machine, "link", "set", "lo", "up")
        common = [*TORCHRUN, "--nnodes", "2", "--nproc-per-node", "1"]
        common += ["--master-addr", ADDRESSES[0], "--master-port", "29400"]
        yield [
            ["ip", "netns", "exec", machine, *common, "--node-rank", str(rank)]
            for rank, machine in enumerate(MACHINES)
        ]
    finally:
        for machine in MACHINES:
            subprocess.run(["ip", "netns", "del", machine], check=False)  # noqa: S607


def on_machines(folder: Path, starters: Sequence[Sequence[str]], *command: object) -> list[Process]:
    """Start a command on both machines."""
    named = zip(MACHINES, starters, strict=True)
    return [start(folder, starter, *command, name=f".{machine}") for machine, starter in named]


def measure(work: Path) -> dict[str, Any]:
    """Do all runs and compare them."""
    recipe = write_recipe(work, DETECTOR)
    metrics: dict[str, dict[str, list[float]]] = {}
    for name, starter in (("one", PYTHON), ("two", TWO)):
        for seed in SEEDS:
            command = ("compress", recipe, "--set", f"seed={seed}")
            finish(start(work / f"{name}-{seed}", starter, *command))
        summaries = [summary_of(work / f"{name}-{seed}") for seed in SEEDS]
        metrics[name] = {r: [s[r][METRIC] for s in summaries] for r in ("dense", "slim")}
    command = ("compress", recipe, "--set", f"seed={SEEDS[0]}")
    unbroken = work / f"two-{SEEDS[0]}"

    refused = start(work / "three", [*TORCHRUN, "--standalone", "--nproc-per-node", "3"], *command)
    refused.wait()
    text = (work / "three.log").read_text()
    often = (*command, "--set", "checkpoint=0.00001")  # minutes: after every step
    killed = kill_half_way(work / "killed", [start(work / "killed", TWO, *often)])
    finish(start(work / "killed", TWO, *command))
    killed |= {
        "resumed_after": resumed_after(work / "killed"),
        "same_networks": same_networks(work / "killed", unbroken),
    }
    with two_machines() as starters:
        finish(*on_machines(work / "apart", starters, *command))
        lost = kill_half_way(work / "lost", on_machines(work / "lost", starters, *often))
        finish(*on_machines(work / "lost", starters, *command))
    lost |= {
        "resumed_after": resumed_after(work / "lost"),
        "same_networks": same_networks(work / "lost", unbroken),
    }
    return {
        "training_pictures": pictures_read(recipe),
        "losses_differ_at_most": losses_differ(work),
        "metric": METRIC,
        "metrics": metrics,
        "noise": {
            role: {
                "difference": statistics.mean(metrics["two"][role])
                - statistics.mean(metrics["one"][role]),
                "standard_error": sum(
                    statistics.variance(metrics[name][role]) / len(SEEDS) for name in metrics
                )
                ** 0.5,
            }
            for role in ("dense", "slim")
        },
        "evaluated_again_by_one": evaluated_again(unbroken, recipe),
        "three_processes": {
            "errors": [line for line in text.splitlines() if line.startswith("error: ")],
            "code_of_the_first": 2 if "exitcode  : 2" in text else None,
        },
        "killed": killed,
        "two_machines": {
            "same_networks_as_on_one": same_networks(work / "apart", unbroken),
            "killed": lost,
        },
    }


def checks(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Compare the results with their targets."""
    read, again = result["training_pictures"], result["evaluated_again_by_one"]
    exact = [
        ("training pictures of two processes ÷ those of one", read["2"] / read["1"], 1),
        (
            "pictures that two processes evaluate ÷ pictures of the set",
            again["asked_of_both"] / again["pictures"],
            1,
        ),
        (
            "largest difference of a metric that one process computes, points",
            again["largest_difference"],
            0,
        ),
        ("error lines of three processes", len(result["three_processes"]["errors"]), 1),
    ]
    apart = result["two_machines"]
    broken = {"killed process": result["killed"], "on two machines": apart["killed"]}
    for name, found in broken.items():
        exact += [
            (f"{name}: torchrun ended with an error", int(all(found["codes"])), 1),
            (f"{name}: error lines of secateur", len(found["errors"]), 1),
            (f"{name}: networks equal to those of an uninterrupted run", found["same_networks"], 2),
        ]
    same = apart["same_networks_as_on_one"]
    exact.append(("two machines: networks equal to those of one machine", same, 2))
    most = [("largest relative difference of a loss", result["losses_differ_at_most"], 1e-3)]
    for role, noise in result["noise"].items():
        # Two standard errors, but at least one point, since the seeds may all give one value.
        bound = max(1.0, 2 * noise["standard_error"])
        most.append((f"difference of {METRIC}, {role}, points", abs(noise["difference"]), bound))
    most += [
        (f"{name}: seconds until all processes had ended", found["seconds_until_the_end"], 60)
        for name, found in broken.items()
    ]
    return [
        {"name": name, "value": value, "target": target, "met": value == target}
        for name, value, target in exact
    ] + [
        {"name": name, "value": value, "target": target, "met": value <= target}
        for name, value, target in most
    ]


def main() -> None:
    """Measure, check and write."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        raise SystemExit("network namespaces need root and ip; apt install iproute2")
    with tempfile.TemporaryDirectory() as work:
        result = measure(Path(work))
    result = {**result, "checks": checks(result), "seeds": SEEDS, "provenance": provenance()}
    write_json(HERE / "results" / "several_processes.json", result)
    print_checks(result["checks"])


if __name__ == "__main__":
    main()
