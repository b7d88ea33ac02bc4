"""The page of one run: one file that needs nothing else, and is whole without scripts."""

import yaml

from secateur.report.artifacts import ClassifierExamples, DetectorExamples
from secateur.report.example_images import SCORE, mistakes, shots
from secateur.report.figures import Charts
from secateur.report.headline import headline
from secateur.report.layer_counts import LayerCounts
from secateur.report.rendering import render
from secateur.report.run_record import RunRecord
from secateur.report.tables import (
    attempts_table,
    classes_table,
    confusions_table,
    layers_table,
    metrics_table,
    provenance_table,
    speeds_table,
    times_table,
)
from secateur.report.text import (
    command,
    failures,
    selection_note,
    speed_command,
    split_note,
    subtitle,
    unfinished,
)


def run_page(run: RunRecord, counts: LayerCounts | None, charts: Charts) -> str:
    """Write the page of a run, finished or not.

    Raises:
        RunError: a picture's copy is missing.
    """
    examples = run.examples.result.root if run.examples else None
    folder = run.examples.folder if run.examples else run.folder
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
        split_note=split_note(run),
        classes=classes_table(run),
        confusions=confusions_table(run),
        shots=shots(examples, folder) if isinstance(examples, DetectorExamples) else [],
        least_score=examples.least_score if isinstance(examples, DetectorExamples) else 0.0,
        score=SCORE,
        mistakes=mistakes(examples, folder) if isinstance(examples, ClassifierExamples) else [],
        speeds=speeds_table(run),
        speed_command=speed_command(run),
        one_threshold=run.recipe.compress.threshold.scope == "global",
        selection_note=selection_note(run),
        failures=failures(run),
        attempts=attempts_table(run),
        command=command(run),
        times=times_table(run),
        provenance=provenance_table(run),
        recipe=yaml.safe_dump(
            run.recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True
        ),
    )
