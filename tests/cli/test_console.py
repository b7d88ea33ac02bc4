import io
import re
import time

import pytest
from rich.console import Console

from secateur.cli.console import (
    ConsoleReporter,
    comparison_table,
    evaluation_tables,
    open_console,
    show_scales,
    summary_table,
)
from secateur.experiments.compare import Comparison, Mean, Row
from secateur.experiments.scales import ScaleMean, Scales
from secateur.inference.evaluate import Evaluation


def test_without_a_terminal_a_bar_is_a_few_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100, 1000, 4))  # each call 4 seconds after the one before
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(ConsoleReporter, "patience", 10.0)
    out = io.StringIO()
    reporter = ConsoleReporter(Console(file=out, width=1000))
    with reporter.bar("a [b] :c:", 100) as advance:
        for _ in range(20):
            advance(5, "loss [1.5]")
    lines = out.getvalue().splitlines()
    # A step of 5 takes 4 seconds; a line comes once 10 seconds and a tenth have gone by.
    assert lines[0] == ("a [b] :c:: 15%, 15 of 100, 0:00:12 gone, 0:01:08 left, loss [1.5]")
    shares = ["15%,", "30%,", "45%,", "60%,", "75%,", "90%,", "100%,"]
    assert [line.split()[3] for line in lines] == shares


def test_what_was_done_before_is_not_of_this_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(ConsoleReporter, "patience", 10.0)
    out = io.StringIO()
    with ConsoleReporter(Console(file=out, width=1000)).bar("dense", 100, 50) as advance:
        advance(10)
    # 10 in 20 seconds, and 40 more to do.
    assert out.getvalue() == "dense: 60%, 60 of 100, 0:00:20 gone, 0:01:20 left\n"


def test_short_work_leaves_no_line() -> None:
    out = io.StringIO()
    with ConsoleReporter(Console(file=out)).bar("quick", 3) as advance:
        for _ in range(3):
            advance()
    assert out.getvalue() == ""


def test_in_a_terminal_there_is_a_bar() -> None:
    out = io.StringIO()
    reporter = ConsoleReporter(Console(file=out, force_terminal=True, width=120))
    with reporter.bar("dense", 2) as advance:
        advance(1, "loss [1.5]")
        reporter.say("a [line] :dog:")
        advance(1, "loss [1.25]")
    assert "a [line] :dog:" in out.getvalue()
    assert "loss [1.25]" in out.getvalue()
    assert "100%" in out.getvalue()


def test_long_lines_stay_whole(capsys: pytest.CaptureFixture[str]) -> None:
    ConsoleReporter(open_console()).say("x" * 5000)
    assert capsys.readouterr().out == "x" * 5000 + "\n"


def test_summary_tells_ratios_and_differences(capsys: pytest.CaptureFixture[str]) -> None:
    summary = {
        "dense": {"params": 1000, "macs": 9000, "bytes": 4100, "AP50_area": 70.0, "widths": {}},
        "slim": {"params": 250, "macs": 3000, "bytes": 1025, "AP50_area": 69.5, "widths": {}},
    }
    open_console().print(summary_table(summary))
    cells = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["parameters", "1,000", "250", "4.00", "times", "fewer"] in cells
    assert ["MACs", "9,000", "3,000", "3.00", "times", "fewer"] in cells
    assert ["AP50_area", "70.00", "69.50", "-0.50"] in cells


def test_class_table_shows_what_could_not_be_measured(capsys: pytest.CaptureFixture[str]) -> None:
    by_class = {
        "[dog]": {"objects": 3, "AP50_area": 50.0, "AP50_voc07": 51.25},
        "cat": {"objects": 0, "AP50_area": None, "AP50_voc07": None},
    }
    for table in evaluation_tables(Evaluation("test", 2, {"AP_coco": None}, by_class)):
        open_console().print(table)
    cells = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["AP_coco", "-"] in cells
    assert ["[dog]", "3", "50.00", "51.25"] in cells
    assert ["cat", "0", "-", "-"] in cells


def test_comparison_has_a_row_for_each_way(capsys: pytest.CaptureFixture[str]) -> None:
    means = [
        Mean("ours", 0.5, 3, 70.0, 81.0, 0.1, 80.125, 0.25),
        Mean("ours", 0.15, 3, 60.0, 71.0, 0.1, 70.0, None),
        Mean("scratch", 0.5, 3, None, 61.0, 0.1, 60.0, 1.5),
        Mean("scratch", 0.15, 3, None, 51.0, 0.1, 50.0, 12.0),
    ]
    rows = [
        Row(way, keep, seed, 10, 20, dense, None, 1.0, 1.0)
        for seed, dense in ((0, 90.0), (1, 91.0))
        for way in ("ours", "scratch")
        for keep in (0.5, 0.15)
    ]
    open_console().print(comparison_table(Comparison("top1", "test", rows, means)))
    lines = [re.split(r"\s{2,}", line.strip()) for line in capsys.readouterr().out.splitlines()]
    assert ["top1 on test", "50% of MACs", "15% of MACs"] in lines
    assert ["dense", "90.50", "90.50"] in lines
    assert ["ours", "80.12 ± 0.25", "70.00"] in lines
    assert ["scratch", "60.00 ± 1.50", "50.00 ± 12.00"] in lines


SSD300 = Scales(
    "AP50_voc07",
    "test",
    [],
    [
        ScaleMean(1, 1, 38, 30.7, 5_500_000, 2 * 10**10, 2_695_539.0, 1.2e10, 25.6, None, 24, None),
        ScaleMean(6, 3, 1, 286.7, 26_285_486, 31 * 10**9, 3926774.5, 14e9, 77.16, 0.1, 75.07, 12.5),
    ],
)


def test_scales_have_a_row_for_each_number_of_layers() -> None:
    out = io.StringIO()
    show_scales(Console(file=out, width=100), SSD300)
    lines = [re.split(r"\s{2,}", line.strip()) for line in out.getvalue().splitlines()]
    assert lines[0] == ["by number of detection layers, on test:"]
    assert ["last", "largest", "dense", "slim", "slim", "dense", "slim"] in lines
    assert ["1", "38", "31", "5.500", "2.696", "12.000", "25.60", "24.00"] in lines
    last = ["6", "1", "287", "26.285", "3.927", "14.000", "77.16 ± 0.10", "75.07 ± 12.50"]
    assert last in lines


def test_scales_fit_a_terminal() -> None:
    out = io.StringIO()
    show_scales(Console(file=out, width=80), SSD300)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    (row,) = (line for line in lines if line.startswith(" 6"))
    assert re.split(r"\s{2,}", row.strip())[-2:] == ["77.16 ± 0.10", "75.07 ± 12.50"]
