"""Reports without a browser: what they read, what they write, and what they refuse."""

import base64
import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_runs import (
    DETECTOR,
    METRICS,
    PHASES,
    THRESHOLD,
    MadeRun,
    parameters,
)
from safetensors.numpy import load_file
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from commands import Outcome, one_error
from secateur.benchmark.benchmark import Benchmark, Measurement
from secateur.benchmark.timing import Times
from secateur.models.network import layer_widths, layers
from secateur.models.network_file import load_network
from secateur.report.charts.theme import write_figure
from secateur.report.comparison import comparison_page
from secateur.report.figures import draw_charts
from secateur.report.headline import Cost, headline, latencies
from secateur.report.layer_counts import count_layers
from secateur.report.markdown import escaped
from secateur.report.run_record import read_run
from secateur.report.table import Cell, Table
from secateur.report.weights import BINS, non_zeros, weight_histograms
from secateur.run.records import StageList, read_record, write_record

Run = Callable[..., Outcome]
Copy = Callable[[Path], Path]


def words(page: str) -> str:
    """A page's text, without its drawings."""
    return re.sub(r"<(script|style|svg).*?</\1>|<[^>]+>", " ", page, flags=re.DOTALL)


@pytest.fixture(autouse=True)
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the files of the charts, which take long; one test restores them."""
    monkeypatch.setattr("secateur.report.report.write_figure", lambda *_: None)


def test_every_chart_is_drawn(detector_run: Path, classifier_run: Path) -> None:
    charts = {chart.key: chart for chart in draw_charts(*_read(detector_run))}
    phases = PHASES["detection"]
    assert set(charts) == {
        *("headline", "filters", "accuracy", "nonzeros", "class-accuracy"),
        *("precision-recall-000", "precision-recall-001", "training-dense"),
        *(f"training-phase{n}-{kind}" for n in (1, 2) for kind in ("sparsify", "retrain")),
        *(f"threshold-phase{n}" for n in (1, 2)),
        *(f"weights-phase{n}-{layer}" for n, (all_, _) in enumerate(phases, 1) for layer in all_),
        *(f"selection-phase{n}-{layer}" for n, (_, cut) in enumerate(phases, 1) for layer in cut),
    }
    assert charts["selection-phase2-conv6"].title == "phase 2: conv6"
    others = {chart.key for chart in draw_charts(*_read(classifier_run))}
    assert {"confusion-dense", "confusion-slim"} <= others
    assert not any(key.startswith("precision-recall") for key in others)


def test_charts_have_the_values_of_the_records(detector_run: Path) -> None:
    charts = {chart.key: chart.figure.axes[0] for chart in draw_charts(*_read(detector_run))}
    (line,) = charts["accuracy"].lines
    phase = [METRICS[step] for step in ("sparsified", "thresholded", "removed", "retrained")]
    assert list(line.get_ydata()) == [METRICS["dense"], *phase, *phase]
    (loss,) = charts["training-phase1-retrain"].lines
    assert list(loss.get_ydata()) == [4.0, 2.0, 1.5]
    assert charts["training-phase1-retrain"].get_xlim() == (0, 40)
    assert charts["training-phase1-sparsify"].get_xlim() == (0, 20)
    curves = {
        line.get_label(): list(line.get_ydata()) for line in charts["precision-recall-000"].lines
    }
    assert curves == {"dense 92.0": [1.0, 0.9], "slim 89.5": [1.0, 0.875]}
    points = {
        line.get_label(): list(line.get_xdata())
        for line in charts["class-accuracy"].lines
        if line.get_gid() == "mark"
    }
    assert points == {"dense": [92.0, 88.0], "slim": [89.5, 85.5]}
    trials = {
        float(line.get_xdata()[0]): (line.get_marker(), line.get_markerfacecolor() == "none")
        for line in charts["threshold-phase1"].lines
        if line.get_gid() == "mark"
    }
    assert trials == {THRESHOLD: ("D", False), 0.04: ("o", True)}  # chosen; estimated
    levels = sorted(float(line.get_ydata()[0]) for line in charts["threshold-phase1"].lines[:2])
    assert levels == [METRICS["sparsified"] - 5, METRICS["sparsified"]]


def test_the_caption_of_a_threshold_search(detector_run: Path) -> None:
    (first, _) = draw_charts(*_read(detector_run)).threshold
    assert first.caption == (
        "t = 0.01 zeroes 50.0% of the phase's weights. Tolerance: 5 points below 85.0, the "
        "accuracy of the sparsified network. Hollow: 1 of 2 trials, estimated on at most 2 "
        "pictures because their drop is clearly too large."
    )


def test_the_headline(detector_run: Path) -> None:
    found = headline(read_run(detector_run))
    assert found is not None
    dense, slim = (load_network(detector_run / f"{n}.safetensors").model for n in ("dense", "slim"))
    counts = parameters(dense), parameters(slim)
    assert [(cost.name, cost.dense, cost.slim) for cost in found.costs] == [
        ("parameters", *counts),
        ("MACs", *(1000 * count for count in counts)),
        ("file", *(4 * count for count in counts)),
    ]
    assert found.accuracy == "AP50_area 90.0 → 87.5 (−2.5) on test"


def test_layers_are_counted_as_the_networks_have_them(detector_run: Path) -> None:
    counts = count_layers(read_run(detector_run))
    assert counts is not None
    assert counts.stages == ["dense", "phase 1", "phase 2"]
    dense, slim = (load_network(detector_run / f"{n}.safetensors") for n in ("dense", "slim"))
    params = [(row.before.params, row.after.params) for row in counts.rows]
    assert [sum(column) for column in zip(*params, strict=True)] == [
        parameters(each.model) for each in (dense, slim)
    ]
    before, after = layer_widths(dense.model), layer_widths(slim.model)
    assert [row.name for row in counts.rows if row.backbone] == list(before)
    rows = {row.name: row.filters for row in counts.rows}
    assert rows["conv3_1"] == [10, 9, 9]
    assert rows["conv4_3"] == [20, 20, 19]
    for row in counts.rows:
        if not row.backbone:
            assert len(set(row.filters)) == 1
            continue
        assert row.filters[0] == row.before.filters == before[row.name]
        assert row.filters[-1] == row.after.filters == after[row.name]


def test_weights_are_counted_in_the_files(detector_run: Path) -> None:
    run = read_run(detector_run)
    histograms = weight_histograms(run)
    assert [(each.phase, each.layer) for each in histograms] == [
        (number, layer)
        for number, (names, _) in enumerate(PHASES["detection"], 1)
        for layer in names
    ]
    for each in histograms:
        assert each.threshold == THRESHOLD
        before = detector_run / "steps" / ("dense", "phase1-retrain")[each.phase - 1]
        after = detector_run / f"steps/phase{each.phase}-sparsify"
        for folder, counts in ((before, each.before), (after, each.after)):
            values = _weights(folder / "network.safetensors", each.layer)
            assert len(counts) == BINS
            assert sum(counts) == values.size
            # The slow way; those at a bin's very edge may fall to either side.
            middle = sum(
                each.edges[BINS // 2] <= value < each.edges[BINS // 2 + 1]
                for value in values.ravel().tolist()
            )
            assert abs(counts[BINS // 2] - middle) <= 2
    first, second = run.phases
    by_norm = replace(run, phases=[replace(first, sparsify=None, threshold=None), second])
    assert {each.phase for each in weight_histograms(by_norm)} == {2}

    found = non_zeros(run)
    assert found is not None
    assert [stage for stage, _ in found.stages] == [
        "dense",
        "phase 1, thresholded",
        "phase 2, thresholded",
        "slim",
    ]
    thresholded = detector_run / "steps/phase2-threshold/network.safetensors"
    for layer, count in zip(found.layers, found.stages[2][1], strict=True):
        assert count == sum(value != 0 for value in _weights(thresholded, layer).ravel().tolist())


def _weights(path: Path, layer: str) -> np.ndarray:
    name = layers(load_network(path).model)[layer]
    return load_file(path)[f"{name}.weight"]


def _read(folder: Path):  # type: ignore[no-untyped-def]
    run = read_run(folder)
    return run, count_layers(run)


def test_the_table_is_downloaded_as_csv(classifier_run: Path, secateur: Run) -> None:
    assert secateur("report", classifier_run).code == 0
    page = (classifier_run / "report.html").read_text("utf-8")
    link = re.search(
        r'download="layers.csv" href="data:text/csv;charset=utf-8;base64,([^"]+)"', page
    )
    assert link
    rows = list(csv.reader(io.StringIO(base64.b64decode(link[1]).decode())))
    counts = count_layers(read_run(classifier_run))
    assert counts is not None
    assert rows[0][:4] == ["layer", "dense", "phase 1", "kept"]
    assert [row[0] for row in rows[1:]] == [*(row.name for row in counts.rows), "total"]
    assert [[int(row[1]), int(row[2])] for row in rows[1:-1]] == [r.filters for r in counts.rows]
    assert int(rows[-1][-1]) == sum(int(row[-1]) for row in rows[1:-1])


def test_a_spreadsheet_takes_no_name_for_a_formula() -> None:
    table = Table(["class", "objects"], [[Cell("=1+1"), Cell("−3", -3)]])
    assert base64.b64decode(table.csv_base64).decode() == "class,objects\r\n'=1+1,-3\r\n"


def test_the_report_is_the_same_twice(detector_run: Path, secateur: Run, tmp_path: Path) -> None:
    for name in ("one.html", "two.html"):
        assert secateur("report", detector_run, "--out", tmp_path / name).code == 0
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_a_report_needs_nothing_but_the_run(
    detector_run: Path, secateur: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pictures do not exist, and no network is run on values."""

    def without_values(module: nn.Module, *inputs: object, **named: object) -> object:
        tensors = [each for each in tree_leaves((inputs, named)) if isinstance(each, Tensor)]
        assert {tensor.device.type for tensor in tensors} <= {"meta"}
        return called(module, *inputs, **named)

    called = nn.Module.__call__
    monkeypatch.setattr("torch.nn.Module.__call__", without_values)
    assert secateur("report", detector_run).code == 0
    assert "photo-1" in (detector_run / "report.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("last", "has", "has_not"),
    [
        (None, ["Not finished: no step is complete"], ["#filters", "#accuracy", "#weights"]),
        ("dense", ["Not compressed", "#filters"], ["#weights", "#test"]),
        (
            "phase1-sparsify",
            ["complete step is phase1-sparsify", "#weights"],
            ["#threshold", "#selection"],
        ),
        ("phase1-threshold", ["#threshold"], ["#selection", "#test"]),
        ("phase1-remove", ["#selection"], ["#test", "#latency"]),
        ("phase2-retrain", ["#selection"], ["#test", "#pictures", "#latency"]),
        ("evaluate-slim", ["#test"], ["#pictures", "#latency"]),
    ],
)
def test_an_unfinished_run_shows_what_there_is(
    detector_run: Path,
    secateur: Run,
    copied: Copy,
    last: str | None,
    has: list[str],
    has_not: list[str],
) -> None:
    run = copied(detector_run)
    steps = read_record(run / "steps.json", StageList).steps
    done = steps[: steps.index(last) + 1] if last else []
    for name in set(steps) - set(done):
        shutil.rmtree(run / "steps" / name)
    write_record(run / "steps.json", StageList(steps=done))
    for name in ("summary.json", "slim.safetensors", "dense.safetensors"):
        (run / name).unlink()
    outcome = secateur("report", run)
    assert outcome.code == 0, outcome.err
    page = (run / "report.html").read_text("utf-8")
    assert f"secateur compress {run}/recipe.json --run {run}" in page
    for text in has:
        assert text in page
    for text in has_not:
        assert f'href="{text}"' not in page
    assert secateur("report", run, "--markdown").code == 0


