"""Whole runs of the real command on a few drawn pictures in class folders."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from secateur.cli.main import main
from secateur.config.data import ClassificationData
from secateur.config.evaluate import Evaluate
from secateur.config.recipe import load_recipe
from secateur.errors import RunError
from secateur.models.network import layer_widths, layers
from secateur.models.network_file import load_network
from secateur.run.predictions_file import load_predictions
from secateur.tasks.task import task_of
from shapes import draw_class_folders

RECIPE: dict[str, Any] = {
    "name": "shapes",
    "data": {"format": "folders", "validation": 0.25, "augmentation": {"shift": 0.05}},
    "model": {"network": "vgg16", "size": 32, "widths": 0.06, "hidden": [128], "pool": 1},
    "train": {"steps": 40, "batch_size": 8, "optimizer": "adamw", "lr": 0.003},
    "compress": {
        "phases": [{"layers": "conv1_1-conv3_3"}, {"layers": "conv3_3-fc6"}],
        "sparsify": {"steps": 10, "batch_size": 8, "optimizer": "adamw", "strength": 0.01},
        "threshold": {"max_drop": 20, "resolution": 0.2},
        "select": {"keep_params": 0.4, "keep_macs": 0.5, "min_filters": 1},
        "retrain": {"steps": 30, "batch_size": 8, "optimizer": "adamw", "lr": 0.003},
    },
}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders: 24 pictures to train on and 12 to test, each a disc or a square."""
    root = tmp_path_factory.mktemp("shapes")
    draw_class_folders(root)
    return root


@pytest.fixture(scope="module")
def run(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("classifier")
    content = {**RECIPE, "data": {**RECIPE["data"], "root": str(shapes)}}
    (folder / "shapes.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(SystemExit) as end:
        main(["compress", str(folder / "shapes.yaml"), "--run", str(folder / "run")])
    assert end.value.code == 0
    return folder


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[object, str, str]]:
    def call(*arguments: object) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return end.value.code, said.out, said.err

    return call


def test_summary_reports_sizes_metrics_and_phases(run: Path) -> None:
    summary = json.loads((run / "run/summary.json").read_text())
    dense, slim = summary["dense"], summary["slim"]
    assert slim["params"] <= 0.4 * dense["params"]
    assert slim["macs"] <= 0.5 * dense["macs"]
    assert (summary["metric"], summary["split"]) == ("top1", "test")
    assert dense["metrics"]["top1"] > 75, "two shapes in two colours are learnt in a few steps"
    first, second = summary["phases"]
    # The last layer of the first phase only gives G blocks; the second removes its filters.
    assert first["filters_after"]["conv3_3"] == first["filters_before"]["conv3_3"]
    paths = layers(load_network(run / "run/dense.safetensors").model)
    names = list(paths)
    last = names.index("conv3_3")
    for number, pruned in ((1, names[:last]), (2, names[last:])):  # the second one with fc6
        record = json.loads((run / f"run/steps/phase{number}-remove/step.json").read_text())
        selection = record["result"]["selection"]
        assert list(selection) == [paths[name] for name in pruned]
        phase = summary["phases"][number - 1]
        for name in names:
            kept = selection[paths[name]]["kept"] if name in pruned else None
            count = phase["filters_before"][name] if kept is None else len(kept)
            assert phase["filters_after"][name] == count
    for phase in (first, second):
        assert 0 <= phase["slim_minus_masked"] <= 1e-5
    file = load_network(run / "run/slim.safetensors")
    assert layer_widths(file.model) == slim["filters"] == second["filters_after"]
    assert file.architecture.widths == dense["filters"] == first["filters_before"]
    split = json.loads((run / "run/split.json").read_text())
    assert [len(split[part]) for part in ("train", "validation")] == [18, 6]


@pytest.mark.parametrize("name", ["dense", "slim"])
def test_evaluation_keeps_the_predictions(run: Path, name: str) -> None:
    folder = run / f"run/steps/evaluate-{name}"
    probabilities = load_file(folder / "predictions.safetensors")["probabilities"]
    assert (probabilities.shape, probabilities.dtype) == ((12, 2), torch.float32)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(12))
    by_class = json.loads((folder / "by_class.json").read_text())
    matrix = torch.tensor(by_class["confusion"])
    assert matrix.sum(0).tolist() == probabilities.argmax(1).bincount(minlength=2).tolist()
    assert matrix.sum(1).tolist() == [6, 6]
    for row, (label, counted) in enumerate(by_class["by_class"].items()):
        assert label == ("disc", "square [2]")[row]
        assert counted == {"pictures": 6, "top1": pytest.approx(100 * int(matrix[row, row]) / 6)}
    result = json.loads((folder / "step.json").read_text())["result"]
    assert result["metrics"]["top1"] == pytest.approx(100 * int(matrix.trace()) / 12)


