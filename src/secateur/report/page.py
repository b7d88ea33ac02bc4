"""The page of one run: a single file that needs no other and is complete without scripts."""

import yaml

from secateur.report.example_images import SCORE, example_pictures, mistakes
from secateur.report.figures import Charts
from secateur.report.headline import headline
from secateur.report.layer_counts import LayerCounts
from secateur.report.rendering import render
from secateur.report.run_record import RunRecord
from secateur.report.tables import (
    attempts_table,
    classes_table,
    confusions_table,
    latency_table,
    layers_table,
    metrics_table,
    provenance_table,
    reconstruction_table,
    times_table,
)
from secateur.report.text import (
    command,
    failures,
    latency_command,
    selection_text,
    split_text,
    subtitle,
    unfinished,
)
from secateur.run.records import ClassifierExamples, DetectorExamples


def run_page(run: RunRecord, counts: LayerCounts | None, charts: Charts) -> str:
    """Write the page of a run, finished or not.

    Raises:
        RunError: the copy of a picture is missing.
    """
    examples = run.examples.result.examples if run.examples else None
    folder = run.examples.folder if run.examples else run.folder
    detector = examples if isinstance(examples, DetectorExamples) else None
    classifier = examples if isinstance(examples, ClassifierExamples) else None
    return render(
        "run.html.jinja",
        name=run.recipe.name,
        subtitle=subtitle(run),
        headline=headline(run),
        unfinished=unfinished(run),
        charts=charts,
        layers=layers_table(counts),
        metrics=metrics_table(run),
        split=run.split,
        split_text=split_text(run),
        classes=classes_table(run),
        confusions=confusions_table(run),
        pictures=example_pictures(detector, folder) if detector else [],
        least_score=detector.least_score if detector else 0.0,
        score=SCORE,
        mistakes=mistakes(classifier, folder) if classifier else [],
        latencies=latency_table(run),
        latency_command=latency_command(run),
        one_threshold=run.recipe.compress.threshold.scope == "global",
        selection_text=selection_text(run),
        failures=failures(run),
        attempts=attempts_table(run),
        reconstruction=reconstruction_table(run),
        command=command(run),
        times=times_table(run),
        provenance=provenance_table(run),
        recipe=yaml.safe_dump(
            run.recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True
        ),
    )