def test_steps_of_an_earlier_recipe_are_left_out(
    detector_run: Path, secateur: Run, copied: Copy
) -> None:
    run = copied(detector_run)
    recipe = json.loads((run / "recipe.json").read_text("utf-8"))
    recipe["compress"]["sparsify"]["steps"] = 21  # as compress writes it down before it begins
    (run / "recipe.json").write_text(json.dumps(recipe))
    write_record(run / "steps.json", StageList(steps=["dense"]))
    assert secateur("report", run).code == 0
    page = (run / "report.html").read_text("utf-8")
    assert "Not compressed" in page
    assert "phase1-sparsify" not in page


def test_a_classifiers_report_shows_mistakes_and_confusions(
    classifier_run: Path, secateur: Run
) -> None:
    assert secateur("report", classifier_run).code == 0
    page = (classifier_run / "report.html").read_text("utf-8")
    (mistake,) = re.findall(r'<figure><img src="data:image/png;base64,.*?</figure>', page)
    assert re.sub("<[^>]+>", " ", mistake).split() == (
        ["square", "[2]", "slim:", "disc", "90%", "dense:", "square", "[2]", "75%"]
    )
    assert re.search(r"square \[2\]</th>\s*<td[^>]*>disc</td>\s*<td[^>]*>0<.*?>1<", page, re.DOTALL)
    assert 'data-name="slim"' in page  # the confusion matrix


