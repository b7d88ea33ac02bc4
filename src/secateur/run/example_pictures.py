"""The stage that chooses test pictures to show, and copies them into the run folder."""

from pathlib import Path
from typing import Any

from secateur.run.context import Run
from secateur.run.predictions_file import load_predictions
from secateur.run.stage import Stage, Step


def choose_examples(run: Run, dense: Step, slim: Step) -> Step:
    """Copy pictures that show what both networks predict, with both predictions.

    Args:
        run: the run.
        dense: the evaluation of the network before.
        slim: the evaluation of the network after.
    """

    def make(folder: Path) -> dict[str, Any]:
        dataset = run.evaluated
        before, after = (load_predictions(step.folder, run.task, dataset) for step in (dense, slim))
        examples = run.task.examples(before, after, dataset, folder)
        return {"kind": "examples", "examples": examples}

    depends_on = {"dense": dense.result_key, "slim": slim.result_key}
    return run.do(Stage("examples", depends_on, make))
