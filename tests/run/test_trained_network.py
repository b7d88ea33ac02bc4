"""A detector that its users trained themselves is compressed without being trained again."""

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models.detection import ssd300_vgg16

from commands import Outcome, one_error
from secateur.config.recipe import load_recipe
from secateur.errors import ModelError
from secateur.models.ssd import build_ssd, ssd_architecture
from secateur.models.weights import load_weights, read_state
from shapes import draw_voc_folder
from tiny_recipe import TINY, write_recipe

Secateur = Callable[..., Outcome]


def torchvision_ssd(classes: int) -> dict[str, Tensor]:
    """The state of torchvision's own SSD300; the classes include the background."""
    torch.manual_seed(0)
    model = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=classes)
    state: dict[str, Tensor] = model.state_dict()
    return state


def test_torchvisions_own_weights_fill_the_whole_network(tmp_path: Path) -> None:
    state = torchvision_ssd(3)
    torch.save(state, tmp_path / "ssd.pth")
    model = build_ssd(ssd_architecture("ssd300", ("square", "disc")))
    assert load_weights(model, str(tmp_path / "ssd.pth"), whole=True) == []
    torch.testing.assert_close(dict(model.state_dict()), state, rtol=0, atol=0)


@pytest.mark.parametrize(
    "keep",
    [
        # As torchvision's reference scripts write it.
        lambda state: {"model": state, "epoch": 3, "args": argparse.Namespace(lr=0.1)},
        # Of a LightningModule whose network is self.model, compiled.
        lambda state: {"state_dict": {f"model._orig_mod.{n}": t for n, t in state.items()}},
        # Of DistributedDataParallel.
        lambda state: {f"module.{n}": t for n, t in state.items()},
        lambda state: {"model_state_dict": state, "optimizer_state_dict": {"state": {}}},
        # With NumPy scalars.
        lambda state: {"model": state, "best": np.float64(0.3), "epoch": np.int64(7)},
    ],
)
def test_checkpoints_of_a_training_are_read(
    tmp_path: Path, keep: Callable[[dict[str, Tensor]], Any]
) -> None:
    state = {"backbone.weight": torch.ones(2), "head.bias": torch.zeros(1)}
    torch.save(keep(state), tmp_path / "checkpoint.pth")
    read = dict(read_state(str(tmp_path / "checkpoint.pth")))
    torch.testing.assert_close(read, state, rtol=0, atol=0)


def test_what_would_need_unpickling_is_named(tmp_path: Path) -> None:
    torch.save({"model": nn.Linear(1, 1)}, tmp_path / "whole.pth")
    with pytest.raises(ModelError, match=r"it holds torch\.nn\..*Linear, which is not unpickled"):
        read_state(str(tmp_path / "whole.pth"))
    torch.save({"model": {}, "x": np.zeros(1, "V9")[0]}, tmp_path / "void.pth")
    with pytest.raises(ModelError, match="plain torch state dict; save"):
        read_state(str(tmp_path / "void.pth"))
    (tmp_path / "text.pth").write_text("weights")
    with pytest.raises(ModelError, match=r"or a plain torch state dict; save"):
        read_state(str(tmp_path / "text.pth"))