@pytest.mark.parametrize("measured", [True, False])
def test_latency_is_shown_if_it_was_measured(
    detector_run: Path, secateur: Run, copied: Copy, measured: bool
) -> None:
    run = copied(detector_run)
    if measured:
        _write_latency(run, [_measured("dense", 9.0), _measured("slim", 3.0)], 2)
    assert secateur("report", run).code == 0
    text = words((run / "report.html").read_text("utf-8"))
    assert ("times faster" in text) == measured
    assert (
        "3.0× faster (onnxruntime, fp32, batch 1, 2 threads, network alone)"
        in " ".join(text.split())
    ) == measured
    assert ("secateur benchmark" in text) != measured


def _measured(
    name: str, ms: float, runtime: str = "onnxruntime", batch: int = 1, **entries: Any
) -> Measurement:
    given = Measurement(
        model=f"/somewhere/{name}.safetensors",
        runtime=runtime,
        compiled=False,
        precision="fp32",
        batch=batch,
        shape=(64, 64),
        macs=None,
        network=Times(ms, ms, ms, 1),
        whole=None,
        pictures_per_second=1000 / ms,
        memory=None,
    )
    return replace(given, **entries)


def _write_latency(
    run: Path, measured: list[Measurement], threads: int = 1, **entries: Any
) -> None:
    """As ``secateur benchmark`` writes it."""
    given = Benchmark(measured, threads, "pictures of photos", 0, {"machine": {}})
    (run / "latency.json").write_text(json.dumps(asdict(replace(given, **entries))))


