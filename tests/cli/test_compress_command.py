"""``secateur compress`` and ``secateur train``."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from commands import Outcome, one_error
from secateur.config.recipe import load_recipe
from secateur.data import shared_memory
from secateur.data.source import read_splits
from secateur.models.network_file import load_network
from secateur.run.duration import measure_duration


def test_plan_shows_what_would_happen(secateur: Callable[..., Outcome], recipe: Path) -> None:
    outcome = secateur("compress", recipe, "--plan")
    assert outcome.code == 0, outcome.err
    # 0.06 of 64, 64, 128, 128, 256, 256, 256, 512, 512: all of phase 1 but its last layer
    first = "phase 1, keep 50.0% of MACs; prunes conv1_1 (4), conv1_2 (4), conv2_1 (8)"
    assert first in outcome.out
    assert "conv4_2 (31)\n" in outcome.out
    # conv7 is the network's last layer, and is pruned too
    second = "phase 2, keep 50.0% of MACs; prunes conv4_3 (31), conv5_1 (31)"
    assert second in outcome.out
    assert "conv7 (61)\n" in outcome.out
    assert "never pruned (the network's output): conv4_3 box" in outcome.out
    assert "note: 8 pictures in train, 2 of them for validation\n" in outcome.out
    span = r"\d+ (seconds?|minutes|hours)"
    phases = f"then at most {span} for phase 1 and {span} for phase 2, less"
    assert re.search(f"training on .+: about {span} for the dense network, {phases}", outcome.out)


def test_plan_warns_of_what_a_run_would_stop_on(
    secateur: Callable[..., Outcome], recipe: Path, tmp_path: Path
) -> None:
    changes = (f"data.root={tmp_path}/none", "model.weights=none.pth", "model.batch_norm=false")
    options = [option for change in changes for option in ("--set", change)]
    outcome = secateur("compress", recipe, "--plan", *options)
    assert outcome.code == 0, outcome.err
    pictures, weights = outcome.err.splitlines()
    assert pictures.startswith(f"warning: a run would stop at once: {tmp_path}/none: data folder")
    assert weights == "warning: a run would stop at once: none.pth: no such file of weights"
    assert "hardly train" not in outcome.out
    outcome = secateur("compress", recipe, "--plan", *options[:2], *options[4:])
    assert "note: the network starts from random weights and has no batch norm" in outcome.out


def test_plan_tries_a_norm_on_a_map_of_one_cell(
    secateur: Callable[..., Outcome], recipe: Path
) -> None:
    changes = (
        *("model.size=64", "model.batch_norm=true", "model.detection_layers=4"),
        *("model.scales=null", "compress.phases=[{layers: conv1_1-conv9_2}]"),
    )
    options = [option for change in changes for option in ("--set", change)]
    outcome = secateur("compress", recipe, "--plan", *options)
    assert outcome.code == 0, outcome.err
    assert "training on " in outcome.out


def test_plan_counts_every_size_that_is_tried(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secateur.run.duration._seconds_a_picture", lambda *_: (1.0, "a device"))
    loaded = load_recipe(recipe)
    pictures = read_splits(loaded.data, loaded.model.input_size, 0).train
    once = measure_duration(loaded, pictures)
    entries = ("compress.select={max_drop: 1, attempts: 3}",)
    tried = measure_duration(load_recipe(recipe, entries), pictures)
    _, sparsify, _, retrain = loaded.phase(1)
    sparsified, retrained = (each.steps * each.batch_size for each in (sparsify, retrain))
    assert once.phases[0] == sparsified + retrained
    assert tried.phases[0] == sparsified + 3 * retrained


def test_plan_names_layers_that_no_phase_prunes(
    secateur: Callable[..., Outcome], recipe: Path
) -> None:
    change = "compress.phases=[{layers: conv1_1-conv4_3}]"
    outcome = secateur("compress", recipe, "--plan", "--set", change)
    assert "not pruned by any phase: conv4_3, conv5_1" in outcome.out


@pytest.mark.parametrize("options", [["--plan"], []])
def test_images_that_measure_nothing_are_refused_before_training(
    options: list[str],
    secateur: Callable[..., Outcome],
    recipe: Path,
    voc: Path,
    tmp_path: Path,
) -> None:
    run = ("compress", recipe, "--run", tmp_path / "run", *options)
    Image.new("RGB", (80, 6)).save(voc / "JPEGImages/p9.jpg")
    (voc / "Annotations/p9.xml").write_text("<annotation></annotation>")
    outcome = secateur(*run, "--set", "data.resize=false", "--set", "model.scales=null")
    one_error(outcome, "p9.jpg", "too small for this network")
    (voc / "Annotations/p8.xml").write_text("<annotation></annotation>")
    one_error(secateur(*run), voc, "no object is annotated in the pictures for test", "null")
    assert not (tmp_path / "run/steps").exists()


@pytest.mark.parametrize("options", [["--plan"], []])
def test_budget_out_of_reach_is_refused_before_training(
    options: list[str], secateur: Callable[..., Outcome], recipe: Path, tmp_path: Path
) -> None:
    change = ["--set", "compress.select={keep_params: 0.001}"]
    outcome = secateur("compress", recipe, "--run", tmp_path / "run", *change, *options)
    one_error(outcome, "cannot come down to", "parameters")
    assert not (tmp_path / "run/steps").exists()


def test_compress_then_again_then_inspect(
    secateur: Callable[..., Outcome], recipe: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run [1]"
    first = secateur("compress", recipe, "--run", run)
    assert first.code == 0, first.err
    assert f"slim network: {run / 'slim.safetensors'}\n" in first.out
    summary = json.loads((run / "summary.json").read_text())
    assert f"{summary['dense']['params']:,}" in first.out
    assert f"{summary['slim']['macs']:,}" in first.out

    again = secateur("compress", recipe, "--run", run)
    assert "dense: found" in again.out

    plan = ("compress", recipe, "--run", run, "--plan")
    assert secateur(*plan).out.count(f"\nthe recipe is the last one in {run}; its complete") == 1
    assert "\ndense: would be found\n" in secateur(*plan).out
    size = ("--set", "compress.select.keep_macs=0.6")
    changed = secateur(*plan, *size, "--set", "evaluate.nms=0.3").out
    differ = "compress.select.keep_macs (was 0.5, now 0.6), evaluate.nms (was 0.45, now 0.3); the"
    assert f"the recipe differs from the last one in {run}: {differ}" in changed
    assert "\ndense: would be found\n" in changed
    assert "\ndense: would be redone\n" in secateur(*plan, "--set", "train.steps=3").out
    one_error(secateur("compress", recipe, "--plan", "--run", recipe.parent), "is not the folder")

    inspected = secateur("inspect", run / "slim.safetensors")
    assert inspected.code == 0, inspected.err
    assert f"{summary['slim']['params']:,}" in inspected.out
    assert f"{summary['slim']['macs'] / summary['dense']['macs']:.1%}" in inspected.out
    assert f"61 → {summary['slim']['filters']['conv7']}" in inspected.out


def test_train_writes_the_dense_network(
    secateur: Callable[..., Outcome], recipe: Path, tmp_path: Path
) -> None:
    outcome = secateur("train", recipe, "--run", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    file = load_network(tmp_path / "run/dense.safetensors")
    assert file.provenance["role"] == "dense"
    assert file.architecture.classes == ("dog", "cat")
    assert json.loads((tmp_path / "run/steps.json").read_text())["steps"] == ["dense"]


def test_a_run_says_that_shared_memory_is_small(
    secateur: Callable[..., Outcome], recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_memory, "FOLDER", Path("/shm"))  # absent
    workers = ("--set", "data.workers=2")
    trained = secateur("train", recipe, "--run", tmp_path / "run", *workers)
    assert trained.code == 0
    said = "  /shm: is absent, full or read-only, so no process loads pictures beside the training;"
    assert trained.out.count(said) == 1
