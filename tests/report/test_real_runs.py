"""Reports of small runs that the real command made: what a run records is what a report reads."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_runs import CLASSIFIER, DETECTOR, DISC, SQUARE

from commands import Outcome
from secateur.report.figures import draw_charts
from secateur.report.headline import headline
from secateur.report.layer_counts import count_layers
from secateur.report.run_record import read_run
from secateur.run.records import Summary, read_record
from shapes import draw_class_folders, draw_voc_folder

Run = Callable[..., Outcome]


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the charts' files, which take long to write."""
    monkeypatch.setattr("secateur.report.report.write_figure", lambda *_: None)


def compress(secateur: Run, folder: Path, recipe: dict[str, Any], **sections: Any) -> Path:
    """Run ``secateur compress`` on pictures in ``folder/data``."""
    content = {**recipe, "data": {**recipe["data"], "root": str(folder / "data")}, **sections}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content))
    outcome = secateur("compress", folder / "recipe.yaml", "--run", folder / "run")
    assert outcome.code == 0, outcome.err
    return folder / "run"


def charts_of(run: Path) -> set[str]:
    """Keys of the charts of a run."""
    record = read_run(run)
    return {chart.key for chart in draw_charts(record, count_layers(record))}


def test_compressing_a_detector_ends_with_a_report(secateur: Run, tmp_path: Path) -> None:
    draw_voc_folder(tmp_path / "data", DISC, SQUARE)
    # The second phase has levels; the first tries sizes.
    select = {"max_drop": 100.0, "attempts": 2, "min_filters": 1}
    settings = {**DETECTOR["compress"], "select": select}
    run = compress(secateur, tmp_path, DETECTOR, train={"steps": 20}, compress=settings)
    assert "Not finished" not in (run / "report.html").read_text("utf-8")
    charts = charts_of(run)
    for suffix in ("svg", "png"):
        assert {path.stem for path in (run / "figures").glob(f"*.{suffix}")} == charts
    assert {"headline", "filters", "accuracy", "nonzeros", "class-accuracy"} <= charts
    assert {"selection-phase1-conv3_1", "weights-phase2-conv6", "threshold-phase2"} <= charts
    assert {"training-dense", "training-phase2-retrain", "precision-recall-001"} <= charts
    summary = read_record(run / "summary.json", Summary)
    record = read_run(run)
    assert [stage.folder.name for stage in record.stages] == list(summary.seconds)
    for phase, summed in zip(record.phases, summary.phases, strict=True):
        steps = {
            "sparsified": phase.sparsify,
            "thresholded": phase.threshold,
            "removed": phase.remove,
            "retrained": phase.retrain,
        }
        assert {name: stage and record.accuracy(stage) for name, stage in steps.items()} == (
            summed.metrics
        )
        assert [each.held for each in phase.attempts] == [each.held for each in summed.attempts]
        # The accuracy at the chosen threshold is measured on all of validation.
        assert phase.threshold is not None
        search = phase.threshold.result
        (chosen,) = (trial for trial in search.trace if trial.threshold == search.threshold)
        assert chosen.pictures is None
    assert [len(phase.attempts) for phase in record.phases] == [2, 0]
    found = headline(record)
    assert found is not None
    counted = [(cost.dense, cost.slim) for cost in found.costs]
    entries = ("params", "macs", "bytes")
    assert counted == [tuple(getattr(n, e) for n in (summary.dense, summary.slim)) for e in entries]
    metrics = tuple(n.metrics["AP50_area"] for n in (summary.dense, summary.slim))
    assert (found.dense, found.slim) == metrics
    assert record.examples is not None


@pytest.mark.usefixtures("no_figures")
def test_compressing_a_classifier_ends_with_a_report(secateur: Run, tmp_path: Path) -> None:
    draw_class_folders(tmp_path / "data")
    # One of two equal pictures must be classified wrongly.
    twin = (tmp_path / "data/test/square [2]/25.png").read_bytes()
    (tmp_path / "data/test/disc/twin.png").write_bytes(twin)
    run = compress(secateur, tmp_path, CLASSIFIER)
    assert {"confusion-dense", "confusion-slim", "weights-phase1-fc6"} <= charts_of(run)
    page = (run / "report.html").read_text("utf-8")
    matrix = read_run(run).by_class["slim"].confusion
    assert matrix is not None
    wrong = sum(map(sum, matrix)) - sum(row[index] for index, row in enumerate(matrix))
    assert page.count('<figure><img src="data:image/png;base64,') == wrong > 0


@pytest.mark.parametrize("criterion", ["l1", "norm_scale"])
@pytest.mark.usefixtures("no_figures")
def test_a_criterion_without_a_threshold_has_no_such_charts(
    secateur: Run, tmp_path: Path, criterion: str
) -> None:
    draw_voc_folder(tmp_path / "data", DISC, SQUARE)
    settings = {**DETECTOR["compress"], "phases": [{"layers": "conv1_1-conv8_2"}]}
    settings["select"] = {"keep_params": 0.6, "min_filters": 1, "criterion": criterion}
    if criterion == "norm_scale":
        settings["sparsify"] = {**settings["sparsify"], "penalty": "norm_scale"}
    run = compress(secateur, tmp_path, DETECTOR, train={"steps": 5}, compress=settings)
    charts = charts_of(run)
    assert not [key for key in charts if key.startswith(("threshold", "nonzeros"))]
    assert "selection-phase1-conv3_1" in charts