def test_only_latencies_measured_alike_are_compared(
    detector_run: Path, classifier_run: Path, copied: Copy
) -> None:
    run = copied(detector_run)
    measured = [_measured("dense", 8.0), _measured("slim", 4.0, "openvino"), _measured("slim", 2.0)]
    measured += [_measured("dense", 30.0, batch=8), _measured("slim", 1.0, batch=4)]
    measured += [_measured("dense", 6.0, compiled=True)]
    _write_latency(run, measured)
    assert [(c.dense, c.slim, c.how) for c in latencies(read_run(run))] == [
        (8.0, 2.0, "onnxruntime, fp32, batch 1, 1 thread, network alone")
    ]
    # A classifier has no NMS, and one latency.
    whole = [
        replace(each, network=None, whole=each.network)
        for each in (_measured("dense", 8.0), _measured("slim", 2.0))
    ]
    classifier = Path(shutil.copytree(classifier_run, run.parent / "classifier"))
    _write_latency(classifier, whole)
    assert [cost.how for cost in latencies(read_run(classifier))] == [
        "onnxruntime, fp32, batch 1, 1 thread"
    ]


def test_a_latency_on_random_bytes_says_so(detector_run: Path, copied: Copy) -> None:
    run = copied(detector_run)
    for pictures, random in (("random bytes", True), ("pictures of photos", False)):
        _write_latency(run, [_measured("dense", 8.0), _measured("slim", 2.0)], pictures=pictures)
        (cost,) = latencies(read_run(run))
        assert cost.how.endswith("network alone, on random bytes") == random


