"""Detectors with fewer detection layers: their recipes, and a whole comparison of them."""

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from commands import Outcome, one_error
from secateur.cli.main import main
from secateur.config.architecture import recipe_architecture
from secateur.config.recipe import Recipe, load_recipe
from secateur.errors import RecipeError
from secateur.experiments.scales import layer_counts, scale_recipe
from secateur.models.network_file import load_network
from secateur.models.ssd import SSDArchitecture, layer_names
from secateur.run.phases import check_phases
from tiny_recipe import STEP, TINY, write_recipe

FOLDER = Path(__file__).parents[2] / "src/secateur/config/recipes"
RECIPES = {path.stem: load_recipe(path) for path in sorted(FOLDER.glob("*.yaml"))}
DETECTORS = [name for name, each in RECIPES.items() if each.model.network != "vgg16"]
PHASES = ["conv1_1-conv4_3", "conv4_3-conv7", "conv7-conv8_2", "conv8_2-conv11_2"]


def quickstart(*changes: str) -> Recipe:
    return load_recipe(FOLDER / "quickstart.yaml", changes)


def architecture(recipe: Recipe) -> SSDArchitecture:
    made = recipe_architecture(recipe, ("stop", "yield"))
    assert isinstance(made, SSDArchitecture)
    return made


# ---- recipes -------------------------------------------------------------------------------------


def test_default_boxes_and_widths_of_removed_layers_are_dropped() -> None:
    recipe = quickstart("model.aspect_ratios=[[], [2], [2, 3], []]")
    two = scale_recipe(recipe, 2, 7)
    assert two.seed == 7
    assert two.model.model_dump() == {
        **recipe.model.model_dump(),
        "detection_layers": 2,
        "scales": (0.14, 0.24, 0.38),
        "aspect_ratios": ((), (2,)),
        "widths": {
            **{"conv1_1": 8, "conv1_2": 8, "conv2_1": 16, "conv2_2": 16},
            **{"conv3_1": 64, "conv3_2": 64, "conv3_3": 64},
            **{"conv4_1": 128, "conv4_2": 128, "conv4_3": 128},
            **{"conv5_1": 128, "conv5_2": 128, "conv5_3": 128, "conv6": 256, "conv7": 256},
        },
    }
    for entry in ("name", "precision", "data", "train", "evaluate"):
        assert getattr(two, entry) == getattr(recipe, entry)


def test_defaults_of_the_network_stay_defaults() -> None:
    recipe = load_recipe(FOLDER / "ssd300_voc.yaml")
    for layers in range(1, 7):
        model = scale_recipe(recipe, layers, 0).model
        assert model.detection_layers == layers
        assert (model.scales, model.aspect_ratios, model.widths) == (None, None, 1.0)
        assert model.weights == recipe.model.weights
    three = architecture(scale_recipe(recipe, 3, 0))
    assert three.scales == (0.07, 0.15, 0.33, 0.51)
    assert list(three.widths)[-1] == "conv8_2"


@pytest.mark.parametrize(
    ("phases", "layers", "expected"),
    [
        (PHASES, 6, PHASES),
        (PHASES, 5, [*PHASES[:3], "conv8_2-conv10_2"]),
        (PHASES, 4, [*PHASES[:3], "conv8_2-conv9_2"]),
        # conv8_2 is now the last layer, so phase 3 removes its filters too.
        (PHASES, 3, PHASES[:3]),
        (PHASES, 2, PHASES[:2]),
        (PHASES, 1, PHASES[:1]),
        (["conv1_1-conv11_2"], 1, ["conv1_1-conv4_3"]),
        (
            ["conv1_1-conv3_3", "conv3_3-conv6", "conv6-conv10_1"],
            1,
            ["conv1_1-conv3_3", "conv3_3-conv4_3"],
        ),
        (["conv3_1-conv3_3", "conv5_2-conv11_1"], 2, ["conv3_1-conv3_3", "conv5_2-conv7"]),
        # Phases need not follow the network's order.
        (["conv7-conv11_2", "conv1_1-conv7"], 2, ["conv1_1-conv7"]),
        # A wrong name stays and is refused as usual.
        (["conv1_1-conv99"], 1, ["conv1_1-conv99"]),
    ],
)
def test_phases_end_at_the_last_layer(phases: list[str], layers: int, expected: list[str]) -> None:
    written = "[" + ", ".join(f"{{layers: {each}}}" for each in phases) + "]"
    recipe = load_recipe(FOLDER / "ssd300_voc.yaml", [f"compress.phases={written}"])
    cut = scale_recipe(recipe, layers, 0)
    assert [phase.layers for phase in cut.compress.phases] == expected


