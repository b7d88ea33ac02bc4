"""A whole comparison by the real command, on a few drawn pictures."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from commands import Outcome, one_error
from secateur.cli.console import ConsoleReporter, open_console
from secateur.cli.main import main
from secateur.config.recipe import load_recipe
from secateur.models.network import example_input, raw_network
from secateur.models.network_file import load_network
from secateur.pruning.baselines.torch_pruning import group_norm
from secateur.pruning.criteria.importance import Scored
from secateur.run.context import open_run
from secateur.run.phases import network_groups
from secateur.run.pipeline import run_phases
from secateur.run.stage import Step
from tiny_recipe import STEP, TINY, write_recipe

METHODS = ["ours", "taylor", "scratch"]
BUDGETS = [0.6, 0.4]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("pictures"), TINY)


def arguments(recipe: Path, folder: Path) -> list[str]:
    options = ["--criteria", ",".join(METHODS), "--keep-macs", "0.6,0.4", "--seeds", "2"]
    return ["compare", str(recipe), *options, "--run", str(folder)]


@pytest.fixture(scope="module")
def compared(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a complete comparison."""
    folder: Path = tmp_path_factory.mktemp("compared") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("secateur.pruning.phase.LOSS_BATCHES", 2)
        with pytest.raises(SystemExit) as end:
            main(arguments(recipe, folder))
    assert end.value.code == 0
    return folder