def test_latencies_of_two_machines_are_not_compared(detector_run: Path, tmp_path: Path) -> None:
    runs = []
    for machine in ("laptop", "laptop", "server"):
        run = Path(shutil.copytree(detector_run, tmp_path / str(len(runs))))
        made_by = {"machine": {"processor": machine}}
        _write_latency(run, [_measured("dense", 8.0), _measured("slim", 2.0)], made_by=made_by)
        runs.append(run)
    for other, compared in ((runs[1], 2), (runs[2], 1)):
        page = comparison_page([read_run(runs[0]), read_run(other)])
        cells = re.findall(r"<td[^>]*>([^<]*)</td>", page)
        assert cells.count("2 ms") == compared


def test_latencies_of_earlier_networks_are_left_out(detector_run: Path, copied: Copy) -> None:
    run = copied(detector_run)
    counts = count_layers(read_run(run))
    assert counts is not None
    dense, slim = (sum(getattr(row, n).macs for row in counts.rows) for n in ("before", "after"))
    for macs, compared in ((slim, 1), (slim + 1, 0)):
        _write_latency(
            run, [_measured("dense", 8.0, macs=dense), _measured("slim", 2.0, macs=macs)]
        )
        assert len(latencies(read_run(run))) == compared


def test_a_summary_of_other_steps_is_ignored(detector_run: Path, copied: Copy) -> None:
    """The same recipe begun again, with other pictures say, and stopped."""
    run = copied(detector_run)
    write_record(run / "steps.json", StageList(steps=["dense"]))
    assert read_run(run).summary is None


def test_a_larger_network_is_reported_as_larger() -> None:
    cost = Cost("parameters", 50.0, 100.0, "", "fewer")
    assert f"{cost.factor} {cost.gain}" == "2.0× more parameters"
    assert f"{Cost('latency', 1.0, 2.5, 'ms', 'faster').gain}" == "slower"


def test_markdown(detector_run: Path, secateur: Run, tmp_path: Path) -> None:
    outcome = secateur("report", detector_run, "--markdown")
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[0] == "# tiny"
    assert "| AP50_area |" in outcome.out
    table = [line for line in lines if line.startswith("| conv")]
    counts = count_layers(read_run(detector_run))
    assert counts is not None
    assert [line.split(" | ")[0].removeprefix("| ") for line in table] == [
        row.name for row in counts.rows
    ]
    written = tmp_path / "card.md"
    assert secateur("report", detector_run, "--markdown", "--out", written).code == 0
    assert written.read_text("utf-8") == outcome.out


def test_names_are_not_read_as_markdown() -> None:
    assert escaped("AP50_area") == "AP50_area"
    assert escaped("_a_ *b* `c` |d| <i> [e](f) #g\nh & i") == (
        r"\_a\_ \*b\* \`c\` \|d\| &lt;i\> \[e\](f) \#g h &amp; i"
    )
    # Nobody is notified, and nothing is linked.
    assert escaped("@someone http://x $y$") == "@\u200bsomeone http:\u200b//x \\$y\\$"


