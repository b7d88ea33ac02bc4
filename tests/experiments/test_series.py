"""What all series of runs share: lines before each run, groups, standard errors."""

import math

import pytest

from secateur.experiments import series
from secateur.experiments.series import announced, grouped, standard_error, time_left


class Lines:
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def test_the_last_runs_predict_the_time_left() -> None:
    assert time_left([100.0], 5) == ""
    assert time_left([100.0, 160.0], 5) == " (0:01:00 spent, about 0:04:00 left)"
    # The first run took 1,000 s, the next three 20 s each; two runs are left.
    starts = [0.0, 1000.0, 1020.0, 1040.0, 1060.0]
    assert time_left(starts, 6) == " (0:17:40 spent, about 0:00:40 left)"
    assert time_left([0.0, 3600.0], 2) == " (1:00:00 spent, about 1:00:00 left)"
    assert time_left([0.0, 0.2], 1000) == " (0:00:00 spent, about 0:03:20 left)"


def test_each_run_is_announced_when_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 50.0
    monkeypatch.setattr(series.time, "monotonic", lambda: now)
    lines = Lines()
    runs = [("a, seed 0", 7), ("b, seed 0", 8), ("a, seed 1", 9)]
    found = []
    for run, seconds in zip(announced(runs, lines), (60, 30, 10), strict=True):  # type: ignore[arg-type]
        found.append(run)
        assert len(lines.said) == len(found), "a run is announced before it starts"
        now += seconds
    assert found == [7, 8, 9]
    assert lines.said == [
        "== 1 of 3: a, seed 0",
        "== 2 of 3: b, seed 0 (0:01:00 spent, about 0:02:00 left)",
        "== 3 of 3: a, seed 1 (0:01:30 spent, about 0:00:45 left)",
    ]


def test_groups_keep_the_order_of_first_appearance() -> None:
    assert grouped(["b1", "a1", "b2"], lambda row: row[0]) == {"b": ["b1", "b2"], "a": ["a1"]}
    assert list(grouped(["b1", "a1", "b2"], lambda row: row[0])) == ["b", "a"]


def test_standard_error() -> None:
    assert standard_error([3.0]) is None
    assert standard_error([1.0, 5.0]) == pytest.approx(2.0)
    # Deviations -2, 0, 0, 2: variance 8 ÷ 3.
    assert standard_error([1.0, 3.0, 3.0, 5.0]) == pytest.approx(math.sqrt(8 / 3) / 2)