def test_trained_network_is_compressed_without_training(secateur: Secateur, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, TINY)
    assert secateur("train", recipe, "--run", tmp_path / "first").code == 0
    weights = load_file(tmp_path / "first/dense.safetensors")
    checkpoint = tmp_path / "mine.pth"
    torch.save({"model": weights, "args": argparse.Namespace(lr=0.1)}, checkpoint)

    as_it_is = ("--set", f"model.weights={checkpoint}", "--set", "train.steps=0")
    plan = secateur("compress", recipe, *as_it_is, "--plan")
    assert plan.code == 0, plan.err
    assert re.search(r"^dense network: .* MACs; not trained$", plan.out, re.MULTILINE)
    assert "for the dense network" not in plan.out

    outcome = secateur("compress", recipe, *as_it_is, "--run", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    assert f"from {checkpoint}" in outcome.out
    torch.testing.assert_close(load_file(tmp_path / "run/dense.safetensors"), weights)
    dense = [
        json.loads((tmp_path / run / "steps/dense/step.json").read_text())["result"]
        for run in ("first", "run")
    ]
    assert dense[0]["metrics"] == dense[1]["metrics"]
    assert set(dense[0]["metrics"]) == {"AP50_area"}
    assert (dense[1]["loss"], dense[1]["fresh"]) == ([], [])
    assert "The dense network was trained elsewhere" in (tmp_path / "run/report.html").read_text()

    # A missing file of weights destroys no stage that was done with others.
    typo = ("--set", f"model.weights={tmp_path / 'typo.pth'}", "--set", "train.steps=0")
    one_error(secateur("compress", recipe, *typo, "--run", tmp_path / "run"), "typo.pth")
    found = secateur("compress", recipe, *as_it_is, "--run", tmp_path / "run")
    assert "dense: found" in found.out
    assert "phase1-retrain: found" in found.out


def test_weights_that_are_not_the_whole_network_are_refused(
    secateur: Secateur, tmp_path: Path
) -> None:
    recipe = write_recipe(tmp_path, TINY)
    assert secateur("train", recipe, "--run", tmp_path / "first").code == 0
    weights = load_file(tmp_path / "first/dense.safetensors")
    head = "head.classification_head.module_list.0.weight"
    boxes = len(weights[head]) // 3  # of the background and two classes
    weights[head] = torch.cat([weights[head], weights[head][:boxes]])
    torch.save(weights, tmp_path / "other.pth")
    for options in (("--plan",), ("--run", tmp_path / "run")):
        entries = (f"model.weights={tmp_path / 'other.pth'}", "train.steps=0")
        changes = [part for entry in entries for part in ("--set", entry)]
        outcome = secateur("compress", recipe, *changes, *options)
        assert outcome.code == 2
        assert f"{head} is [{4 * boxes}, " in outcome.err
        assert f"and [{3 * boxes}, " in outcome.err
        assert "number of classes" in outcome.err
    nothing = secateur("compress", recipe, "--set", "train.steps=0", "--plan")
    one_error(nothing, "train.steps is 0", "model.weights")


def test_init_trains_the_rest_of_a_backbone(
    secateur: Secateur, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_voc_folder(tmp_path / "mine")
    backbone = {n: t for n, t in torchvision_ssd(3).items() if n.startswith("backbone.features.")}
    for module in ("run.init_recipe", "models.weights"):  # both have imported it
        monkeypatch.setattr(f"secateur.{module}.read_state", lambda _: backbone)
    weights = "torchvision:VGG16_Weights.IMAGENET1K_FEATURES"
    out = tmp_path / "mine.yaml"
    outcome = secateur("init", tmp_path / "mine", "--weights", weights, "--out", out)
    assert outcome.code == 0, outcome.err
    assert "part of it from scratch: " in " ".join(outcome.out.split())
    assert load_recipe(out).train.steps == 2000


def test_init_recognises_ssd512(secateur: Secateur, tmp_path: Path) -> None:
    draw_voc_folder(tmp_path / "mine")
    model = build_ssd(ssd_architecture("ssd512", ("square", "disc")))
    torch.save(model.state_dict(), tmp_path / "ssd.pth")
    command = ("init", tmp_path / "mine", "--weights", tmp_path / "ssd.pth")
    assert secateur(*command, "--out", tmp_path / "mine.yaml").code == 0
    made = load_recipe(tmp_path / "mine.yaml")
    assert (made.model.network, made.train.steps) == ("ssd512", 0)
    assert made.compress.phases[-1].layers == "conv7-conv12_2"


def test_init_uses_a_trained_network(secateur: Secateur, tmp_path: Path) -> None:
    draw_voc_folder(tmp_path / "mine")
    out = tmp_path / "mine.yaml"
    for classes, steps, hint in (
        (3, 0, "the trained network is used as it is"),
        (4, 2000, "part of it from scratch: it was trained on 3 classes, not 2"),
    ):
        torch.save(torchvision_ssd(classes), tmp_path / "ssd.pth")
        out.unlink(missing_ok=True)
        outcome = secateur(
            "init", tmp_path / "mine", "--weights", tmp_path / "ssd.pth", "--out", out
        )
        assert outcome.code == 0, outcome.err
        made = load_recipe(out)
        assert made.train.steps == steps
        assert made.model.weights == str(tmp_path / "ssd.pth")
        assert hint in " ".join(out.read_text().replace("# ", "").split())
        assert hint in " ".join(outcome.out.split())
        assert yaml.safe_load(out.read_text())["data"]["classes"] is not None


def test_init_keeps_a_class_that_does_not_occur_if_the_network_was_trained_on_it(
    secateur: Secateur, tmp_path: Path
) -> None:
    for folder in ("images/train", "labels/train"):
        (tmp_path / folder).mkdir(parents=True)
    Image.new("RGB", (40, 20)).save(tmp_path / "images/train/a.png")
    (tmp_path / "labels/train/a.txt").write_text("2 0.5 0.5 0.5 0.5\n")
    (tmp_path / "data.yaml").write_text("names: [car, bus, tram]\n")
    torch.save(torchvision_ssd(4), tmp_path / "ssd.pth")
    out = tmp_path / "mine.yaml"
    command = ("init", tmp_path, "--weights", tmp_path / "ssd.pth", "--out", out)
    assert secateur(*command).code == 0
    made = load_recipe(out)
    assert (made.data.classes, made.train.steps) == (("car", "bus", "tram"), 0)
