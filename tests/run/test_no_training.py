"""A run without training after the dense network."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from commands import Outcome
from secateur.config.recipe import load_recipe
from secateur.errors import RecipeError
from tiny_recipe import TINY, write_recipe


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compress: dict[str, Any] = {
        "phases": [{"layers": "conv1_1-conv4_3"}],
        "select": {"keep_macs": 0.5, "min_filters": 1},
        "remove": {"batches": 2, "pictures": 8},
    }
    # Neither sparsify nor retrain: they need training.
    content = {**TINY, "compress": {**compress, "training": False}}
    return write_recipe(tmp_path_factory.mktemp("pictures"), content)


def test_nothing_is_trained_after_the_dense_network(
    secateur: Callable[..., Outcome], recipe: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    outcome = secateur("compress", recipe, "--run", run)
    assert outcome.code == 0, outcome.err
    done = [path.name for path in sorted((run / "steps").iterdir())]
    assert done == ["dense", "evaluate-dense", "evaluate-slim", "examples", "phase1-remove"]
    removal = json.loads((run / "steps/phase1-remove/step.json").read_text())["result"]
    readers = removal["reconstruction"]["errors"]
    assert "backbone.features.3" in readers
    assert all(after <= before for before, after in readers.values())
    assert removal["slim_minus_masked"] < 1e-5
    summary = json.loads((run / "summary.json").read_text())
    assert summary["slim"]["macs"] <= 0.5 * summary["dense"]["macs"]
    (phase,) = summary["phases"]
    assert phase["criterion"] == "reconstruction"
    assert phase["metrics"]["retrained"] is None
    assert phase["metrics"]["removed"] == removal["metrics"]["AP50_area"]
    page = (run / "report.html").read_text("utf-8")
    assert "error after the reconstruction" in page
    assert "retrained" not in page.split("<script")[0].split("recipe")[0]
    # Found again, and every size of a largest drop is only removed.
    again = secateur("compress", recipe, "--run", run)
    assert "phase1-remove: found" in again.out
    drop = "compress.select={max_drop: 30, attempts: 2, min_filters: 1}"
    dropped = secateur("compress", recipe, "--run", run, "--set", drop)
    assert dropped.code == 0, dropped.err
    names = {path.name for path in (run / "steps").iterdir()}
    assert {"phase1-try1-remove", "phase1-try2-remove"} <= names
    assert not any("retrain" in name for name in names)


def test_the_option_is_the_entry(secateur: Callable[..., Outcome], tmp_path: Path) -> None:
    path = write_recipe(tmp_path, TINY)
    outcome = secateur("compress", path, "--no-training", "--plan")
    assert outcome.code == 0, outcome.err
    assert "nothing is trained" in outcome.out


def test_what_needs_training_is_refused(recipe: Path) -> None:
    assert load_recipe(recipe).compress.select.criterion == "reconstruction"
    named = load_recipe(recipe, ["compress.select.criterion=l1"])
    assert named.compress.select.criterion == "l1"
    with pytest.raises(RecipeError, match=r"criterion sparsity needs training; .* use one of l1"):
        load_recipe(recipe, ["compress.select.criterion=sparsity"])
    levels = "compress.select={s_F: 0.9, s_F_both: 0.8, s_G: 0.8}"
    with pytest.raises(RecipeError, match="levels"):
        load_recipe(recipe, [levels])
