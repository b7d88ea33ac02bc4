"""Reports without a browser: what they read, what they write, and what they refuse."""

import base64
import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from commands import Outcome, one_error
from secateur.models.network import build_network, layers
from secateur.models.network_file import load_network, read_header
from secateur.report.charts.theme import write_figure
from secateur.report.comparison import comparison_page
from secateur.report.figures import draw_charts
from secateur.report.headline import Cost, headline, latencies
from secateur.report.layer_counts import count_layers
from secateur.report.markdown import escaped
from secateur.report.run_record import read_run
from secateur.report.table import Cell, Table
from secateur.report.weights import BINS, non_zeros, weight_histograms

Run = Callable[..., Outcome]
Copy = Callable[[Path], Path]


def words(page: str) -> str:
    """A page's text, without its drawings."""
    return re.sub(r"<(script|style|svg).*?</\1>|<[^>]+>", " ", page, flags=re.DOTALL)


@pytest.fixture(autouse=True)
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the charts' files, which take long and which one test looks at."""
    monkeypatch.setattr("secateur.report.report.write_figure", lambda *_: None)


def test_compress_ends_with_a_report_and_figures(detector_run: Path) -> None:
    page = (detector_run / "report.html").read_text("utf-8")
    assert "Not finished" not in page
    charts = {chart.key for chart in draw_charts(*_read(detector_run))}
    for ending in ("svg", "png"):
        files = {path.stem for path in (detector_run / "figures").glob(f"*.{ending}")}
        assert files == charts
    assert {"headline", "filters", "accuracy", "nonzeros", "class-accuracy"} <= charts
    assert {"selection-phase1-conv3_1", "weights-phase2-conv6", "threshold-phase2"} <= charts
    assert {"training-dense", "training-phase2-retrain", "precision-recall-001"} <= charts


def test_the_headline_is_the_summarys(detector_run: Path) -> None:
    summary = json.loads((detector_run / "summary.json").read_text("utf-8"))
    found = headline(read_run(detector_run))
    assert found is not None
    times = [cost.times for cost in found.costs]
    entries = ("params", "macs", "bytes")
    assert times == pytest.approx([summary["dense"][e] / summary["slim"][e] for e in entries])
    assert (found.dense, found.slim) == tuple(summary[n]["AP50_area"] for n in ("dense", "slim"))


def test_layers_are_counted_as_the_networks_have_them(detector_run: Path) -> None:
    counts = count_layers(read_run(detector_run))
    assert counts is not None
    assert counts.stages == ["dense", "phase 1", "phase 2"]
    dense, slim = (load_network(detector_run / f"{n}.safetensors") for n in ("dense", "slim"))
    params = [(row.before.params, row.after.params) for row in counts.rows]
    assert [sum(column) for column in zip(*params, strict=True)] == [
        sum(p.numel() for p in each.model.parameters()) for each in (dense, slim)
    ]
    assert [row.name for row in counts.rows if row.backbone] == list(dense.architecture.widths)
    for row in counts.rows:
        if not row.backbone:
            assert len(set(row.filters)) == 1
            continue
        assert row.filters[0] == dense.architecture.widths[row.name]
        assert row.filters[-1] == slim.architecture.widths[row.name]
        weight = slim.model.get_parameter(f"{layers(slim.model)[row.name]}.weight")
        assert row.after.filters == len(weight)


def test_weights_are_counted_in_the_files(detector_run: Path) -> None:
    run = read_run(detector_run)
    histograms = weight_histograms(run)
    assert [each.phase for each in histograms] == sorted(each.phase for each in histograms)
    for each in histograms:
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
    name = layers(build_network(read_header(path).architecture))[layer]
    return load_file(path)[f"{name}.weight"]


def _read(folder: Path):  # type: ignore[no-untyped-def]
    run = read_run(folder)
    return run, count_layers(run)


