"""Whole runs of the real command on a few drawn pictures."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from commands import Outcome
from event_files import read_curves
from secateur.config.data import DetectionData
from secateur.config.evaluate import Evaluate
from secateur.data.formats.voc import read_voc
from secateur.models.network_file import load_network
from secateur.pruning.selection.measured_rounding import measure_width_steps
from secateur.run import removing
from secateur.run.predictions_file import load_predictions
from secateur.tasks.task import task_of
from shapes import draw_voc_folder

RECIPE: dict[str, Any] = {
    "name": "tiny",
    "seed": 3,
    "checkpoint": 1e-6,  # behind every step
    "data": {
        "format": "voc",
        "train": "train",
        "test": "test",
        "classes": ["square", "disc"],
        "validation": 0.25,
        "workers": 0,
        "augmentation": {"expand": 1.5, "crop": False},
    },
    "model": {
        "size": 64,
        "widths": 0.04,
        "batch_norm": True,
        "detection_layers": 3,
        "scales": [0.2, 0.35, 0.6, 0.9],
    },
    "train": {"steps": 30, "batch_size": 4, "optimizer": "adamw", "lr": 0.003},
    "compress": {
        "phases": [{"layers": "conv1_1-conv4_3"}, {"layers": "conv4_3-conv8_2"}],
        "sparsify": {"steps": 20, "batch_size": 4, "lr": 0.01, "strength": 0.05},
        "threshold": {"max_drop": 5, "resolution": 0.2},
        "select": {"keep_params": 0.4, "keep_macs": 0.5, "min_filters": 1},
        "retrain": {"steps": 20, "batch_size": 4},
    },
}
PARTS = ("sparsify", "threshold", "remove", "retrain")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in VOC's layout: 24 pictures to train, 8 to test, each with one shape."""
    root = tmp_path_factory.mktemp("shapes")
    draw_voc_folder(root)
    return root


def start(folder: Path, pictures: Path, *changes: str) -> "subprocess.Popen[str]":
    """Start the real command in a folder of its own."""
    recipe = folder / "tiny.yaml"
    folder.mkdir(exist_ok=True)
    recipe.write_text(yaml.safe_dump(RECIPE))
    command = [sys.executable, "-m", "secateur", "compress", str(recipe)]
    command += ["--run", str(folder / "run"), "--set", f"data.root={pictures}"]
    for change in changes:
        command += ["--set", change]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def finish(process: "subprocess.Popen[str]") -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def summary_of(folder: Path) -> dict[str, Any]:
    """Give the summary without what tells of the clock."""
    summary: dict[str, Any] = json.loads((folder / "run/summary.json").read_text())
    del summary["seconds"], summary["provenance"]["date"]
    return summary


@pytest.fixture
def changed(
    secateur: Callable[..., Outcome],
    unbroken: Path,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., str]:
    """Go on from the unbroken run's steps, in this process, with something changed."""
    # Its drawings take longer than these steps, and it has tests of its own.
    monkeypatch.setattr("secateur.report.report.write_report", lambda folder, **_: folder)
    shutil.copytree(unbroken / "run/steps", tmp_path / "run/steps")
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE))

    def run(*changes: str, command: str = "compress") -> str:
        options = [
            option
            for change in ("checkpoint=5", f"data.root={pictures}", *changes)
            for option in ("--set", change)
        ]
        outcome = secateur(command, recipe, "--run", tmp_path / "run", *options)
        assert outcome.code == 0, outcome.err
        return outcome.out

    return run


