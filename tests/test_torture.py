"""The short form of ``make torture``."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

QUICK = ("second_process",)


def test_killed_and_stopped_runs_end_like_an_uninterrupted_one(
    benchmark_module: Callable[[str], Any], tmp_path: Path
) -> None:
    torture = benchmark_module("torture")
    result = torture.torture(tmp_path, kills=2, stops=1) | {"faults": []}
    wrong = [check["name"] for check in torture.checks(result, 2, 1) if not check["met"]]
    assert not wrong, result


def test_faults_end_as_expected(
    benchmark_module: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = benchmark_module("faults")
    quick = {fault: code for fault, code in faults.FAULTS.items() if fault.__name__ in QUICK}
    assert len(quick) == len(QUICK)
    monkeypatch.setattr(faults, "FAULTS", quick)
    rows = faults.try_faults(tmp_path)
    assert len(rows) == len(QUICK)
    assert [row for row in rows if not row["as_promised"]] == []
