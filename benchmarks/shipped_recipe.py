"""Run a shipped recipe and write its summary with checks of its targets.

``python benchmarks/shipped_recipe.py quickstart`` writes ``benchmarks/results/quickstart.json``.
An interrupted run resumes; a complete one is only read.
"""

import argparse
from pathlib import Path
from typing import Any

from checks import Check, at_least, at_most, print_checks
from secateur.cli.console import ConsoleReporter, open_console
from secateur.config.recipe import Recipe, load_recipe
from secateur.data.formats.signs import read_signs
from secateur.experiments.series import metric_value
from secateur.files.atomic_write import write_json
from secateur.models.network_file import load_network
from secateur.run.pipeline import compress_recipe
from secateur.run.records import EvaluationRecord, Summary
from secateur.tasks.task import task_of

HERE = Path(__file__).parent

# Fixed before the first images were drawn with it.
FRESH_SEED = 20261123

# Targets of each recipe: factors of parameters and MACs saved, points that may be lost on test,
# lowest accuracy of the dense network.
TARGETS: dict[str, dict[str, float]] = {
    "quickstart": {"params": 10, "macs": 4.5, "lost": 2, "dense": 80},
    "gtsdb_laptop": {"params": 5, "lost": 2},
    "vgg16_cifar10": {"params": 125, "macs": 10.5, "lost": 0},
    "vgg16_gtsrb": {"params": 200, "macs": 29.4, "lost": 0},
    "vgg_gtsrb_laptop": {"params": 20, "macs": 5, "lost": 0, "dense": 97},
}


def checks(summary: Summary, target: dict[str, float]) -> list[Check]:
    """Compare a summary with the targets of its recipe."""
    dense, slim, metric = summary.dense, summary.slim, summary.metric
    before = metric_value(dense.metrics, metric)
    rows = [
        at_least(f"times fewer {name}", old / new, target[name])
        for name, old, new in (
            ("params", dense.params, slim.params),
            ("macs", dense.macs, slim.macs),
        )
        if name in target
    ]
    lost = before - metric_value(slim.metrics, metric)
    rows.append(at_most(f"points of {metric} lost, at most", lost, target["lost"]))
    if "dense" in target:
        rows.append(at_least(f"dense {metric}, at least", before, target["dense"]))
    worst = max(phase.slim_minus_masked for phase in summary.phases)
    return [*rows, at_most("slim minus masked, at most", worst, 1e-5)]


def flattened(summary: Summary) -> dict[str, Any]:
    """Give a summary the layout of results files: counts and metrics directly in each network."""

    def network(record: EvaluationRecord) -> dict[str, Any]:
        content = record.model_dump(mode="json", exclude={"kind", "network"})
        metrics, filters = content.pop("metrics"), content.pop("filters")
        return {**content, **metrics, "widths": filters}

    content = summary.model_dump(mode="json", exclude={"version"})
    return {**content, "dense": network(summary.dense), "slim": network(summary.slim)}


def measure_fresh(folder: Path, recipe: Recipe) -> dict[str, Any]:
    """Evaluate both networks on images of a new drawing seed.

    The settings of the quick start were chosen with images of the drawing seed that its test set
    has, so its test metrics may be too high.
    """
    fresh_set = read_signs(recipe.data.root, "test", size=recipe.model.input_size, seed=FRESH_SEED)
    task = task_of(recipe.data, recipe.evaluate)
    fresh: dict[str, Any] = {"seed": FRESH_SEED, "pictures": len(fresh_set.pictures)}
    for name in ("dense", "slim"):
        file = load_network(folder / f"{name}.safetensors")
        predictions = task.predictions(file.model, file.architecture, fresh_set)
        fresh[name] = task.measure(predictions, fresh_set, task.metrics)
    return fresh


def main() -> None:
    """Run the recipe and write its result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", choices=sorted(TARGETS))
    parser.add_argument("--run", type=Path, help="run folder; default: runs/RECIPE")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    name: str = arguments.recipe
    recipe = load_recipe(Path(name), arguments.set)
    folder = arguments.run or Path("runs") / name
    summary = compress_recipe(recipe, folder, ConsoleReporter(open_console()))
    result = {**flattened(summary), "checks": checks(summary, TARGETS[name])}
    if recipe.data.format == "signs":
        result["fresh"] = measure_fresh(folder, recipe)
    write_json(HERE / "results" / f"{name}.json", result)
    print_checks(result["checks"])


if __name__ == "__main__":
    main()