def test_several_runs(detector_run: Path, secateur: Run, copied: Copy) -> None:
    other = copied(detector_run)
    summary = json.loads((other / "summary.json").read_text("utf-8"))
    summary["slim"]["params"] *= 2
    summary["slim"]["metrics"]["AP50_area"] /= 2
    (other / "summary.json").write_text(json.dumps(summary))
    page = other.parent / "both.html"
    outcome = secateur("report", detector_run, other, "--out", page)
    assert outcome.code == 0
    assert str(page) in outcome.out
    rows = [
        re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", row)
        for row in re.findall(r"<tr>(.*?)</tr>", page.read_text("utf-8"), flags=re.DOTALL)
    ]
    assert [row[0] for row in rows[1:]] == ["run", "copy"]
    assert "parameters" in rows[1][-1]
    assert "parameters" not in rows[2][-1]


def test_finished_runs_of_an_earlier_recipe_format_are_finished(
    detector_run: Path, copied: Copy
) -> None:
    """Entries that the recipe has gained since have their defaults."""
    run = copied(detector_run)
    for file, section in (("summary.json", "recipe"), ("recipe.json", None)):
        content = json.loads((run / file).read_text("utf-8"))
        recipe = content[section] if section else content
        del recipe["compress"]["threshold"]["scope"]
        (run / file).write_text(json.dumps(content))
    assert read_run(run).summary is not None


def test_runs_that_cannot_be_compared(
    detector_run: Path, classifier_run: Path, secateur: Run, copied: Copy
) -> None:
    one_error(secateur("report", detector_run, classifier_run), classifier_run, "metric")
    unfinished = copied(detector_run)
    (unfinished / "summary.json").unlink()
    one_error(secateur("report", detector_run, unfinished), unfinished, "not finished")
    one_error(secateur("report", detector_run, detector_run), "named twice")
    stricter = Path(shutil.copytree(detector_run, unfinished.parent / "stricter"))
    for file, section in (("summary.json", "recipe"), ("recipe.json", None)):
        content = json.loads((stricter / file).read_text("utf-8"))
        recipe = content[section] if section else content
        recipe["evaluate"]["score"] = 0.5
        (stricter / file).write_text(json.dumps(content))
    one_error(secateur("report", detector_run, stricter), stricter, "evaluation settings")


def test_runs_are_named_by_how_their_paths_differ(
    detector_run: Path, secateur: Run, tmp_path: Path
) -> None:
    folders = [tmp_path / f"signs-compare/seed0/{method}/keep0.5" for method in ("ours", "l1")]
    for folder in folders:
        shutil.copytree(detector_run, folder)
    page = tmp_path / "page.html"
    assert secateur("report", *folders, "--out", page).code == 0
    rows = re.findall(r"<tr><t[hd][^>]*>([^<]*)</t[hd]>", page.read_text("utf-8"))
    assert rows[-2:] == ["ours", "l1"]


def test_folders_that_are_not_runs(detector_run: Path, secateur: Run, tmp_path: Path) -> None:
    one_error(secateur("report", tmp_path / "absent"), "absent", "no such folder")
    one_error(secateur("report", tmp_path), tmp_path, "recipe.json")
    one_error(secateur("report", detector_run / "summary.json"), "summary.json", "is a file")
    one_error(secateur("report", detector_run.parent), f"such as {detector_run}")


def test_a_page_does_not_replace_other_files(
    detector_run: Path, secateur: Run, copied: Copy
) -> None:
    run = copied(detector_run)
    before = (run / "summary.json").read_bytes()
    one_error(secateur("report", run, "--out", run / "summary.json"), "summary.json", ".html")
    one_error(secateur("report", run, "--markdown", "--out", run / "summary.json"), ".md")
    one_error(secateur("report", run, detector_run, "--out", run / "summary.json"), ".html")
    assert (run / "summary.json").read_bytes() == before


