"""How small the quick start's network can go: a sweep, and its front on test.

``python benchmarks/sweep.py`` writes ``benchmarks/results/sweep_quickstart.json`` and its chart in
``docs/images/``. The first trial is the recipe with budgets that leave a sixteenth of the
parameters. A sweep that was stopped goes on; one that is done is only read.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from checks import tell
from secateur.cli.console import ConsoleReporter, open_console
from secateur.cli.sweep import front_table
from secateur.config.recipe import load_recipe
from secateur.experiments.sweep.chart import draw_sweep
from secateur.experiments.sweep.result import Sweep
from secateur.experiments.sweep.sweep import sweep
from secateur.files.atomic_write import write_json

HERE = Path(__file__).parent
TRIALS = 14
BUDGETS = ("compress.select.keep_params=0.062", "compress.select.keep_macs=0.3")
# Points of accuracy that a network may lose, and times fewer parameters that one of those has.
LOST, TIMES = 2.0, 15.0


def checks(result: Sweep) -> list[dict[str, Any]]:
    """Promised: a network that is so much smaller and has lost no more than so much on test."""
    dense = result.dense
    tested = [(point, point.test) for point in result.front if point.test is not None]
    near = [
        dense.params / point.params
        for point, test in tested
        if dense.test is not None and dense.test[result.metric] - test[result.metric] <= LOST
    ]
    value = max(near, default=0.0)
    name = f"times fewer parameters within {LOST:g} points of {result.metric} on test"
    return [{"name": name, "value": value, "target": TIMES, "met": value >= TIMES}]


def main() -> None:
    """Sweep, and write what came of it."""
    recipe = load_recipe(Path("quickstart"), BUDGETS)
    folder = Path("runs") / "quickstart-sweep"
    console = open_console()
    result = sweep(recipe, folder, TRIALS, ConsoleReporter(console))
    draw_sweep(result, folder)
    console.print(front_table(result))
    content = json.loads((folder / "sweep.json").read_text("utf-8"))
    for row in content["trials"]:  # names of processes and folders are this machine's
        del row["worker"], row["run"]
    content["checks"] = checks(result)
    tell(content["checks"])
    write_json(HERE / "results" / "sweep_quickstart.json", content)
    shutil.copyfile(folder / "sweep.svg", HERE.parent / "docs" / "images" / "sweep_quickstart.svg")


if __name__ == "__main__":
    main()