def test_mistakes_are_shown(run: Path) -> None:
    folder = run / "run/steps/examples"
    shown = json.loads((folder / "step.json").read_text())["result"]["examples"]["pictures"]
    by_class = json.loads((run / "run/steps/evaluate-slim/by_class.json").read_text())
    matrix = torch.tensor(by_class["confusion"])
    assert len(shown) == int(matrix.sum() - matrix.trace())
    for each in shown:
        assert each["slim"]["class"] != each["truth"]
        with Image.open(folder / each["file"]) as copy:
            assert copy.size == (32, 32)


def test_missing_or_damaged_predictions_are_named(run: Path, tmp_path: Path) -> None:
    task = task_of(ClassificationData(format="folders", root=tmp_path), Evaluate())
    with pytest.raises(
        RunError, match=r"predictions\.safetensors: cannot be read; delete .* again"
    ):
        load_predictions(tmp_path, task, None)
    whole = (run / "run/steps/evaluate-slim/predictions.safetensors").read_bytes()
    (tmp_path / "predictions.safetensors").write_bytes(whole[:-5])
    with pytest.raises(RunError, match="cannot be read"):
        load_predictions(tmp_path, task, None)


def test_a_finished_run_repeats_no_stage(
    run: Path, command: Callable[..., tuple[object, str, str]]
) -> None:
    code, out, _ = command("compress", run / "shapes.yaml", "--run", run / "run")
    assert code == 0
    assert all(f"{step}: found" in out for step in ("dense", "phase2-retrain", "examples"))


@pytest.mark.parametrize("kind", ["recipe", "folder"])
def test_evaluate_counts_the_confusion_matrix(
    kind: str, run: Path, shapes: Path, command: Callable[..., tuple[object, str, str]]
) -> None:
    data = run / "shapes.yaml" if kind == "recipe" else shapes
    code, out, err = command("evaluate", run / "run/slim.safetensors", "--data", data, "--json")
    assert code == 0, err
    found = json.loads(out)
    matrix = torch.tensor(found["confusion"])
    assert matrix.sum(1).tolist() == [6, 6]
    share = 100 * matrix.diagonal().sum() / 12
    assert found["metrics"]["top1"] == pytest.approx(float(share))
    summary = json.loads((run / "run/summary.json").read_text())
    assert summary["slim"]["metrics"]["top1"] == pytest.approx(float(share))
    assert found["by_class"]["square [2]"]["pictures"] == 6


def test_tables_of_evaluate_and_inspect(
    run: Path, command: Callable[..., tuple[object, str, str]]
) -> None:
    code, out, _ = command("evaluate", run / "run/slim.safetensors", "--data", run / "shapes.yaml")
    assert code == 0
    assert "square [2]" in out
    summary = json.loads((run / "run/summary.json").read_text())
    for against, kept in (("", summary["dense"]["filters"]["conv2_2"]), ("full", 128)):
        options = ["--against", against] if against else []
        code, out, err = command("inspect", run / "run/slim.safetensors", *options)
        assert code == 0, err
        assert f"{kept} → {summary['slim']['filters']['conv2_2']}" in out
        assert f"{summary['slim']['params']:,}" in out