def test_a_missing_network_is_named_with_a_cure(
    detector_run: Path, secateur: Run, copied: Copy
) -> None:
    run = copied(detector_run)
    step = run / "steps/phase1-retrain"
    (step / "network.safetensors").unlink()
    one_error(secateur("report", run), step / "network.safetensors", f"delete {step}")


@pytest.mark.parametrize(
    ("held", "taken", "complete"),
    [
        ((True, False), 1, True),
        ((False, True, True), 3, True),
        ((False, False), None, True),
        ((True, False), None, False),
    ],
)
def test_attempts_of_a_drop(
    secateur: Run, tmp_path: Path, held: tuple[bool, ...], taken: int | None, complete: bool
) -> None:
    """A run with max_drop, stopped after its first phase, or before that is complete."""
    select = {"max_drop": 10.0, "attempts": len(held), "min_filters": 1}
    compress = {**DETECTOR["compress"], "select": select}
    run = MadeRun(tmp_path / "run", {**DETECTOR, "compress": compress}, "detection")
    run.stage("dense", run.training("dense", METRICS["dense"]), run.model)
    run.phase(*PHASES["detection"][0], held)
    if not complete:
        write_record(run.folder / "steps.json", StageList(steps=run.names))
    phase = read_run(run.folder).phases[0]
    assert [each.held for each in phase.attempts] == [each if complete else None for each in held]
    assert phase.failed == (complete and taken is None)
    for stage, part in ((phase.remove, "remove"), (phase.retrain, "retrain")):
        assert (stage and stage.folder.name) == (taken and f"phase1-try{taken}-{part}")
    assert secateur("report", run.folder).code == 0
    page = (run.folder / "report.html").read_text("utf-8")
    rows = re.findall(r"<tr><th[^>]*>phase 1, attempt \d</th>(.*?)</tr>", page, re.DOTALL)
    cells = [re.findall(r"<td[^>]*>([^<]*)</td>", row)[2:] for row in rows]
    assert cells == [
        [
            "88.00" if within else "10.00",
            {True: "yes", False: "no"}[within] if complete else "–",
            "yes" if number == taken else "",
        ]
        for number, within in enumerate(held, 1)
    ]
    text = " ".join(words(page).split())
    assert ("Phase 1: no size tried stays within the drop" in text) == phase.failed


def test_stages_are_known_by_their_records(detector_run: Path, copied: Copy) -> None:
    """The names of the folders carry no meaning."""
    run = copied(detector_run)
    names = read_record(run / "steps.json", StageList)
    renamed = {name: f"stage{number}" for number, name in enumerate(reversed(names.steps))}
    for name, other in renamed.items():
        (run / "steps" / name).rename(run / "steps" / other)
    listed = names.model_copy(update={"steps": [renamed[name] for name in names.steps]})
    write_record(run / "steps.json", listed)
    (run / "summary.json").unlink()
    found, expected = read_run(run), read_run(detector_run)
    assert found.dense is not None
    assert found.dense.folder.name == renamed["dense"]
    for one, other in zip(found.phases, expected.phases, strict=True):
        for step in ("sparsify", "threshold", "remove", "retrain"):
            stage, same = getattr(one, step), getattr(other, step)
            assert stage.folder.name == renamed[same.folder.name]
            assert stage.result == same.result
    assert {role: each.result for role, each in found.evaluations.items()} == {
        role: each.result for role, each in expected.evaluations.items()
    }
    assert found.by_class == expected.by_class


@pytest.mark.parametrize("file", ["summary.json", "steps.json", "steps/dense/step.json"])
@pytest.mark.parametrize("version", [None, 1, 3])
def test_records_of_another_version_are_refused(
    detector_run: Path, secateur: Run, copied: Copy, file: str, version: int | None
) -> None:
    path = copied(detector_run) / file
    content = json.loads(path.read_text("utf-8"))
    del content["version"]
    if version:
        content["version"] = version
    path.write_text(json.dumps(content))
    outcome = secateur("report", copied_folder(path, file))
    one_error(outcome, path, "another version of secateur; delete the run's folder")