def json_of(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


def step(folder: Path, name: str) -> dict[str, Any]:
    return json_of(folder / f"steps/{name}/step.json")


@pytest.fixture
def result(compared: Path) -> dict[str, Any]:
    return json_of(compared / "comparison.json")


def test_rows_are_what_the_runs_found(compared: Path, result: dict[str, Any]) -> None:
    rows = result["rows"]
    assert [(row["seed"], row["method"], row["keep_macs"]) for row in rows] == [
        (seed, method, keep) for seed in (0, 1) for method in METHODS for keep in BUDGETS
    ]
    assert (result["name"], result["metric"], result["split"]) == ("tiny", "AP50_area", "test")
    assert list(result["about"]) == METHODS
    assert all(result["about"].values())
    for row in rows:
        run = compared / f"seed{row['seed']}" / row["method"] / f"keep{row['keep_macs']:g}"
        dense = step(compared / f"seed{row['seed']}/ours/keep0.6", "evaluate-dense")["result"]
        assert row["dense"] == dense["metrics"]["AP50_area"]
        assert row["macs"] <= row["keep_macs"] * dense["macs"]
        if row["method"] == "scratch":
            slim = step(run, "evaluate-dense")["result"]
            assert row["removed"] is None
            assert row["validation"] == step(run, "dense")["result"]["metrics"]["AP50_area"]
        else:
            slim = step(run, "evaluate-slim")["result"]
            for entry, name in (("removed", "phase1-remove"), ("validation", "phase1-retrain")):
                assert row[entry] == step(run, name)["result"]["metrics"]["AP50_area"]
            network = load_network(run / "slim.safetensors").model
            assert row["params"] == sum(p.numel() for p in network.parameters())
        assert (row["params"], row["macs"]) == (slim["params"], slim["macs"])
        assert row["test"] == slim["metrics"]["AP50_area"]
    # The runs differ.
    assert len({row["dense"] for row in rows}) == 2
    assert len({row["test"] for row in rows}) > 4


def test_scratch_has_the_widths_of_ours_and_as_many_images(compared: Path) -> None:
    for seed in (0, 1):
        for keep in BUDGETS:
            ours, scratch = (
                compared / f"seed{seed}/{method}/keep{keep:g}" for method in ("ours", "scratch")
            )
            filters = step(ours, "evaluate-slim")["result"]["filters"]
            assert step(scratch, "evaluate-dense")["result"]["filters"] == filters
            recipe = json_of(scratch / "recipe.json")
            assert recipe["train"]["steps"] == 16 + 4 + 6
            assert recipe["seed"] == seed


def test_means_and_standard_errors(result: dict[str, Any]) -> None:
    assert [(mean["method"], mean["keep_macs"]) for mean in result["means"]] == [
        (method, keep) for method in METHODS for keep in BUDGETS
    ]
    for mean in result["means"]:
        of_seeds = [
            row
            for row in result["rows"]
            if (row["method"], row["keep_macs"]) == (mean["method"], mean["keep_macs"])
        ]
        assert mean["seeds"] == len(of_seeds) == 2
        for name in ("validation", "test"):
            a, b = (row[name] for row in of_seeds)
            assert mean[name] == pytest.approx((a + b) / 2)
            # √(((a - m)² + (b - m)²) / (2 - 1)) / √2 is half of the difference.
            assert mean[f"{name}_error"] == pytest.approx(abs(a - b) / 2)
        removed = [row["removed"] for row in of_seeds]
        if mean["method"] == "scratch":
            assert mean["removed"] is None
        else:
            assert mean["removed"] == pytest.approx(sum(removed) / 2)


def test_each_seed_has_one_dense_network(compared: Path) -> None:
    pool = [path.name for path in (compared / "pool").iterdir()]
    assert not any(name.startswith(".") for name in pool), "no draft is left"
    assert len([name for name in pool if name.startswith("dense-")]) == 2
    assert len([name for name in pool if name.startswith("evaluate-dense-")]) == 2
    # The sparsifying training and its threshold do not depend on the budget; the others do.
    for name, count in (("sparsify", 2), ("threshold", 2), ("remove", 8), ("retrain", 8)):
        assert len([n for n in pool if n.startswith(f"phase1-{name}-")]) == count
    for seed in (0, 1):
        files = [
            compared / f"seed{seed}/{method}/keep{keep:g}/steps/dense/network.safetensors"
            for method in ("ours", "taylor")
            for keep in BUDGETS
        ]
        assert len({path.read_bytes() for path in files}) == 1
        assert all(path.samefile(files[0]) for path in files)


def test_baselines_skip_steps_that_they_do_not_need(compared: Path) -> None:
    trail = json_of(compared / "seed0/taylor/keep0.4/steps.json")["steps"]
    assert trail == [
        "dense",
        "phase1-remove",
        "phase1-retrain",
        "evaluate-dense",
        "evaluate-slim",
        "examples",
    ]
    summary = json_of(compared / "seed0/taylor/keep0.4/summary.json")
    (phase,) = summary["phases"]
    assert (phase["criterion"], phase["penalty"], phase["zeros"], phase["threshold"]) == (
        *("taylor", None, None, None),
    )
    assert phase["metrics"]["sparsified"] is phase["metrics"]["thresholded"] is None
    assert summary["recipe"]["compress"]["phases"][0]["retrain"] == {"steps": 4 + 6}


@pytest.mark.parametrize("method", ["taylor", "scratch"])
def test_runs_can_be_reported(
    compared: Path,
    method: str,
    secateur: Callable[..., Outcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("secateur.report.report.write_figure", lambda *_: None)
    run = shutil.copytree(compared / f"seed1/{method}/keep0.4", tmp_path / "run")
    outcome = secateur("report", run)
    assert outcome.code == 0, outcome.err
    page = (run / "report.html").read_text("utf-8")
    assert ("Not finished" in page) == (method == "scratch")


def test_a_comparison_is_not_a_run_but_its_runs_have_one_report(
    compared: Path, secateur: Callable[..., Outcome], tmp_path: Path
) -> None:
    one_error(secateur("report", compared), "is not a run", f"such as {compared / 'seed0'}")
    copy = shutil.copytree(compared / "seed0", tmp_path / "seed0")
    several = secateur("report", copy / "ours/keep0.4", copy / "taylor/keep0.4")
    assert several.code == 0, several.err
    assert (copy / "report.html").is_file()


def test_chart_has_a_curve_for_each_method(compared: Path) -> None:
    svg = (compared / "comparison.svg").read_text("utf-8")
    assert svg.count('class="mark"') == len(METHODS)
    assert all(f">{name}</text>" in svg for name in (*METHODS, "dense"))
    assert "AP50_area on test" in svg
    assert (compared / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_command_again_trains_nothing_and_prints_the_same(
    compared: Path, recipe: Path, secateur: Callable[..., Outcome], result: dict[str, Any]
) -> None:
    chart = (compared / "comparison.svg").read_bytes()
    outcome = secateur(*arguments(recipe, compared))
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert not [line for line in lines if re.fullmatch(STEP, line)], "a step was repeated"
    assert len([line for line in lines if re.fullmatch(f"{STEP}: found", line)]) == 2 * 2 * (
        8 + 6 + 2
    )
    assert "== 1 of 12: ours, 60% of the MACs, seed 0" in lines
    last = r"== 12 of 12: scratch, 40% of the MACs, seed 1 \([\d:]+ spent, about [\d:]+ left\)"
    assert [line for line in lines if re.fullmatch(last, line)]
    again = json_of(compared / "comparison.json")
    for content in (again, result):
        del content["provenance"]["date"]
    assert again == result
    assert (compared / "comparison.svg").read_bytes() == chart

    cells = [re.split(r"\s{2,}", line.strip()) for line in lines]
    assert ["AP50_area on test", "60% of MACs", "40% of MACs"] in cells
    means = {(mean["method"], mean["keep_macs"]): mean for mean in result["means"]}
    for method in METHODS:
        own = [means[method, keep] for keep in BUDGETS]
        assert [method, *(f"{m['test']:.2f} ± {m['test_error']:.2f}" for m in own)] in cells
    dense = fmean({row["seed"]: row["dense"] for row in result["rows"]}.values())
    assert ["dense", f"{dense:.2f}", f"{dense:.2f}"] in cells
    assert lines[-1] == f"written: {compared / 'comparison.json'}, with a chart in comparison.svg"


def test_an_interrupted_comparison_resumes(
    compared: Path, recipe: Path, secateur: Callable[..., Outcome], tmp_path: Path
) -> None:
    folder = shutil.copytree(compared, tmp_path / "run")
    (folder / "comparison.json").unlink()
    # One run is missing, with the step that it shares with no other run.
    kept = step(compared / "seed0/taylor/keep0.4", "phase1-retrain")
    shutil.rmtree(folder / "seed0/taylor/keep0.4")
    shutil.rmtree(folder / f"pool/phase1-retrain-{kept['result_key']}")
    # Another one was interrupted in a step.
    (folder / "seed0/scratch/keep0.4/steps/dense/step.json").unlink()
    options = ("--keep-macs", "0.4", "--seeds", "1", "--run", folder)
    outcome = secateur("compare", recipe, "--criteria", "scratch,taylor", *options)
    assert outcome.code == 0, outcome.err
    done = [line for line in outcome.out.splitlines() if re.fullmatch(STEP, line)]
    assert done == ["phase1-retrain", "dense"]
    again, before = (json_of(root / "comparison.json") for root in (folder, compared))
    # scratch takes the widths of ours, which is therefore added.
    assert again["rows"] == [
        row for row in before["rows"] if (row["seed"], row["keep_macs"]) == (0, 0.4)
    ]
    assert [mean["method"] for mean in again["means"]] == METHODS
    networks = (root / "seed0/taylor/keep0.4/slim.safetensors" for root in (folder, compared))
    assert len({path.read_bytes() for path in networks}) == 1
    # One seed has no standard error.
    for mean in again["means"]:
        assert mean["seeds"] == 1
        assert mean["validation_error"] is mean["test_error"] is None
    assert "±" not in outcome.out
    assert "one seed: small differences may be noise" in outcome.out
    assert (folder / "comparison.svg").read_text("utf-8").count('class="mark"') == len(METHODS)


# ---- Torch-Pruning, a baseline that sparsifies ---------------------------------------------------


def test_torch_prunings_pruner(
    recipe: Path, secateur: Callable[..., Outcome], tmp_path: Path
) -> None:
    options = ("--criteria", "group_norm", "--keep-macs", "0.5", "--seeds", "1")
    outcome = secateur("compare", recipe, *options, "--run", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    assert outcome.err == ""
    (row,) = json_of(tmp_path / "run/comparison.json")["rows"]
    run = tmp_path / "run/seed0/group_norm/keep0.5"
    dense = step(run, "evaluate-dense")["result"]
    assert row["macs"] <= 0.5 * dense["macs"]
    versions = json_of(tmp_path / "run/comparison.json")["provenance"]["versions"]
    assert versions["torch-pruning"]
    # It trains with its penalty, has no threshold and retrains no longer.
    assert json_of(run / "steps.json")["steps"] == [
        "dense",
        "phase1-sparsify",
        "phase1-remove",
        "phase1-retrain",
        "evaluate-dense",
        "evaluate-slim",
        "examples",
    ]
    (phase,) = json_of(run / "summary.json")["phases"]
    assert (phase["penalty"], phase["strength"]) == ("group_norm", 5e-3)
    assert phase["slim_minus_masked"] < 1e-5
    # The removed channels come first in its order on the sparsified network.
    file = load_network(run / "steps/phase1-sparsify/network.safetensors")
    raw = raw_network(file.model)
    graph = network_groups(file.model, file.architecture)
    selection = step(run, "phase1-remove")["result"]["selection"]
    order = group_norm(Scored(raw, graph, list(selection), example_input(file.architecture)))
    kept = {order[name][i].item() for name, group in selection.items() for i in group["kept"]}
    removed = {place for each in order.values() for place in each.tolist()} - kept
    assert max(removed) < min(kept)


def test_torch_prunings_penalty_shrinks_weights(recipe: Path, tmp_path: Path) -> None:
    class Sparsified(Exception):  # noqa: N818 # not an error
        pass

    def stop(step: Step) -> None:
        assert step.folder.name == "phase1-sparsify"
        raise Sparsified

    squares = []
    for strength in ("5e-4", "5.0"):
        entries = "{penalty: group_norm, weight_decay: 0, steps: 4, batch_size: 4, strength: "
        select = "{keep_macs: 0.9, min_filters: 1, criterion: group_norm}"
        changes = [f"compress.sparsify={entries}{strength}}}", f"compress.select={select}"]
        folder, reporter = tmp_path / strength, ConsoleReporter(open_console())
        run = open_run(load_recipe(recipe, changes), folder, reporter, tmp_path / "pool")
        with pytest.raises(Sparsified):
            run_phases(run, stop)
        network = load_network(folder / "steps/phase1-sparsify/network.safetensors").model
        squares.append(sum(p.square().sum().item() for p in network.parameters()))
    assert squares[1] < squares[0]


def test_without_torch_pruning(
    recipe: Path,
    secateur: Callable[..., Outcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr("secateur.files.optional.importlib.import_module", missing)
    options = ("--criteria", "ours,group_norm", "--run", tmp_path / "run")
    one_error(secateur("compare", recipe, *options), "torch_pruning", "'secateur[dev]'")
    assert not (tmp_path / "run").exists(), "nothing was trained"


# ---- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "half", "0.5,", "0", "1", "-0.3", "0.5,1.2", "nan", "50"])
def test_texts_that_are_no_shares(
    text: str, recipe: Path, secateur: Callable[..., Outcome], tmp_path: Path
) -> None:
    outcome = secateur("compare", recipe, "--keep-macs", text, "--run", tmp_path / "run")
    one_error(outcome, repr(text), "give shares between 0 and 1")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("names", ["ours,l3", "", "l3", "ours,,l1"])
def test_names_that_are_no_methods(
    names: str, recipe: Path, secateur: Callable[..., Outcome], tmp_path: Path
) -> None:
    outcome = secateur("compare", recipe, "--criteria", names, "--run", tmp_path / "run")
    one_error(outcome, "unknown method 'l3'" if "l3" in names else "unknown method ''", "taylor")
    assert not (tmp_path / "run").exists()


def test_budget_out_of_reach(
    recipe: Path, secateur: Callable[..., Outcome], tmp_path: Path
) -> None:
    outcome = secateur(
        "compare", recipe, "--criteria", "l1", "--keep-macs", "0.0001", "--run", tmp_path / "run"
    )
    assert outcome.code == 2
    assert outcome.err.startswith("error: phase 1 cannot come down to ")
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "run/pool").exists(), "nothing was trained"


def test_no_seed(recipe: Path, secateur: Callable[..., Outcome]) -> None:
    assert secateur("compare", recipe, "--seeds", "0").code == 2