@pytest.fixture(scope="module")
def unbroken(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("unbroken")
    finish(start(folder, pictures))
    return folder


def test_summary_tells_what_was_done(unbroken: Path) -> None:
    summary = summary_of(unbroken)
    dense, slim = summary["dense"], summary["slim"]
    assert slim["params"] <= 0.4 * dense["params"]
    assert slim["macs"] <= 0.5 * dense["macs"]
    assert slim["bytes"] < dense["bytes"]
    for name in ("AP50_area", "AP50_voc07", "AP_coco"):
        assert 0 <= dense[name] <= 100
        assert 0 <= slim[name] <= 100
    assert [phase["layers"] for phase in summary["phases"]] == [
        "conv1_1-conv4_3",
        "conv4_3-conv8_2",
    ]
    for phase in summary["phases"]:
        assert 0 <= phase["slim_minus_masked"] <= 1e-5
        # Six pictures of validation are too few for parts.
        assert phase["threshold_pictures"] == [6] * len(phase["threshold_trace"])
    first, second = summary["phases"]
    # The end of the first phase only gives G blocks; its filters go in the second.
    assert first["filters_after"]["conv4_3"] == first["filters_before"]["conv4_3"]
    assert first["filters_after"]["conv5_1"] == first["filters_before"]["conv5_1"]
    assert second["filters_before"] == first["filters_after"]
    assert slim["widths"] == second["filters_after"]


def test_run_folder_holds_networks_that_load(unbroken: Path) -> None:
    summary = summary_of(unbroken)
    for name in ("dense", "slim"):
        file = load_network(unbroken / "run" / f"{name}.safetensors")
        assert file.architecture.widths == summary[name]["widths"]
        assert sum(p.numel() for p in file.model.parameters()) == summary[name]["params"]
    split = json.loads((unbroken / "run/split.json").read_text())
    assert len(split["train"]) == 18
    assert len(split["validation"]) == 6
    assert not set(split["train"]) & set(split["validation"])


def test_run_folder_tells_the_steps_of_this_recipe(unbroken: Path) -> None:
    trail = json.loads((unbroken / "run/steps.json").read_text())["steps"]
    phases = [f"phase{n}-{part}" for n in (1, 2) for part in PARTS]
    assert trail == ["dense", *phases, "evaluate-dense", "evaluate-slim", "examples"]


def test_trainings_leave_curves(unbroken: Path) -> None:
    logs = unbroken / "run/logs"
    names = ["dense", *(f"phase{n}-{part}" for n in (1, 2) for part in ("retrain", "sparsify"))]
    assert sorted(path.name for path in logs.iterdir()) == names
    for name in names:
        curves = read_curves(logs / name)
        steps = list(range(1, 31 if name == "dense" else 21))
        result = json.loads((unbroken / f"run/steps/{name}/step.json").read_text())["result"]
        wanted = ["loss", "lr", "zeros"] if "sparsify" in name else ["loss", "lr"]
        assert sorted(curves) == ["AP50_area", *wanted]
        for tag in wanted:
            assert [step for step, _ in curves[tag]] == steps
        assert [value for _, value in curves["loss"]] == pytest.approx(result["loss"], abs=1e-4)
        assert curves["AP50_area"] == [(steps[-1], pytest.approx(result["metric"]))]
        if "zeros" in wanted:
            assert curves["zeros"][-1] == (20, pytest.approx(result["zeros"]))
    rates = [rate for _, rate in read_curves(logs / "dense")["lr"]]
    assert 0.0029 < max(rates) <= 0.003
    assert rates[-1] == pytest.approx(0)


@pytest.mark.parametrize("name", ["dense", "slim"])
def test_evaluation_keeps_what_the_network_said(unbroken: Path, name: str, pictures: Path) -> None:
    folder = unbroken / f"run/steps/evaluate-{name}"
    dataset = read_voc(pictures, "test", ("square", "disc"))
    found = load_file(folder / "predictions.safetensors")
    assert {key: tensor.dtype for key, tensor in found.items()} == {
        "boxes": torch.float32,
        "labels": torch.int64,
        "scores": torch.float32,
        "picture": torch.int32,
    }
    task = task_of(DetectionData.model_validate({**RECIPE["data"], "root": pictures}), Evaluate())
    predictions = load_predictions(folder, task, dataset)
    # Counted anew from the file alone, everything is as it was.
    result = json.loads((folder / "step.json").read_text())["result"]
    for metric, value in task.measure(predictions, dataset, task.metrics).items():
        assert result[metric] == pytest.approx(value, abs=1e-9)
    by_class = json.loads((folder / "by_class.json").read_text())
    assert by_class == task.by_class(predictions, dataset)
    assert {each["objects"] for each in by_class["by_class"].values()} == {4}
    assert set(by_class["curves"]) == {"square", "disc"}
    model = load_network(unbroken / f"run/{name}.safetensors")
    again = task.predictions(model.model, model.architecture, dataset)
    for kept, fresh in zip(predictions, again, strict=True):
        torch.testing.assert_close(kept.boxes, fresh.boxes)
        torch.testing.assert_close(kept.scores, fresh.scores)
        assert torch.equal(kept.labels, fresh.labels)


def test_examples_show_what_the_networks_said(unbroken: Path) -> None:
    folder = unbroken / "run/steps/examples"
    shown = json.loads((folder / "step.json").read_text())["result"]["pictures"]
    names = {each["name"] for each in shown}
    assert len(names) == len(shown) == 8, "there are no more"
    assert names <= {f"JPEGImages/{n:02}.jpg" for n in range(24, 32)}
    kinds = [each["kind"] for each in shown]
    assert kinds == sorted(kinds, key=["worst", "lost", "best", "typical"].index)
    files = [f"{n:02}.jpg" for n in range(1, 9)]
    assert [each["file"] for each in shown] == files
    assert sorted(path.name for path in folder.iterdir()) == [*files, "step.json"]
    for each in shown:
        assert len(each["truth"]) == 1
        with Image.open(folder / each["file"]) as copy:
            assert copy.size == (each["width"], each["height"]) == (72, 64)
        for name in ("dense", "slim"):
            scores = [found["score"] for found in each[name]]
            assert scores == sorted(scores, reverse=True)
            assert all(score >= 0.05 for score in scores)
        if each["kind"] == "lost":
            assert each["quality"]["dense"] > each["quality"]["slim"]


@pytest.mark.parametrize("step", ["dense", "phase1-sparsify", "phase2-retrain"])
def test_killed_run_ends_like_an_unbroken_one(
    step: str, unbroken: Path, pictures: Path, tmp_path: Path
) -> None:
    process = start(tmp_path, pictures)
    folder = tmp_path / "run/steps" / step
    deadline = time.monotonic() + 240
    while not (folder / "unfinished/training.safetensors").is_file():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    record = json.loads((folder / "step.json").read_text("utf-8"))
    assert "result" not in record, "killed too late to show anything"
    output = finish(start(tmp_path, pictures))
    (behind,) = re.findall(r"goes on behind step (\d+) of", output)
    assert int(behind) >= 1
    assert not list(tmp_path.rglob("unfinished"))
    assert summary_of(tmp_path) == summary_of(unbroken)
    for name in ("dense", "slim"):
        # Metrics are rounded by what little there is to find; weights are not.
        file = f"run/{name}.safetensors"
        assert (tmp_path / file).read_bytes() == (unbroken / file).read_bytes()
    # What the killed training had logged is not drawn beside what it was done again with.
    assert [at for at, _ in read_curves(tmp_path / f"run/logs/{step}")["loss"]] == [
        at for at, _ in read_curves(unbroken / f"run/logs/{step}")["loss"]
    ]
    if step != "dense":
        assert "dense: found" in output


def test_changed_recipe_redoes_what_depends_on_it(
    unbroken: Path, changed: Callable[..., str], tmp_path: Path
) -> None:
    output = changed("compress.phases.1.retrain={steps: 5}")
    found = {line.split(":")[0] for line in output.splitlines() if line.endswith(": found")}
    assert {"dense", "phase1-sparsify", "phase1-retrain", "phase2-remove"} <= found
    assert "phase2-retrain" not in found
    assert "evaluate-dense" in found
    assert not {"evaluate-slim", "examples"} & found
    trail = json.loads((tmp_path / "run/steps.json").read_text())
    assert trail == json.loads((unbroken / "run/steps.json").read_text())


def test_how_many_pictures_are_evaluated_at_once_redoes_nothing(
    changed: Callable[..., str],
) -> None:
    output = changed("evaluate.batch_size=3")
    names = {line.split(":")[0] for line in output.splitlines() if ": found" in line}
    assert {"dense", "phase1-threshold", "phase2-retrain", "evaluate-slim"} <= names
    assert "anew" not in output


def test_another_metric_measures_trainings_anew_and_trains_none_that_stays(
    unbroken: Path, changed: Callable[..., str], tmp_path: Path
) -> None:
    output = changed("evaluate.metric=AP_coco")
    told = dict(line.split(": ") for line in output.splitlines() if "anew" in line)
    assert (
        told["dense"]
        == told["phase1-sparsify"]
        == "measured anew, for what measures it has changed"
    )
    assert told["phase1-threshold"] == "anew, for what it depends on has changed"
    # Where the search ends as before, the removal is the same, and is not chosen again.
    if threshold_of(unbroken) == threshold_of(tmp_path):
        assert told["phase1-remove"] == told["dense"]
        removal = "run/steps/phase1-remove/removal.json"
        assert (unbroken / removal).read_bytes() == (tmp_path / removal).read_bytes()
    before, after = (
        json.loads((folder / "run/steps/dense/step.json").read_text())
        for folder in (unbroken, tmp_path)
    )
    assert before["result"]["loss"] == after["result"]["loss"]
    assert before["result"]["metric"] != after["result"]["metric"]
    assert after["seconds"] >= before["seconds"]
    network = "run/steps/dense/network.safetensors"
    assert (unbroken / network).read_bytes() == (tmp_path / network).read_bytes()


def threshold_of(folder: Path) -> float:
    record = json.loads((folder / "run/steps/phase1-threshold/step.json").read_text())
    return float(record["result"]["threshold"])


def test_a_removal_is_measured_anew_and_not_chosen_again(
    changed: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    way = "compress.select={keep_macs: 0.5, criterion: l1, min_filters: 1}"
    changed(way)
    network = tmp_path / "run/steps/phase1-remove/network.safetensors"
    before = network.read_bytes(), network.stat().st_mtime_ns
    monkeypatch.setattr("secateur.run.stages.remove", pytest.fail)
    output = changed(way, "evaluate.nms=0.3")
    assert "phase1-remove: measured anew" in output
    assert before == (network.read_bytes(), network.stat().st_mtime_ns)


def test_a_training_is_not_lost_where_its_network_could_not_be_measured(
    changed: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short_of_memory(*_: object) -> float:
        raise MemoryError

    shutil.rmtree(tmp_path / "run/steps")
    with monkeypatch.context() as patched:
        patched.setattr("secateur.run.stages.validate", short_of_memory)
        with pytest.raises(AssertionError, match=r"memory ran short.*evaluate\.batch_size"):
            changed(command="train")
    patched_train = pytest.fail
    monkeypatch.setattr("secateur.run.stages.train", patched_train)
    output = changed("evaluate.batch_size=1", command="train")
    assert "dense: AP50_area" in output


@pytest.mark.parametrize(
    ("change", "kept", "redone"),
    [
        ("compress.remove.batches=2", "phase1-threshold", "phase1-remove"),
        ("compress.remove={fold_means: false, reestimate_norms: false}", "dense", "phase1-remove"),
        ("compress.phases.1.retrain={distill: 0.5}", "phase2-remove", "phase2-retrain"),
    ],
)
def test_what_mends_and_what_teaches_belong_to_their_steps(
    unbroken: Path,
    changed: Callable[..., str],
    tmp_path: Path,
    change: str,
    kept: str,
    redone: str,
) -> None:
    output = changed(change)
    found = {line.split(":")[0] for line in output.splitlines() if line.endswith(": found")}
    assert kept in found
    assert redone not in found
    before, after = (
        load_file(folder / f"run/steps/{redone}/network.safetensors")
        for folder in (unbroken, tmp_path)
    )
    assert before.keys() == after.keys()
    assert any(not torch.equal(value, after[name]) for name, value in before.items())


def test_changed_way_of_reading_pictures_redoes_the_dense_network(
    changed: Callable[..., str], tmp_path: Path
) -> None:
    output = changed("data.resize=false", command="train")
    assert "dense: found" not in output
    assert not load_network(tmp_path / "run/dense.safetensors").architecture.resize


def test_changed_bytes_of_a_picture_redo_what_saw_it(
    changed: Callable[..., str], pictures: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "pictures"
    shutil.copytree(pictures, copy)
    assert "dense: found" in changed(f"data.root={copy}", command="train")
    for path in copy.glob("JPEGImages/*"):
        with Image.open(path) as picture:
            Image.new("RGB", picture.size).save(path)
    assert "dense: found" not in changed(f"data.root={copy}", command="train")


def test_largest_drop_is_kept(changed: Callable[..., str], tmp_path: Path) -> None:
    changed("compress.select={max_drop: 100, attempts: 2}")
    trail = json.loads((tmp_path / "run/steps.json").read_text())["steps"]
    assert "phase1-try2-retrain" in trail
    assert "phase1-retrain" not in trail, "it lies there from the recipe before"
    summary = summary_of(tmp_path)
    for phase in summary["phases"]:
        tried = [keep for keep, _ in phase["attempts"]]
        assert len(tried) == 2, "every size tried can be reached"
        assert tried == sorted(tried, reverse=True), "every size holds a drop of 100"
    assert summary["slim"]["params"] < summary["dense"]["params"]


def changed_widths(phase: dict[str, Any]) -> list[int]:
    """Give the widths after a phase of the layers that lost filters in it."""
    before = phase["filters_before"]
    return [count for name, count in phase["filters_after"].items() if count != before[name]]


@pytest.mark.parametrize(
    "way", ["{keep_params: 0.4, keep_macs: 0.5", "{max_drop: 100, attempts: 2"]
)
def test_kept_filters_come_in_multiples(
    way: str, changed: Callable[..., str], tmp_path: Path
) -> None:
    output = changed(f"compress.select={way}, min_filters: 1, round_to: 4}}")
    assert "phase1-threshold: found" in output
    assert "phase1-remove: found" not in output
    summary = summary_of(tmp_path)
    for phase in summary["phases"]:
        assert phase["round_to"] == 4
        assert phase["width_steps"] is None
        assert changed_widths(phase)
        assert all(count % 4 == 0 for count in changed_widths(phase))
    if "keep" in way:
        assert summary["slim"]["params"] <= 0.4 * summary["dense"]["params"]
        assert summary["slim"]["macs"] <= 0.5 * summary["dense"]["macs"]
    else:
        # What was measured is the rounded network, retrained.
        for number, phase in enumerate(summary["phases"], start=1):
            folder = tmp_path / f"run/steps/phase{number}-try2-retrain"
            record = json.loads((folder / "step.json").read_text())
            assert phase["attempts"][-1][1] == record["result"]["metric"]
            widths = load_network(folder / "network.safetensors").architecture.widths
            assert widths == phase["filters_after"]


def test_width_steps_are_measured_and_kept(
    changed: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, compiled = [0.0], []

    def compile_layer(module: nn.Module, example: Tensor, runtime: str) -> Callable[[], None]:
        compiled.append(runtime)
        filters = module(example).shape[1]

        def run() -> None:
            now[0] += -(-filters // 4) * 1e-3  # blocks of 4

        return run

    fake = partial(measure_width_steps, compile_layer=compile_layer, clock=lambda: now[0])
    monkeypatch.setattr(removing, "measure_width_steps", fake)
    changes = ("compress.select.round_to=auto", "compress.select.runtime=torch")
    assert "  width steps on torch, by number of layers: 1 for " in changed(*changes)
    assert set(compiled) == {"torch"}
    summary = summary_of(tmp_path)
    for number, phase in enumerate(summary["phases"], start=1):
        path = tmp_path / f"run/steps/phase{number}-remove/step.json"
        record = json.loads(path.read_text())["result"]["width_steps"]
        assert phase["round_to"] == "auto"
        assert phase["width_steps"] == record
        assert record["measured"] == record["used"]
        assert set(record["used"].values()) == {1, 4}
        for name, times in record["seconds"].items():
            assert record["measured"][name] == 4
            assert all(seconds == pytest.approx(-(-w // 4) * 1e-3) for w, seconds in times)
        selection = json.loads(path.read_text())["result"]["selection"]
        for name, seen in selection.items():
            kept, channels = len(seen["kept"]), len(seen["F"])
            assert kept % record["used"][name] == 0 or kept == channels
    assert summary["slim"]["params"] <= 0.4 * summary["dense"]["params"]
    assert summary["slim"]["macs"] <= 0.5 * summary["dense"]["macs"]

    compiled.clear()
    again = changed(*changes)
    assert "phase1-remove: found" in again
    assert "  width steps on torch, by number of layers: 1 for " in again
    assert not compiled, "what was measured is part of the step"
    assert summary_of(tmp_path) == summary