def test_a_phase_keeps_its_own_entries() -> None:
    recipe = load_recipe(
        FOLDER / "ssd300_voc.yaml",
        [
            "compress.phases=[{layers: conv1_1-conv4_3, retrain: {steps: 30, batch_size: 10}}, "
            "{layers: conv4_3-conv11_2, sparsify: {steps: 9}, select: {keep_macs: 0.5}}]"
        ],
    )
    three = scale_recipe(recipe, 3, 0).compress.phases
    assert three[0] == recipe.compress.phases[0]
    assert three[1].model_dump() == {
        **recipe.compress.phases[1].model_dump(),
        "layers": "conv4_3-conv8_2",
    }


def pictures(recipe: Recipe) -> int:
    seen = recipe.train.steps * recipe.train.batch_size
    for number in range(1, len(recipe.compress.phases) + 1):
        _, sparsify, select, retrain = recipe.phase(number)
        seen += retrain.steps * retrain.batch_size
        if select.settings.ranks_by.sparsifies:
            seen += sparsify.steps * sparsify.batch_size
    return seen


def test_all_detectors_see_as_many_images() -> None:
    recipe = load_recipe(
        FOLDER / "ssd300_voc.yaml",
        [
            "compress.sparsify={steps: 100, batch_size: 8}",
            "compress.retrain={steps: 200, batch_size: 8}",
            "compress.phases=[{layers: conv1_1-conv4_3, retrain: {steps: 30, batch_size: 16}}, "
            "{layers: conv4_3-conv7, sparsify: {steps: 10}}, "
            "{layers: conv7-conv11_2, select: {keep_macs: 0.5, criterion: l1}}]",
        ],
    )
    wanted = pictures(recipe)
    for layers in range(1, 7):
        assert pictures(scale_recipe(recipe, layers, 0)) == wanted
    (one,) = scale_recipe(recipe, 1, 0).compress.phases
    # (10 + 200 + 200) × 8 pictures; l1 has no sparsifying training.
    assert one.retrain == {"steps": 30 + 205, "batch_size": 16}
    assert scale_recipe(recipe, 2, 0).compress.phases[1].retrain == {"steps": 200 + 200}
    # No steps are added if no phase is dropped.
    assert scale_recipe(recipe, 4, 0).compress.phases[2].retrain == {}


@pytest.mark.parametrize("name", DETECTORS)
def test_shipped_recipes_with_every_number_of_layers(name: str) -> None:
    recipe = RECIPES[name]
    before = recipe.model_dump()
    most = architecture(recipe).detection_layers
    for layers in range(1, most + 1):
        cut = scale_recipe(recipe, layers, 0)
        made = architecture(cut)
        assert tuple(made.widths) == layer_names(made.network, layers)
        whole = architecture(recipe)
        assert made.widths == {name: whole.widths[name] for name in made.widths}
        assert made.scales == whole.scales[: layers + 1]
        check_phases(cut, made)
        if layers == most:
            same = {"seed": 0, "model": recipe.model.model_copy(update={"detection_layers": most})}
            assert cut == recipe.model_copy(update=same)
    assert recipe.model_dump() == before


def test_no_phase_is_left() -> None:
    recipe = quickstart("compress.phases=[{layers: conv7-conv9_2}]")
    assert [p.layers for p in scale_recipe(recipe, 3, 0).compress.phases] == ["conv7-conv8_2"]
    for layers, last in ((1, "conv4_3"), (2, "conv7")):
        with pytest.raises(RecipeError, match=f"up to {last} no phase has a layer to prune"):
            scale_recipe(recipe, layers, 0)


def test_layer_counts() -> None:
    assert layer_counts(None, 4) == [1, 2, 3, 4]
    assert layer_counts("3", 4) == [3]
    assert layer_counts("4, 1,4", 4) == [4, 1]


# ---- a whole comparison --------------------------------------------------------------------------

RECIPE = {
    **TINY,
    "model": {**TINY["model"], "detection_layers": 2, "scales": [0.25, 0.64, 1.0]},
    "compress": {
        **TINY["compress"],
        "phases": [{"layers": "conv1_1-conv4_3"}, {"layers": "conv4_3-conv7"}],
        "select": {"keep_macs": 0.7, "min_filters": 1},
    },
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("pictures"), RECIPE)