def test_the_table_is_downloaded_as_csv(classifier_run: Path) -> None:
    page = (classifier_run / "report.html").read_text("utf-8")
    link = re.search(
        r'download="layers.csv" href="data:text/csv;charset=utf-8;base64,([^"]+)"', page
    )
    assert link
    rows = list(csv.reader(io.StringIO(base64.b64decode(link[1]).decode())))
    counts = count_layers(read_run(classifier_run))
    assert counts is not None
    assert rows[0][:4] == ["layer", "dense", "phase 1", "kept"]
    assert [row[0] for row in rows[1:]] == [*(row.name for row in counts.rows), "together"]
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
    detector_run: Path, secateur: Run, copied: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither pictures nor networks: only files in the folder are opened."""
    run = copied(detector_run)
    recipe = json.loads((run / "recipe.json").read_text("utf-8"))
    summary = json.loads((run / "summary.json").read_text("utf-8"))
    for content in (recipe, summary["recipe"]):
        content["data"]["root"] = "/nowhere"
    (run / "recipe.json").write_text(json.dumps(recipe))
    (run / "summary.json").write_text(json.dumps(summary))
    monkeypatch.setattr("torch.nn.Module.__call__", None)
    monkeypatch.setattr(
        "secateur.models.layer_costs.layer_macs", lambda *_: dict.fromkeys(_paths(run), 1)
    )
    assert secateur("report", run).code == 0
    assert "photo-1" in (run / "report.html").read_text("utf-8")


def _paths(run: Path) -> list[str]:
    from secateur.models.layer_costs import layer_names_by_path  # noqa: PLC0415

    architecture = read_header(run / "dense.safetensors").architecture
    return list(layer_names_by_path(build_network(architecture), architecture))


@pytest.mark.parametrize(
    ("last", "has", "has_not"),
    [
        (None, ["Not finished: no step is done"], ["#filters", "#accuracy", "#weights"]),
        ("dense", ["Not compressed", "#filters"], ["#weights", "#test"]),
        ("phase1-sparsify", ["done is phase1-sparsify", "#weights"], ["#threshold", "#selection"]),
        ("phase1-threshold", ["#threshold"], ["#selection", "#test"]),
        ("phase1-remove", ["#selection"], ["#test", "#speed"]),
        ("phase2-retrain", ["#selection"], ["#test", "#pictures", "#speed"]),
        ("evaluate-slim", ["#test"], ["#pictures", "#speed"]),
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
    trail = json.loads((run / "steps.json").read_text("utf-8"))["steps"]
    done = trail[: trail.index(last) + 1] if last else []
    for name in set(trail) - set(done):
        shutil.rmtree(run / "steps" / name)
    (run / "steps.json").write_text(json.dumps({"steps": done}))
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
    (run / "steps.json").write_text('{"steps": ["dense"]}')
    assert secateur("report", run).code == 0
    page = (run / "report.html").read_text("utf-8")
    assert "Not compressed" in page
    assert "phase1-sparsify" not in page


def test_a_classifiers_report_shows_who_is_taken_for_whom(classifier_run: Path) -> None:
    page = (classifier_run / "report.html").read_text("utf-8")
    confusion = json.loads(
        (classifier_run / "steps/evaluate-slim/by_class.json").read_text("utf-8")
    )
    wrong = sum(map(sum, confusion["confusion"])) - sum(
        row[place] for place, row in enumerate(confusion["confusion"])
    )
    assert wrong, "the network of the test has learnt too much to make mistakes"
    assert page.count('<figure><img src="data:image/png;base64,') == wrong
    assert "square [2]" in words(page)
    assert 'data-name="slim"' in page  # the confusion matrix


@pytest.mark.parametrize("measured", [True, False])
def test_latency_is_shown_where_it_was_measured(
    detector_run: Path, secateur: Run, copied: Copy, measured: bool
) -> None:
    run = copied(detector_run)
    if measured:
        content = {"measurements": [_speed("dense", 9.0), _speed("slim", 3.0)], "threads": 2}
        (run / "latency.json").write_text(json.dumps(content))
    assert secateur("report", run).code == 0
    text = words((run / "report.html").read_text("utf-8"))
    assert ("times faster" in text) == measured
    assert (
        "3.0× faster (onnxruntime, fp32, batch 1, 2 threads, network alone)"
        in " ".join(text.split())
    ) == measured
    assert ("secateur benchmark" in text) != measured


def _speed(name: str, ms: float, runtime: str = "onnxruntime", batch: int = 1) -> dict[str, object]:
    return {
        "model": f"/somewhere/{name}.safetensors",
        "runtime": runtime,
        "precision": "fp32",
        "batch": batch,
        "network": {"median": ms},
        "whole": None,
    }


def test_only_speeds_measured_alike_are_compared(
    detector_run: Path, classifier_run: Path, copied: Copy
) -> None:
    run = copied(detector_run)
    measurements = [_speed("dense", 8.0), _speed("slim", 4.0, "openvino"), _speed("slim", 2.0)]
    measurements += [_speed("dense", 30.0, batch=8), _speed("slim", 1.0, batch=4)]
    measurements += [{**_speed("dense", 6.0), "compiled": True}]
    content = {"measurements": measurements, "threads": 1}
    (run / "latency.json").write_text(json.dumps(content))
    assert [(c.dense, c.slim, c.how) for c in latencies(read_run(run))] == [
        (8.0, 2.0, "onnxruntime, fp32, batch 1, 1 thread, network alone")
    ]
    # A classifier has no NMS, and one figure.
    whole = [
        {**each, "network": None, "whole": each["network"]}
        for each in (_speed("dense", 8.0), _speed("slim", 2.0))
    ]
    classifier = Path(shutil.copytree(classifier_run, run.parent / "classifier"))
    (classifier / "latency.json").write_text(json.dumps({**content, "measurements": whole}))
    assert [cost.how for cost in latencies(read_run(classifier))] == [
        "onnxruntime, fp32, batch 1, 1 thread"
    ]


def test_a_speed_on_random_bytes_is_called_so(detector_run: Path, copied: Copy) -> None:
    run = copied(detector_run)
    content = {"measurements": [_speed("dense", 8.0), _speed("slim", 2.0)], "threads": 1}
    for pictures, told in (("random bytes", True), ("pictures of photos", False)):
        (run / "latency.json").write_text(json.dumps({**content, "pictures": pictures}))
        (cost,) = latencies(read_run(run))
        assert cost.how.endswith("network alone, on random bytes") == told


def test_speeds_of_two_machines_are_not_compared(detector_run: Path, tmp_path: Path) -> None:
    content = {"measurements": [_speed("dense", 8.0), _speed("slim", 2.0)], "threads": 1}
    runs = []
    for machine in ("laptop", "laptop", "server"):
        run = Path(shutil.copytree(detector_run, tmp_path / str(len(runs))))
        made_by = {"machine": {"processor": machine}}
        (run / "latency.json").write_text(json.dumps({**content, "made_by": made_by}))
        runs.append(run)
    for other, compared in ((runs[1], 2), (runs[2], 1)):
        page = comparison_page([read_run(runs[0]), read_run(other)])
        cells = re.findall(r"<td[^>]*>([^<]*)</td>", page)
        assert cells.count("2 ms") == compared


def test_speeds_of_earlier_networks_are_left_out(detector_run: Path, copied: Copy) -> None:
    run = copied(detector_run)
    counts = count_layers(read_run(run))
    assert counts is not None
    dense, slim = (sum(getattr(row, n).macs for row in counts.rows) for n in ("before", "after"))
    for macs, compared in ((slim, 1), (slim + 1, 0)):
        measurements = [
            {**_speed("dense", 8.0), "macs": dense},
            {**_speed("slim", 2.0), "macs": macs},
        ]
        content = {"measurements": measurements, "threads": 1}
        (run / "latency.json").write_text(json.dumps(content))
        assert len(latencies(read_run(run))) == compared


def test_a_summary_of_other_steps_is_none(detector_run: Path, copied: Copy) -> None:
    """The same recipe begun again, with other pictures say, and stopped."""
    run = copied(detector_run)
    (run / "steps.json").write_text('{"steps": ["dense"]}')
    assert read_run(run).summary is None


def test_a_larger_network_is_called_so() -> None:
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
    # Nobody is written to, and nothing is linked.
    assert escaped("@someone http://x $y$") == "@\u200bsomeone http:\u200b//x \\$y\\$"


def test_several_runs(detector_run: Path, secateur: Run, copied: Copy) -> None:
    other = copied(detector_run)
    summary = json.loads((other / "summary.json").read_text("utf-8"))
    summary["slim"]["params"] *= 2
    summary["slim"]["AP50_area"] = summary["slim"]["AP50_area"] / 2 - 1
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
    one_error(secateur("report", detector_run, stricter), stricter, "other settings of evaluate")


def test_runs_are_named_by_what_tells_them_apart(
    detector_run: Path, secateur: Run, tmp_path: Path
) -> None:
    folders = [tmp_path / f"signs-compare/seed0/{way}/keep0.5" for way in ("ours", "l1")]
    for folder in folders:
        shutil.copytree(detector_run, folder)
    page = tmp_path / "page.html"
    assert secateur("report", *folders, "--out", page).code == 0
    rows = re.findall(r"<tr><t[hd][^>]*>([^<]*)</t[hd]>", page.read_text("utf-8"))
    assert rows[-2:] == ["ours", "l1"]


def test_what_is_no_run(detector_run: Path, secateur: Run, tmp_path: Path) -> None:
    one_error(secateur("report", tmp_path / "absent"), "absent", "no such folder")
    one_error(secateur("report", tmp_path), tmp_path, "recipe.json")
    one_error(secateur("report", detector_run / "summary.json"), "summary.json", "is a file")
    one_error(secateur("report", detector_run.parent), f"such as {detector_run}")


def test_a_page_does_not_replace_what_is_none(
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


@pytest.mark.parametrize(("metrics", "taken"), [((90.0, 10.0), 1), ((10.0, 20.0), None)])
def test_tries_of_a_drop(
    detector_run: Path,
    secateur: Run,
    copied: Copy,
    metrics: tuple[float, float],
    taken: int | None,
) -> None:
    """A run with max_drop, whose first phase found a size, or none: the network stayed."""
    run = copied(detector_run)
    recipe = json.loads((run / "recipe.json").read_text("utf-8"))
    goal = {"max_drop": 10.0, "attempts": 2, "min_filters": 1}
    recipe["compress"]["select"] = goal
    (run / "recipe.json").write_text(json.dumps(recipe))
    _set_metric(run, "dense", 80.0)
    for number, metric in enumerate(metrics, start=1):
        for part in ("remove", "retrain"):
            name = f"phase1-try{number}-{part}"
            shutil.copytree(run / f"steps/phase1-{part}", run / "steps" / name)
        _set_metric(run, f"phase1-try{number}-retrain", metric)
    steps = ["dense", "phase1-sparsify", "phase1-threshold"]
    steps += [f"phase1-try{n}-{part}" for n in (1, 2) for part in ("remove", "retrain")]
    (run / "steps.json").write_text(json.dumps({"steps": steps}))
    phase = read_run(run).phases[0]
    assert [each.held for each in phase.tries] == [metric >= 75 for metric in metrics]
    assert phase.failed == (taken is None)
    assert (phase.retrain and phase.retrain.folder.name) == (taken and "phase1-try1-retrain")
    assert secateur("report", run).code == 0
    text = " ".join(words((run / "report.html").read_text("utf-8")).split())
    assert "phase 1, 1" in text
    assert ("In phase 1 no size that was tried held the drop" in text) == (taken is None)


def _set_metric(run: Path, step: str, metric: float) -> None:
    path = run / "steps" / step / "step.json"
    content = json.loads(path.read_text("utf-8"))
    content["result"]["metric"] = metric
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("file", "entry", "value"),
    [
        ("steps/phase1-threshold/step.json", ("result", "threshold"), "much"),
        ("steps/phase1-remove/step.json", ("result", "selection"), {"a": {"kept": 1}}),
        ("steps/examples/step.json", ("result", "pictures", 0, "file"), "../../secret.jpg"),
        ("steps/evaluate-slim/by_class.json", ("by_class",), []),
        ("summary.json", ("slim", "params"), 0),
        ("summary.json", ("seconds",), {"../../etc": 1.0}),
        ("summary.json", ("slim", "AP50_area"), None),
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
