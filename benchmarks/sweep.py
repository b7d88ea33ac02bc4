"""How small the quick start's network can become: a sweep, and its Pareto front on test.

``python benchmarks/sweep.py`` writes ``benchmarks/results/sweep_quickstart.json`` and its chart in
``docs/images/``. The first trial is the recipe with budgets that keep a sixteenth of the
parameters. An interrupted sweep resumes; a complete one is only read.
"""

import json
import shutil
from pathlib import Path

from checks import Check, at_least, print_checks
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
# Points of accuracy that a network may lose, and the factor of parameters it must save then.
LOST, TIMES = 2.0, 15.0


def checks(result: Sweep) -> list[Check]:
    """Require a network that is small enough and accurate enough on test."""
    dense = result.dense
    tested = [(point, point.test) for point in result.front if point.test is not None]
    near = [
        dense.params / point.params
        for point, test in tested
        if dense.test is not None and dense.test[result.metric] - test[result.metric] <= LOST
    ]
    value = max(near, default=0.0)
    name = f"times fewer parameters within {LOST:g} points of {result.metric} on test"
    return [at_least(name, value, TIMES)]


def main() -> None:
    """Sweep and write the result."""
    recipe = load_recipe(Path("quickstart"), BUDGETS)
    folder = Path("runs") / "quickstart-sweep"
    console = open_console()
    result = sweep(recipe, folder, TRIALS, ConsoleReporter(console))
    draw_sweep(result, folder)
    console.print(front_table(result))
    content = json.loads((folder / "sweep.json").read_text("utf-8"))
    for row in content["trials"]:  # they name this machine
        del row["worker"], row["run"]
    content["checks"] = checks(result)
    print_checks(content["checks"])
    write_json(HERE / "results" / "sweep_quickstart.json", content)
    shutil.copyfile(folder / "sweep.svg", HERE.parent / "docs" / "images" / "sweep_quickstart.svg")


if __name__ == "__main__":
    main()