@pytest.fixture(scope="module")
def compared(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a complete comparison."""
    folder: Path = tmp_path_factory.mktemp("scales") / "run"
    with pytest.raises(SystemExit) as end:
        main(["scales", str(recipe), "--seeds", "2", "--run", str(folder)])
    assert end.value.code == 0
    return folder


def json_of(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


@pytest.fixture
def result(compared: Path) -> dict[str, Any]:
    return json_of(compared / "scales.json")


def test_rows_are_what_the_runs_found(compared: Path, result: dict[str, Any]) -> None:
    assert (result["name"], result["metric"], result["split"]) == ("tiny", "AP50_area", "test")
    assert result["provenance"]["versions"]["torch"]
    assert result["recipe"]["model"]["detection_layers"] == 2
    rows = result["rows"]
    assert [(row["seed"], row["layers"]) for row in rows] == [(0, 1), (0, 2), (1, 1), (1, 2)]
    for row in rows:
        run = compared / f"k{row['layers']}/seed{row['seed']}"
        # 64 ÷ 8 and ÷ 16; 64·√(0.25 · 0.64) and 64·√(0.64 · 1).
        assert (row["cells"], row["box"]) == {1: (8, 25.6), 2: (4, 51.2)}[row["layers"]]
        summary = json_of(run / "summary.json")
        assert summary["seed"] == row["seed"]
        assert row["dense"] == summary["dense"]["metrics"]["AP50_area"]
        assert row["slim"] == summary["slim"]["metrics"]["AP50_area"]
        for role, prefix in (("dense", "dense_"), ("slim", "")):
            file = load_network(run / f"{role}.safetensors")
            assert file.architecture.detection_layers == row["layers"]
            params = sum(p.numel() for p in file.model.parameters())
            assert row[f"{prefix}params"] == params == summary[role]["params"]
            assert row[f"{prefix}macs"] == summary[role]["macs"]
        # The recipe's share refers to the detector's own MACs.
        assert row["macs"] <= 0.7 * row["dense_macs"]
        steps = json_of(run / "recipe.json")["compress"]["phases"]
        assert [phase["retrain"] for phase in steps] == (
            [{"steps": 6 + 4 + 6}] if row["layers"] == 1 else [{}, {}]
        )
    assert len({row["dense"] for row in rows}) > 2, "the runs differ"


def test_means_and_standard_errors(result: dict[str, Any]) -> None:
    assert [mean["layers"] for mean in result["means"]] == [1, 2]
    for mean in result["means"]:
        a, b = (row for row in result["rows"] if row["layers"] == mean["layers"])
        assert mean["seeds"] == 2
        for entry in ("cells", "box", "dense_params", "dense_macs"):
            assert mean[entry] == a[entry] == b[entry]
        for entry in ("params", "macs", "dense", "slim"):
            assert mean[entry] == pytest.approx((a[entry] + b[entry]) / 2)
        for entry in ("dense", "slim"):
            # Half of the difference, for two values.
            assert mean[f"{entry}_error"] == pytest.approx(abs(a[entry] - b[entry]) / 2)


def test_chart_has_a_curve_for_dense_and_slim(compared: Path) -> None:
    svg = (compared / "scales.svg").read_text("utf-8")
    assert svg.count('class="mark"') == 2
    assert all(f">{text}</text>" in svg for text in ("dense", "slim", "1", "2"))
    assert "AP50_area on test" in svg
    assert (compared / "scales.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_command_again_trains_nothing_and_prints_the_same(
    compared: Path, recipe: Path, secateur: Callable[..., Outcome], result: dict[str, Any]
) -> None:
    chart = (compared / "scales.svg").read_bytes()
    outcome = secateur("scales", recipe, "--seeds", "2", "--run", compared)
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert not [line for line in lines if re.fullmatch(STEP, line)], "a step was repeated"
    assert "== 1 of 4: 1 detection layer, seed 0" in lines
    assert any(line.startswith("== 4 of 4: 2 detection layers, seed 1 (") for line in lines)
    again = json_of(compared / "scales.json")
    for content in (again, result):
        del content["provenance"]["date"]
    assert again == result
    assert (compared / "scales.svg").read_bytes() == chart

    assert "by number of detection layers, on test:" in lines
    cells = [re.split(r"\s{2,}", line.strip()) for line in lines]
    for mean in result["means"]:
        assert [
            str(mean["layers"]),
            {1: "8", 2: "4"}[mean["layers"]],
            f"{mean['box']:.0f}",
            f"{mean['dense_params'] / 1e6:.3f}",
            f"{mean['params'] / 1e6:.3f}",
            f"{mean['macs'] / 1e9:.3f}",
            f"{mean['dense']:.2f} ± {mean['dense_error']:.2f}",
            f"{mean['slim']:.2f} ± {mean['slim_error']:.2f}",
        ] in cells
    assert lines[-1] == f"written: {compared / 'scales.json'}, with a chart in scales.svg"


def test_an_interrupted_comparison_resumes(
    compared: Path, recipe: Path, secateur: Callable[..., Outcome], tmp_path: Path
) -> None:
    folder = shutil.copytree(compared, tmp_path / "run")
    (folder / "scales.json").unlink()
    shutil.rmtree(folder / "k1/seed0")
    (folder / "k2/seed0/steps/phase2-retrain/step.json").unlink()
    outcome = secateur("scales", recipe, "--layers", "2", "--seeds", "1", "--run", folder)
    assert outcome.code == 0, outcome.err
    done = [line for line in outcome.out.splitlines() if re.fullmatch(STEP, line)]
    assert done == ["phase2-retrain"]
    again = json_of(folder / "scales.json")
    before = json_of(compared / "scales.json")
    assert again["rows"] == [
        row for row in before["rows"] if (row["layers"], row["seed"]) == (2, 0)
    ]
    # One seed has no standard error.
    (mean,) = again["means"]
    assert (mean["seeds"], mean["dense_error"], mean["slim_error"]) == (1, None, None)
    assert "±" not in outcome.out
    assert not (folder / "k1/seed0").exists()


def test_runs_can_be_reported(
    compared: Path,
    secateur: Callable[..., Outcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("secateur.report.report.write_figure", lambda *_: None)
    run = shutil.copytree(compared / "k1/seed1", tmp_path / "run")
    outcome = secateur("report", run)
    assert outcome.code == 0, outcome.err
    assert "Not finished" not in (run / "report.html").read_text("utf-8")


# ---- given weights -----------------------------------------------------------------------------


def test_given_weights_fill_the_kept_layers(
    compared: Path, recipe: Path, secateur: Callable[..., Outcome], tmp_path: Path
) -> None:
    weights = compared / "k2/seed0/dense.safetensors"
    changes = ("--set", f"model.weights={weights}", "--set", "train.lr=1e-12")
    options = ("--layers", "1", "--seeds", "1", "--run", tmp_path / "run")
    outcome = secateur("scales", recipe, *changes, *options)
    assert outcome.code == 0, outcome.err
    run = tmp_path / "run/k1/seed0"
    assert json_of(run / "steps/dense/step.json")["result"]["fresh"] == []
    given = load_network(weights).model.get_parameter("backbone.features.0.weight")
    started = load_network(run / "dense.safetensors").model
    torch.testing.assert_close(started.get_parameter("backbone.features.0.weight"), given)


# ---- errors --------------------------------------------------------------------------------------


def test_a_classifier_is_refused(secateur: Callable[..., Outcome], tmp_path: Path) -> None:
    recipe = FOLDER / "vgg_gtsrb_laptop.yaml"
    outcome = secateur("scales", recipe, "--run", tmp_path / "run")
    one_error(
        outcome, "vgg16 is a classifier and has no detection layers", "the recipe of a detector"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("text", ["", "two", "0", "3", "1,,2", "1-2", "1.5", "-1"])
def test_texts_that_are_no_numbers_of_layers(
    text: str, recipe: Path, secateur: Callable[..., Outcome], tmp_path: Path
) -> None:
    outcome = secateur("scales", recipe, "--layers", text, "--run", tmp_path / "run")
    one_error(outcome, repr(text), "from 1 to the recipe's 2, such as 1,2")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("compress.select={keep_params: 0.0001}", "cannot come down to"),
        ("compress.phases=[{layers: conv1_1-conv99}]", "the network has no layer 'conv99'"),
        ("compress.phases=[{layers: conv5_1-conv7}]", "no phase has a layer to prune"),
        ("model.scales=[0.1, 0.2]", "2 detection layers need 3 scales"),
    ],
)
def test_errors_show_before_anything_is_trained(
    change: str, words: str, recipe: Path, secateur: Callable[..., Outcome], tmp_path: Path
) -> None:
    outcome = secateur("scales", recipe, "--set", change, "--run", tmp_path / "run")
    assert outcome.code == 2
    assert words in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_no_seed(recipe: Path, secateur: Callable[..., Outcome]) -> None:
    assert secateur("scales", recipe, "--seeds", "0").code == 2


def test_boxes_are_those_of_torchvision(compared: Path, result: dict[str, Any]) -> None:
    for row in result["rows"]:
        model = load_network(compared / f"k{row['layers']}/seed0/dense.safetensors").model
        sides = model.anchor_generator._wh_pairs[row["layers"] - 1]  # type: ignore[union-attr]
        largest = max(math.sqrt(w * h) for w, h in sides.tolist())
        assert row["box"] == pytest.approx(64 * largest, abs=0.05)
