"""The step that chooses test pictures to show, and copies them into the run folder."""

from pathlib import Path
from typing import Any

from secateur.run.folder import Step
from secateur.run.predictions_file import load_predictions
from secateur.run.run import Run


def choose_examples(run: Run, dense: Step, slim: Step) -> Step:
    """Copy pictures that show what both networks do, and list what each said of them.

    Args:
        run: the run.
        dense: the evaluation of the network before.
        slim: that of the network after.
    """

    def work(folder: Path) -> dict[str, Any]:
        for old in (*folder.glob("*.jpg"), *folder.glob("*.png")):
            old.unlink()  # of another choice, which may have been longer
        dataset = run.evaluated
        before, after = (load_predictions(step.folder, run.task, dataset) for step in (dense, slim))
        return run.task.examples(before, after, dataset, folder)

    return run.step("examples", {"dense": dense.key, "slim": slim.key}, work)