def test_a_run_of_the_first_version_is_refused(tmp_path: Path, secateur: Run) -> None:
    run = tmp_path / "run"
    (run / "steps/dense").mkdir(parents=True)
    (run / "recipe.json").write_text(json.dumps({"name": "old"}))
    (run / "steps.json").write_text('{"steps": ["dense"]}')
    old = {"key": "a", "made": "b", "seconds": 1.0, "result": {"metric": 90.0, "loss": [1.0]}}
    (run / "steps/dense/step.json").write_text(json.dumps(old))
    one_error(secateur("report", run), run / "steps.json", "delete the run's folder")


@pytest.mark.parametrize(
    ("file", "entry", "value"),
    [
        ("steps/phase1-threshold/step.json", ("result", "threshold"), "much"),
        ("steps/phase1-remove/step.json", ("result", "selection"), {"a": {"kept": 1}}),
        (
            "steps/examples/step.json",
            ("result", "examples", "pictures", 0, "file"),
            "../../secret.jpg",
        ),
        ("steps/evaluate-slim/by_class.json", ("by_class",), []),
        ("summary.json", ("slim", "params"), 0),
        ("summary.json", ("seconds",), {"../../etc": 1.0}),
        ("summary.json", ("slim", "metrics", "AP50_area"), None),
        ("summary.json", ("slim", "metrics"), {}),
        ("steps/dense/step.json", ("result", "unknown"), 1),
        ("steps/dense/step.json", ("result", "kind"), "unknown"),
        ("steps/phase1-threshold/step.json", ("result", "trace"), []),
        ("latency.json", (), []),
        ("steps/phase1-remove/step.json", ("result", "params"), 10**400),
        ("steps/evaluate-slim/by_class.json", ("curves", "=disc & 'round'", "recall"), [0.5] * 999),
        ("steps.json", ("steps",), ["<img src=x>"]),
    ],
)
def test_an_altered_artifact_is_named(
    detector_run: Path,
    secateur: Run,
    copied: Copy,
    file: str,
    entry: tuple[str | int, ...],
    value: object,
) -> None:
    path = copied(detector_run) / file
    content = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    if entry:
        here = content
        for key in entry[:-1]:
            here = here[key]
        here[entry[-1]] = value
    else:
        content = value
    path.write_text(json.dumps(content))
    one_error(secateur("report", copied_folder(path, file)), path)


def copied_folder(path: Path, file: str) -> Path:
    return path.parents[len(Path(file).parts) - 1]


def test_a_missing_copy_of_a_picture_is_named(
    detector_run: Path, secateur: Run, copied: Copy
) -> None:
    run = copied(detector_run)
    picture = next((run / "steps/examples").glob("*.jpg"))
    picture.unlink()
    one_error(secateur("report", run), picture)
    # Nor is what a link leads to put into a page that is made to be sent on.
    picture.symlink_to(run / "summary.json")
    one_error(secateur("report", run), picture)


def test_layers_of_a_hostile_name_write_no_file_elsewhere(
    detector_run: Path, secateur: Run, copied: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secateur.report.report.write_figure", write_figure)
    run = copied(detector_run)
    path = run / "steps/phase1-remove/step.json"
    content = json.loads(path.read_text("utf-8"))
    selection = content["result"]["selection"]
    selection["../../../<script>"] = selection.pop(next(iter(selection)))
    path.write_text(json.dumps(content))
    before = set(run.parent.rglob("*"))
    assert secateur("report", run).code == 0
    new = set(run.parent.rglob("*")) - before
    assert new
    assert all(path.is_relative_to(run / "figures") for path in new)
    assert "<script>" not in words((run / "report.html").read_text("utf-8"))
    assert (run / "report.html").read_text("utf-8").count("<script") == 1
