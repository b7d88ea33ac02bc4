"""The tables that commands print."""

import io
import re

import pytest
from rich.console import Console

from secateur.cli.compare import comparison_table, show_comparison
from secateur.cli.compress import show_duration, summary_table
from secateur.cli.console import open_console
from secateur.cli.evaluate import evaluation_tables
from secateur.cli.scales import show_scales
from secateur.experiments.compare import Comparison, Mean, Row
from secateur.experiments.scales import ScaleMean, Scales
from secateur.inference.evaluate import Evaluation
from secateur.run.duration import Duration
from secateur.run.records import EvaluationRecord, Provenance, Summary


def evaluation(network: str, params: int, macs: int, **metrics: float | None) -> EvaluationRecord:
    return EvaluationRecord.model_validate(
        {
            "network": network,
            "params": params,
            "macs": macs,
            "bytes": 4 * params + 100,
            "metrics": metrics,
            "filters": {"conv1_1": 4},
            "input": (3, 64, 64),
        }
    )


def test_summary_shows_ratios_and_differences(capsys: pytest.CaptureFixture[str]) -> None:
    summary = Summary(
        name="a",
        metric="AP50_area",
        split="test",
        dense=evaluation("dense", 1000, 9000, AP50_area=70.0, AP_coco=None, top1=41.0),
        slim=evaluation("slim", 250, 3000, AP50_area=69.5, AP_coco=3.0, top1=43.25),
        phases=[],
        seed=0,
        recipe={},
        provenance=Provenance(versions={}, machine={}, date="2026-01-01"),
        seconds={},
    )
    open_console().print(summary_table(summary))
    lines = capsys.readouterr().out.splitlines()
    cells = [re.split(r"\s{2,}", line.strip()) for line in lines if line.strip()]
    assert cells[0] == ["dense", "slim"]
    assert cells[2:] == [
        ["parameters", "1,000", "250", "4.00 times fewer"],
        ["MACs", "9,000", "3,000", "3.00 times fewer"],
        ["bytes of the file", "4,100", "1,100", "3.73 times fewer"],
        ["AP50_area", "70.00", "69.50", "-0.50"],
        ["AP_coco", "-", "3.00", "-"],
        ["top1", "41.00", "43.25", "+2.25"],
    ]


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (Duration("cpu", 0.0, (50.0,)), "training on cpu: at most 50 seconds for phase 1, less"),
        (
            Duration("2 GPUs", 7300.0, (119.0, 120.0, 200_000.0)),
            "training on 2 GPUs: about 2 hours for the dense network, then at most 119 seconds for "
            "phase 1, 2 minutes for phase 2 and 2 days for phase 3, less",
        ),
    ],
)
def test_duration_in_words(
    duration: Duration, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    show_duration(open_console(), duration)
    assert capsys.readouterr().out.startswith(text)


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


def test_comparison_has_a_row_for_each_method(capsys: pytest.CaptureFixture[str]) -> None:
    means = [
        Mean("ours", 0.5, 3, 70.0, 81.0, 0.1, 80.125, 0.25),
        Mean("ours", 0.15, 3, 60.0, 71.0, 0.1, 70.0, None),
        Mean("scratch", 0.5, 3, None, 61.0, 0.1, 60.0, 1.5),
        Mean("scratch", 0.15, 3, None, 51.0, 0.1, 50.0, 12.0),
    ]
    rows = [
        Row(method, keep, seed, 10, 20, dense, None, 1.0, 1.0)
        for seed, dense in ((0, 90.0), (1, 91.0))
        for method in ("ours", "scratch")
        for keep in (0.5, 0.15)
    ]
    open_console().print(comparison_table(Comparison("top1", "test", rows, means)))
    lines = [re.split(r"\s{2,}", line.strip()) for line in capsys.readouterr().out.splitlines()]
    assert ["top1 on test", "50% of MACs", "15% of MACs"] in lines
    assert ["dense", "90.50", "90.50"] in lines
    assert ["ours", "80.12 ± 0.25", "70.00"] in lines
    assert ["scratch", "60.00 ± 1.50", "50.00 ± 12.00"] in lines


@pytest.mark.parametrize(
    ("seeds", "dense", "remarks"),
    [
        (3, 90.0, []),
        (1, 90.0, ["one seed: small differences may be noise; --seeds 3 shows how large that is"]),
        (
            3,
            0.5,
            ["the dense network's accuracy is too low for the comparison to mean anything"],
        ),
    ],
)
def test_comparison_says_what_limits_its_meaning(
    seeds: int, dense: float, remarks: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [Row("ours", 0.5, seed, 10, 20, dense, None, 1.0, 1.0) for seed in range(seeds)]
    mean = Mean("ours", 0.5, seeds, None, 1.0, None, 1.0, None)
    show_comparison(open_console(), Comparison("top1", "test", rows, [mean]))
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[4:] == remarks


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
