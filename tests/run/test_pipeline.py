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
from secateur.models.network import layer_widths
from secateur.models.network_file import load_network
from secateur.pruning.selection.measured_rounding import measure_width_steps
from secateur.run.predictions_file import load_predictions
from secateur.tasks.detection.examples import SURE
from secateur.tasks.task import task_of
from shapes import draw_voc_folder

RECIPE: dict[str, Any] = {
    "name": "tiny",
    "seed": 3,
    "checkpoint": 1e-6,  # after every step
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
    """Give the summary without times and date."""
    summary: dict[str, Any] = json.loads((folder / "run/summary.json").read_text())
    del summary["seconds"], summary["provenance"]["date"]
    return summary


@pytest.fixture
def changed(
    secateur: Callable[..., Outcome],
    uninterrupted: Path,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., str]:
    """Resume from the steps of the uninterrupted run, in this process, after a change."""
    # Its figures take longer than these steps, and it has tests of its own.
    monkeypatch.setattr("secateur.report.report.write_report", lambda folder, **_: folder)
    shutil.copytree(uninterrupted / "run/steps", tmp_path / "run/steps")
    shutil.copy(uninterrupted / "run/steps.json", tmp_path / "run")
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
def uninterrupted(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("uninterrupted")
    finish(start(folder, pictures))
    return folder


def test_summary_reports_sizes_metrics_and_phases(uninterrupted: Path) -> None:
    summary = summary_of(uninterrupted)
    dense, slim = summary["dense"], summary["slim"]
    assert slim["params"] <= 0.4 * dense["params"]
    assert slim["macs"] <= 0.5 * dense["macs"]
    assert slim["bytes"] < dense["bytes"]
    for name in ("AP50_area", "AP50_voc07", "AP_coco"):
        assert 0 <= dense["metrics"][name] <= 100
        assert 0 <= slim["metrics"][name] <= 100
    assert [phase["layers"] for phase in summary["phases"]] == [
        "conv1_1-conv4_3",
        "conv4_3-conv8_2",
    ]
    for phase in summary["phases"]:
        assert 0 <= phase["slim_minus_masked"] <= 1e-5
        # Six pictures of validation are too few for parts: every trial is evaluated on all.
        trace = phase["threshold"]["trace"]
        assert trace
        assert [trial["pictures"] for trial in trace] == [None] * len(trace)
        assert set(phase["metrics"]) == {"sparsified", "thresholded", "removed", "retrained"}
        assert all(0 <= value <= 100 for value in phase["metrics"].values())
    first, second = summary["phases"]
    # The last layer of the first phase only gives G blocks; the second removes its filters.
    assert first["filters_after"]["conv4_3"] == first["filters_before"]["conv4_3"]
    assert first["filters_after"]["conv5_1"] == first["filters_before"]["conv5_1"]
    assert second["filters_before"] == first["filters_after"]
    assert first["filters_before"] == dense["filters"]
    assert slim["filters"] == second["filters_after"]
    for number, phase in enumerate(summary["phases"], start=1):
        results = {
            part: json.loads(
                (uninterrupted / f"run/steps/phase{number}-{part}/step.json").read_text()
            )["result"]
            for part in PARTS
        }
        assert list(phase["metrics"].values()) == [
            each["metrics"]["AP50_area"] for each in results.values()
        ]
        assert phase["threshold"] == results["threshold"]
        for part, kind in zip(PARTS, ("sparsify", "threshold", "remove", "retrain"), strict=True):
            assert (results[part]["kind"], results[part]["phase"]) == (kind, number)


def test_run_folder_holds_networks_that_load(uninterrupted: Path) -> None:
    summary = summary_of(uninterrupted)
    for name in ("dense", "slim"):
        file = load_network(uninterrupted / "run" / f"{name}.safetensors")
        assert layer_widths(file.model) == summary[name]["filters"]
        assert file.architecture.widths == summary["dense"]["filters"], "those of the dense network"
        assert sum(p.numel() for p in file.model.parameters()) == summary[name]["params"]
    split = json.loads((uninterrupted / "run/split.json").read_text())
    assert len(split["train"]) == 18
    assert len(split["validation"]) == 6
    assert not set(split["train"]) & set(split["validation"])


def test_run_folder_lists_the_steps_of_this_recipe(uninterrupted: Path) -> None:
    trail = json.loads((uninterrupted / "run/steps.json").read_text())["steps"]
    phases = [f"phase{n}-{part}" for n in (1, 2) for part in PARTS]
    assert trail == ["dense", *phases, "evaluate-dense", "evaluate-slim", "examples"]


def test_trainings_leave_curves(uninterrupted: Path) -> None:
    logs = uninterrupted / "run/logs"
    names = ["dense", *(f"phase{n}-{part}" for n in (1, 2) for part in ("retrain", "sparsify"))]
    assert sorted(path.name for path in logs.iterdir()) == names
    for name in names:
        curves = read_curves(logs / name)
        steps = list(range(1, 31 if name == "dense" else 21))
        result = json.loads((uninterrupted / f"run/steps/{name}/step.json").read_text())["result"]
        wanted = ["loss", "lr", "zeros"] if "sparsify" in name else ["loss", "lr"]
        assert sorted(curves) == ["AP50_area", *wanted]
        for tag in wanted:
            assert [step for step, _ in curves[tag]] == steps
        assert [value for _, value in curves["loss"]] == pytest.approx(result["loss"], abs=1e-4)
        assert curves["AP50_area"] == [(steps[-1], pytest.approx(result["metrics"]["AP50_area"]))]
        if "zeros" in wanted:
            assert curves["zeros"][-1] == (20, pytest.approx(result["zeros"]))
    rates = [rate for _, rate in read_curves(logs / "dense")["lr"]]
    assert 0.0029 < max(rates) <= 0.003
    assert rates[-1] == pytest.approx(0)


@pytest.mark.parametrize("name", ["dense", "slim"])
def test_evaluation_keeps_the_predictions(uninterrupted: Path, name: str, pictures: Path) -> None:
    folder = uninterrupted / f"run/steps/evaluate-{name}"
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
    # Metrics computed from the file alone equal those of the run.
    result = json.loads((folder / "step.json").read_text())["result"]
    for metric, value in task.measure(predictions, dataset, task.metrics).items():
        assert result["metrics"][metric] == pytest.approx(value, abs=1e-9)
    by_class = json.loads((folder / "by_class.json").read_text())
    assert by_class == task.by_class(predictions, dataset)
    assert {each["objects"] for each in by_class["by_class"].values()} == {4}
    assert set(by_class["curves"]) == {"square", "disc"}
    model = load_network(uninterrupted / f"run/{name}.safetensors")
    again = task.predictions(model.model, model.architecture, dataset)
    for kept, fresh in zip(predictions, again, strict=True):
        torch.testing.assert_close(kept.boxes, fresh.boxes)
        torch.testing.assert_close(kept.scores, fresh.scores)
        assert torch.equal(kept.labels, fresh.labels)


def sure_hits(found: list[dict[str, Any]]) -> float:
    """Scores of the hits less those of the false detections, of those that are drawn."""
    sign = {"hit": 1, "false": -1, "ignored": 0}
    return sum(each["score"] * sign[each["outcome"]] for each in found if each["score"] >= SURE)


def test_examples_show_the_predictions_of_both_networks(uninterrupted: Path) -> None:
    folder = uninterrupted / "run/steps/examples"
    shown = json.loads((folder / "step.json").read_text())["result"]["examples"]["pictures"]
    names = {each["name"] for each in shown}
    assert len(names) == len(shown) == 8, "there are no more"
    assert names <= {f"JPEGImages/{n:02}.jpg" for n in range(24, 32)}
    kinds = [each["kind"] for each in shown]
    assert kinds == sorted(kinds, key=["worst", "lost", "best", "typical"].index)
    files = [f"{n:02}.jpg" for n in range(1, 9)]
    assert [each["file"] for each in shown] == files
    assert sorted(path.name for path in folder.iterdir()) == [*files, "output.json", "step.json"]
    for each in shown:
        assert len(each["truth"]) == 1
        with Image.open(folder / each["file"]) as copy:
            assert copy.size == (each["width"], each["height"]) == (72, 64)
        for name in ("dense", "slim"):
            scores = [found["score"] for found in each[name]]
            assert scores == sorted(scores, reverse=True)
            assert all(score >= 0.05 for score in scores)
        if each["kind"] == "lost":
            assert sure_hits(each["dense"]) > sure_hits(each["slim"])


@pytest.mark.parametrize("step", ["dense", "phase1-sparsify", "phase2-retrain"])
def test_killed_run_ends_like_an_uninterrupted_one(
    step: str, uninterrupted: Path, pictures: Path, tmp_path: Path
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
    assert record["result"] is None, "killed too late to show anything"
    output = finish(start(tmp_path, pictures))
    (done,) = re.findall(r"resumes after step (\d+) of", output)
    assert int(done) >= 1
    assert not list(tmp_path.rglob("unfinished"))
    assert summary_of(tmp_path) == summary_of(uninterrupted)
    for name in ("dense", "slim"):
        # Metrics on so few objects are coarse; weights are not.
        file = f"run/{name}.safetensors"
        assert (tmp_path / file).read_bytes() == (uninterrupted / file).read_bytes()
    # Steps that the killed training logged and that were repeated appear once.
    assert [at for at, _ in read_curves(tmp_path / f"run/logs/{step}")["loss"]] == [
        at for at, _ in read_curves(uninterrupted / f"run/logs/{step}")["loss"]
    ]
    if step != "dense":
        assert "dense: found" in output


def test_changed_recipe_redoes_what_depends_on_it(
    uninterrupted: Path, changed: Callable[..., str], tmp_path: Path
) -> None:
    output = changed("compress.phases.1.retrain={steps: 5}")
    found = {line.split(":")[0] for line in output.splitlines() if line.endswith(": found")}
    assert {"dense", "phase1-sparsify", "phase1-retrain", "phase2-remove"} <= found
    assert "phase2-retrain" not in found
    assert "evaluate-dense" in found
    assert not {"evaluate-slim", "examples"} & found
    trail = json.loads((tmp_path / "run/steps.json").read_text())
    before = json.loads((uninterrupted / "run/steps.json").read_text())
    assert trail["steps"] == before["steps"]
    assert trail["phases"][0] == before["phases"][0]
    for each in (trail, before):
        del each["phases"][1]["metrics"]["retrained"]
    assert trail["phases"][1] == before["phases"][1]


def test_how_many_pictures_are_evaluated_at_once_redoes_nothing(
    changed: Callable[..., str],
) -> None:
    output = changed("evaluate.batch_size=3")
    names = {line.split(":")[0] for line in output.splitlines() if ": found" in line}
    assert {"dense", "phase1-threshold", "phase2-retrain", "evaluate-slim"} <= names
    assert "re-evaluated" not in output
    assert "redone" not in output


def test_another_metric_re_evaluates_trainings_and_repeats_none(
    uninterrupted: Path, changed: Callable[..., str], tmp_path: Path
) -> None:
    output = changed("evaluate.metric=AP_coco")
    reasons = dict(line.split(": ", 1) for line in output.splitlines() if line.endswith(" changed"))
    re_evaluated = "re-evaluated: evaluation settings changed"
    assert reasons["dense"] == reasons["phase1-sparsify"] == re_evaluated
    assert reasons["phase1-threshold"] == "redone: what it depends on has changed"
    # Where the search ends as before, the removal is the same, and is not chosen again.
    if threshold_of(uninterrupted) == threshold_of(tmp_path):
        assert reasons["phase1-remove"] == re_evaluated
        removal = "run/steps/phase1-remove/output.json"
        assert (uninterrupted / removal).read_bytes() == (tmp_path / removal).read_bytes()
    before, after = (
        json.loads((folder / "run/steps/dense/step.json").read_text())
        for folder in (uninterrupted, tmp_path)
    )
    assert before["result"]["loss"] == after["result"]["loss"]
    assert before["result"]["metrics"]["AP50_area"] is not None
    assert list(after["result"]["metrics"]) == ["AP_coco"]
    assert after["seconds"] >= before["seconds"]
    network = "run/steps/dense/network.safetensors"
    assert (uninterrupted / network).read_bytes() == (tmp_path / network).read_bytes()


def threshold_of(folder: Path) -> float:
    record = json.loads((folder / "run/steps/phase1-threshold/step.json").read_text())
    return float(record["result"]["threshold"])


def test_a_removal_is_re_evaluated_and_not_selected_again(
    changed: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    select = "compress.select={keep_macs: 0.5, criterion: l1, min_filters: 1}"
    changed(select)
    network = tmp_path / "run/steps/phase1-remove/network.safetensors"
    before = network.read_bytes(), network.stat().st_mtime_ns
    monkeypatch.setattr("secateur.run.phase_steps.work.remove", pytest.fail)
    output = changed(select, "evaluate.nms=0.3")
    assert "phase1-remove: re-evaluated" in output
    assert before == (network.read_bytes(), network.stat().st_mtime_ns)


def test_a_training_is_kept_if_its_network_could_not_be_evaluated(
    changed: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short_of_memory(*_: object) -> float:
        raise MemoryError

    shutil.rmtree(tmp_path / "run/steps")
    with monkeypatch.context() as patched:
        patched.setattr("secateur.run.training.validate", short_of_memory)
        with pytest.raises(AssertionError, match=r"memory ran short.*evaluate\.batch_size"):
            changed(command="train")
    monkeypatch.setattr("secateur.run.training.train", pytest.fail)
    output = changed("evaluate.batch_size=1", command="train")
    assert "dense: AP50_area" in output


@pytest.mark.parametrize(
    ("change", "kept", "redone"),
    [
        ("compress.remove.pictures=4", "phase1-threshold", "phase1-remove"),
        ("compress.remove={reconstruct: false, batches: 2}", "phase1-threshold", "phase1-remove"),
        ("compress.phases.1.retrain={distill: 0.5}", "phase2-remove", "phase2-retrain"),
    ],
)
def test_recalibration_and_distillation_redo_their_steps(
    uninterrupted: Path,
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
        for folder in (uninterrupted, tmp_path)
    )
    assert before.keys() == after.keys()
    assert any(not torch.equal(value, after[name]) for name, value in before.items())


def test_changed_resizing_redoes_the_dense_network(
    changed: Callable[..., str], tmp_path: Path
) -> None:
    output = changed("data.resize=false", command="train")
    assert "dense: found" not in output
    assert not load_network(tmp_path / "run/dense.safetensors").architecture.resize


def test_changed_pictures_redo_the_dense_network(
    changed: Callable[..., str], pictures: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "pictures"
    shutil.copytree(pictures, copy)
    assert "dense: found" in changed(f"data.root={copy}", command="train")
    for path in copy.glob("JPEGImages/*"):
        with Image.open(path) as picture:
            Image.new("RGB", picture.size).save(path)
    assert "dense: found" not in changed(f"data.root={copy}", command="train")


def test_drop_is_bisected(changed: Callable[..., str], tmp_path: Path) -> None:
    changed("compress.select={max_drop: 100, attempts: 2}")
    trail = json.loads((tmp_path / "run/steps.json").read_text())["steps"]
    assert "phase1-try2-retrain" in trail
    assert "phase1-retrain" not in trail, "it is left from the recipe before"
    summary = summary_of(tmp_path)
    for phase in summary["phases"]:
        tried = [attempt["share"] for attempt in phase["attempts"]]
        assert len(tried) == 2, "every size tried can be reached"
        assert tried == sorted(tried, reverse=True), "every size holds a drop of 100"
        assert [attempt["held"] for attempt in phase["attempts"]] == [True, True]
        assert phase["taken"] == 2
    assert summary["slim"]["params"] < summary["dense"]["params"]


def changed_widths(phase: dict[str, Any]) -> list[int]:
    """Give the widths after a phase of the layers that lost filters in it."""
    before = phase["filters_before"]
    return [count for name, count in phase["filters_after"].items() if count != before[name]]


@pytest.mark.parametrize(
    "goal", ["{keep_params: 0.4, keep_macs: 0.5", "{max_drop: 100, attempts: 2"]
)
def test_kept_filters_come_in_multiples(
    goal: str, changed: Callable[..., str], tmp_path: Path
) -> None:
    output = changed(f"compress.select={goal}, min_filters: 1, round_to: 4}}")
    assert "phase1-threshold: found" in output
    assert "phase1-remove: found" not in output
    summary = summary_of(tmp_path)
    for phase in summary["phases"]:
        assert phase["round_to"] == 4
        assert phase["rounding"] is None
        assert changed_widths(phase)
        assert all(count % 4 == 0 for count in changed_widths(phase))
    if "keep" in goal:
        assert summary["slim"]["params"] <= 0.4 * summary["dense"]["params"]
        assert summary["slim"]["macs"] <= 0.5 * summary["dense"]["macs"]
    else:
        # What was measured is the rounded network, retrained.
        for number, phase in enumerate(summary["phases"], start=1):
            folder = tmp_path / f"run/steps/phase{number}-try2-retrain"
            record = json.loads((folder / "step.json").read_text())
            assert phase["attempts"][-1]["metric"] == record["result"]["metrics"]["AP50_area"]
            assert record["result"]["attempt"] == 2
            model = load_network(folder / "network.safetensors").model
            assert layer_widths(model) == phase["filters_after"]


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
    monkeypatch.setattr("secateur.pruning.phase.measure_width_steps", fake)
    changes = ("compress.select.round_to=auto", "compress.select.runtime=torch")
    assert "  width steps on torch, by number of layers: 1 for " in changed(*changes)
    assert set(compiled) == {"torch"}
    summary, used = summary_of(tmp_path), set[int]()
    for number, phase in enumerate(summary["phases"], start=1):
        path = tmp_path / f"run/steps/phase{number}-remove/step.json"
        record = json.loads(path.read_text())["result"]["rounding"]
        assert phase["round_to"] == "auto"
        assert phase["rounding"] == record
        assert record["measured"] == record["used"]
        used.update(record["used"].values())
        for name, times in record["seconds"].items():
            assert record["measured"][name] == 4
            assert all(seconds == pytest.approx(-(-w // 4) * 1e-3) for w, seconds in times)
        selection = json.loads(path.read_text())["result"]["selection"]
        for name, seen in selection.items():
            kept, channels = len(seen["kept"]), len(seen["F"])
            assert kept % record["used"][name] == 0 or kept == channels
    assert used == {1, 4}
    assert summary["slim"]["params"] <= 0.4 * summary["dense"]["params"]
    assert summary["slim"]["macs"] <= 0.5 * summary["dense"]["macs"]

    compiled.clear()
    again = changed(*changes)
    assert "phase1-remove: found" in again
    assert "  width steps on torch, by number of layers: 1 for " in again
    assert not compiled, "measurements are part of the step"
    assert summary_of(tmp_path) == summary
