"""The benchmarks fit the package; ``make bench`` makes their results."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from secateur.run.records import PhaseSummary, Summary

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize("name", sorted(path.stem for path in BENCHMARKS.glob("*.py")))
def test_each_can_be_imported(name: str, benchmark_module: Callable[[str], Any]) -> None:
    benchmark_module(name)


@pytest.mark.parametrize(
    ("name", "options", "small"),
    [
        ("data_speed", ["--rounds", "1", "--batches", "1"], {"DRAWN": 8, "BATCH": 4}),
        ("evaluation_speed", ["--rounds", "1", "--pictures", "20"], {}),
    ],
)
def test_the_cheap_ones_run(
    name: str,
    options: list[str],
    small: dict[str, int],
    benchmark_module: Callable[[str], Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    module = benchmark_module(name)
    for constant, value in small.items():
        monkeypatch.setattr(module, constant, value)
    out = tmp_path / "result.json"
    monkeypatch.setattr(sys, "argv", [name, *options, "--out", str(out)])
    module.main()
    assert json.loads(out.read_text("utf-8"))["checks"]


def test_a_network_is_cut_verified_and_loaded_back(
    benchmark_module: Callable[[str], Any],
) -> None:
    row = benchmark_module("networks").try_network("torchvision/squeezenet1_1")
    assert row["status"] == "verified"
    assert row["back_difference"] == 0
    assert row["left"]["params"] < 0.5 * row["params"]


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (lambda _name: os._exit(3), "died: 3"),
        (lambda _name: signal.pause(), "took longer than 0.2 s"),
        (lambda _name: 1 // 0, "ZeroDivisionError: integer division or modulo by zero"),
    ],
    ids=["crash", "hang", "error"],
)
def test_a_network_that_ends_badly_is_a_row(
    end: Callable[[str], Any],
    message: str,
    benchmark_module: Callable[[str], Any],
    tmp_path: Path,
) -> None:
    row = benchmark_module("networks").apart(end, "a/b", tmp_path / "log", 0.2)
    assert (row["network"], row["status"], row["message"]) == ("a/b", "failed", message)


@pytest.mark.parametrize(
    ("name", "at_target", "above"),
    [("at_least", True, True), ("at_most", True, False), ("equal", True, False)],
)
def test_checks_are_met_as_their_names_say(
    name: str, at_target: bool, above: bool, benchmark_module: Callable[[str], Any]
) -> None:
    check = getattr(benchmark_module("checks"), name)
    assert check("times", 2.0, 2.0)["met"] is at_target
    assert check("times", 3.0, 2.0) == {"name": "times", "value": 3.0, "target": 2.0, "met": above}
    assert check("times", 1.0, 2.0)["met"] is (name == "at_most")


def test_a_results_file_has_counts_and_metrics_directly_in_each_network(
    benchmark_module: Callable[[str], Any],
) -> None:
    recipes = benchmark_module("shipped_recipe")
    network = {"params": 100, "macs": 1000, "bytes": 400, "input": [3, 64, 64]}
    phase = dict.fromkeys(PhaseSummary.model_fields) | {
        **{"layers": "a-b", "criterion": "sparsity", "round_to": 1, "slim_minus_masked": 1e-7},
        **{"filters_before": {"a": 8}, "filters_after": {"a": 2}, "metrics": {}, "attempts": []},
    }
    summary = Summary.model_validate(
        {
            **{"name": "x", "metric": "AP", "split": "test", "seed": 0, "recipe": {}},
            "dense": {**network, "network": "dense", "metrics": {"AP": 90.0}, "filters": {"a": 8}},
            "slim": {
                **{**network, "params": 10, "macs": 200, "network": "slim"},
                **{"metrics": {"AP": 89.5}, "filters": {"a": 2}},
            },
            "phases": [phase],
            "provenance": {"versions": {}, "machine": {}, "date": "today"},
            "seconds": {},
        }
    )
    content = recipes.flattened(summary)
    assert content["dense"] == {**network, "AP": 90.0, "widths": {"a": 8}}
    assert (content["slim"]["AP"], content["slim"]["widths"]) == (89.5, {"a": 2})
    assert (content["name"], content["phases"][0]["layers"]) == ("x", "a-b")
    found = recipes.checks(summary, {"params": 10, "macs": 6, "lost": 0.5, "dense": 90.5})
    assert [(each["value"], each["met"]) for each in found] == [
        (10.0, True),
        (5.0, False),
        (0.5, True),
        (90.0, False),
        (1e-7, True),
    ]