def test_detect_refuses_a_classifier(
    run: Path, shapes: Path, command: Callable[..., tuple[object, str, str]]
) -> None:
    model = run / "run/slim.safetensors"
    code, _, err = command("detect", model, shapes / "test/disc", "--out", run / "found")
    assert code == 2
    assert err == f"error: {model}: is a classifier and finds no boxes; give a detector\n"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("data.format=voc", "vgg16 cannot be trained on data of format voc"),
        ("evaluate.metric=AP_coco", "evaluate.metric of vgg16 must be top1"),
        ("model.network=vgg19", "network must be ssd300, ssd512 or vgg16"),
        ("model.size=31", "model.size"),
        ("data.classes=[disc]", "square [2]"),
        ("compress.phases.0.layers=conv1_1-fc7", "no layer 'fc7'"),
        ("data.validation=1.5", "data.validation"),
    ],
)
def test_settings_that_do_not_fit_are_refused_in_one_line(
    change: str,
    words: str,
    run: Path,
    tmp_path: Path,
    command: Callable[..., tuple[object, str, str]],
) -> None:
    options = ["--run", tmp_path / "run", "--set", change]
    code, _, err = command("compress", run / "shapes.yaml", *options)
    assert code == 2
    assert words in err
    assert err.count("\n") == 1


def test_init_writes_a_recipe_for_class_folders(
    shapes: Path, tmp_path: Path, command: Callable[..., tuple[object, str, str]]
) -> None:
    out = tmp_path / "first.yaml"
    code, said, err = command("init", shapes, "--out", out)
    assert code == 0, err
    assert said.startswith("24 pictures to train on, of 2 classes, 12 to test on\n")
    made = load_recipe(out)
    assert (made.data.format, made.data.train, made.data.test) == ("folders", "train", "test")
    assert made.model.size == 32, "the shorter side has 36 pixels"
    assert made.model.weights is None
    code, said, _ = command("compress", out, "--plan")
    assert code == 0
    assert "note: 12 pictures in test" in said
    for path in sorted((shapes / "train").iterdir()):
        (tmp_path / "data" / "train" / path.name).mkdir(parents=True)
    code, _, err = command("init", tmp_path / "data", "--out", tmp_path / "second.yaml")
    assert code == 2
    assert err.count("\n") == 1


def test_the_test_split_may_lack_a_class(
    run: Path, shapes: Path, tmp_path: Path, command: Callable[..., tuple[object, str, str]]
) -> None:
    shutil.copytree(shapes, tmp_path / "data")
    shutil.rmtree(tmp_path / "data/test/square [2]")
    model = run / "run/slim.safetensors"
    code, out, err = command("evaluate", model, "--data", tmp_path / "data", "--json")
    assert code == 0, err
    assert json.loads(out)["by_class"]["square [2]"] == {"pictures": 0, "top1": None}
    (tmp_path / "data/test/star").mkdir()
    code, _, err = command("evaluate", model, "--data", tmp_path / "data")
    assert (code, err.count("\n")) == (2, 1)
    assert "has a class 'star', which is not one of the 2 classes" in err


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        ("test", [], "has no folder train, test or val with class folders"),
        (
            ".",
            ["--split", "validation"],
            "has no split validation; name another, or give the recipe",
        ),
    ],
)
def test_evaluate_refuses_a_folder_without_the_split(
    data: str,
    options: list[str],
    words: str,
    run: Path,
    shapes: Path,
    command: Callable[..., tuple[object, str, str]],
) -> None:
    model = run / "run/slim.safetensors"
    code, _, err = command("evaluate", model, "--data", shapes / data, *options)
    assert (code, err.count("\n")) == (2, 1)
    assert words in err


def test_a_picture_in_an_unsupported_format_is_named(
    shapes: Path, run: Path, tmp_path: Path, command: Callable[..., tuple[object, str, str]]
) -> None:
    shutil.copytree(shapes, tmp_path / "data")
    odd = tmp_path / "data/train/disc/photo.HEIC"
    odd.touch()
    change = ["--set", f"data.root={tmp_path / 'data'}"]
    code, _, err = command("compress", run / "shapes.yaml", "--run", tmp_path / "run", *change)
    assert (code, err.count("\n")) == (2, 1)
    assert str(odd) in err


def test_a_classifier_no_better_than_chance_is_reported(
    run: Path, tmp_path: Path, command: Callable[..., tuple[object, str, str]]
) -> None:
    changes = [part for entry in ("train.steps=1", "train.lr=1.0e-9") for part in ("--set", entry)]
    code, said, _ = command("train", run / "shapes.yaml", "--run", tmp_path / "run", *changes)
    assert code == 0
    assert "dense: top1 50.0 on validation" in said, (
        "it predicts the same of two classes for every picture"
    )
    assert "accuracy is too low for pruning results to mean anything" in said
