"""The benchmarks fit the package as it is; their figures are made by ``make bench``."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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
def test_each_takes_what_it_measures_as_it_is_now(
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
