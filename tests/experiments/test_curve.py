"""The curve of a tiny detector without training: the whole command."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from commands import Outcome, one_error
from secateur.cli.main import main
from secateur.config.architecture import recipe_architecture
from secateur.config.recipe import load_recipe
from secateur.errors import RecipeError
from secateur.experiments.curve import parse_sizes
from secateur.models.cost import count_params
from secateur.models.network import build_network
from secateur.models.network_file import load_network, save_network
from tiny_recipe import TINY, write_recipe

OPTIONS = ("--keep", "0.5,0.8", "--pictures", "4", "--seconds", "0")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("pictures"), TINY)


@pytest.fixture(scope="module")
def dense(recipe: Path) -> Path:
    """A network that is not trained: what it loses is of no interest here."""
    torch.manual_seed(0)
    architecture = recipe_architecture(load_recipe(recipe), ("square", "disc"))
    path = recipe.with_name("dense.safetensors")
    save_network(path, build_network(architecture), architecture, {})
    return path


@pytest.fixture(scope="module")
def measured(recipe: Path, dense: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("curve") / "out"
    with pytest.raises(SystemExit) as end:
        main(
            ["curve", str(dense), "--data", str(recipe), "--out", str(folder), *OPTIONS, "--layers"]
        )
    assert end.value.code == 0
    return folder


def json_of(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


def test_each_size_is_a_network_file_within_its_budget(measured: Path, dense: Path) -> None:
    result = json_of(measured / "curve.json")
    assert (result["metric"], result["split"], result["agreement"]) == (
        "AP50_area",
        "validation",
        False,
    )
    assert result["seen"] == 4
    first, *rows = result["sizes"]
    assert (first["keep"], first["file"]) == (1.0, None)
    assert first["params"] == count_params(load_network(dense).model)
    assert [row["keep"] for row in rows] == [0.8, 0.5]
    for row in rows:
        assert row["macs"] <= row["keep"] * first["macs"]
        file = load_network(measured / row["file"])
        assert count_params(file.model) == row["params"] < first["params"]
        assert file.provenance["keep_macs"] == row["keep"]
        assert file.provenance["training"] is False
        assert file.provenance["value"] == row["value"]
        assert row["milliseconds"]["median"] > 0


def test_each_layer_loses_filters_alone(measured: Path) -> None:
    result = json_of(measured / "curve.json")
    whole = result["sizes"][0]
    layers = list(dict.fromkeys(row["layer"] for row in result["layers"]))
    assert layers[0] == "conv2_1", "narrower layers cannot lose a filter"
    for row in result["layers"]:
        # At least four filters are kept.
        assert row["filters"] == max(4, round((1 - row["removed"]) * row["of"])) < row["of"]
        assert row["params"] < whole["params"]
        assert row["macs"] < whole["macs"]


def test_charts(measured: Path) -> None:
    for name in ("curve", "layers"):
        svg = (measured / f"{name}.svg").read_text("utf-8")
        assert "AP50_area on validation, %" in svg
        assert 'class="mark"' in svg
        assert (measured / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_stopped_curve_resumes(
    measured: Path, recipe: Path, dense: Path, secateur: Callable[..., Outcome], tmp_path: Path
) -> None:
    folder = shutil.copytree(measured, tmp_path / "out")
    before = json_of(folder / "curve.json")
    kept = (folder / "keep-80.safetensors").stat().st_mtime_ns
    (folder / "keep-50.safetensors").unlink()
    outcome = secateur("curve", dense, "--data", recipe, "--out", folder, *OPTIONS)
    assert outcome.code == 0, outcome.err
    assert (folder / "keep-80.safetensors").stat().st_mtime_ns == kept
    after = json_of(folder / "curve.json")
    for row in (*before["sizes"], *after["sizes"]):
        del row["milliseconds"]
    assert after["sizes"] == before["sizes"]
    assert (folder / "keep-50.safetensors").read_bytes() == (
        measured / "keep-50.safetensors"
    ).read_bytes()
    assert "keep-50.safetensors" in outcome.out


def test_pictures_without_labels_measure_the_agreement(
    recipe: Path, dense: Path, secateur: Callable[..., Outcome], tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for picture in sorted(recipe.parent.rglob("*.jpg"))[:6]:
        shutil.copy(picture, folder)
    out = tmp_path / "out"
    outcome = secateur("curve", dense, "--data", folder, "--out", out, *OPTIONS, "--json")
    assert outcome.code == 0, outcome.err
    result = json.loads(outcome.out)
    assert result["agreement"] is True
    assert (result["seen"], result["measured"]) == (3, 3)
    # The dense network agrees with itself, where it found anything.
    assert result["sizes"][0]["value"] in (None, pytest.approx(100.0))


def test_wrong_input_is_one_line(
    recipe: Path, dense: Path, secateur: Callable[..., Outcome], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    one_error(secateur("curve", dense, "--data", recipe, "--out", out, "--keep", "1.5"), "--keep")
    too_small = secateur("curve", dense, "--data", recipe, "--out", out, "--keep", "0.001")
    one_error(too_small, "budget")
    one_error(secateur("curve", dense, "--data", recipe, "--out", recipe.parent), recipe.parent)
    alone = shutil.copy(dense, tmp_path / "alone.safetensors")
    one_error(secateur("curve", alone, "--out", out), alone, "--data")


def test_sizes() -> None:
    assert parse_sizes("0.5, 0.7,0.5") == [0.7, 0.5]
    for wrong in ("", "half", "0", "1", "0.5;0.7", "nan"):
        with pytest.raises(RecipeError, match="shares of the MACs"):
            parse_sizes(wrong)
