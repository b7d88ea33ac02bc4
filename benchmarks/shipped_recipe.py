"""Run a shipped recipe and write its summary, held against what it promises.

``python benchmarks/shipped_recipe.py quickstart`` writes ``benchmarks/results/quickstart.json``.
A run that was stopped goes on; one that is done is only read.
"""

import argparse
from pathlib import Path
from typing import Any

from checks import tell
from secateur.cli.console import ConsoleReporter, open_console
from secateur.config.recipe import Recipe, load_recipe
from secateur.data.formats.signs import read_signs
from secateur.files.atomic_write import write_json
from secateur.models.network_file import load_network
from secateur.run.pipeline import compress_recipe
from secateur.tasks.task import task_of

HERE = Path(__file__).parent

# Fixed before it was first drawn from.
FRESH_SEED = 20261123

# What each recipe promises: times fewer parameters and MACs, points lost on test, least accuracy
# of the dense network.
PROMISES: dict[str, dict[str, float]] = {
    "quickstart": {"params": 10, "macs": 4.5, "lost": 2, "dense": 80},
    "gtsdb_laptop": {"params": 5, "lost": 2},
    "vgg16_cifar10": {"params": 125, "macs": 10.5, "lost": 0},
    "vgg16_gtsrb": {"params": 200, "macs": 29.4, "lost": 0},
    "vgg_gtsrb_laptop": {"params": 20, "macs": 5, "lost": 0, "dense": 97},
}


def checks(summary: dict[str, Any], promise: dict[str, float]) -> list[dict[str, Any]]:
    """Hold a summary against a promise."""
    dense, slim, metric = summary["dense"], summary["slim"], summary["metric"]
    rows: list[tuple[str, float, float, bool]] = []
    for count in ("params", "macs"):
        if count in promise:
            times = dense[count] / slim[count]
            rows.append((f"times fewer {count}", times, promise[count], times >= promise[count]))
    lost, most = dense[metric] - slim[metric], promise["lost"]
    rows.append((f"points of {metric} lost, at most", lost, most, lost <= most))
    if "dense" in promise:
        value, least = dense[metric], promise["dense"]
        rows.append((f"dense {metric}, at least", value, least, value >= least))
    worst = max(phase["slim_minus_masked"] for phase in summary["phases"])
    rows.append(("slim minus masked, at most", worst, 1e-5, worst <= 1e-5))
    return [
        {"name": name, "value": value, "target": target, "met": met}
        for name, value, target, met in rows
    ]


def measure_fresh(folder: Path, recipe: Recipe) -> dict[str, Any]:
    """Measure both networks on signs drawn from a seed that no decision has seen.

    Settings of the quick start were tried on pictures of the same drawing seed as its test set,
    so that its test figures may flatter.
    """
    pictures = read_signs(recipe.data.root, "test", size=recipe.model.input_size, seed=FRESH_SEED)
    task = task_of(recipe.data, recipe.evaluate)
    fresh: dict[str, Any] = {"seed": FRESH_SEED, "pictures": len(pictures.pictures)}
    for name in ("dense", "slim"):
        file = load_network(folder / f"{name}.safetensors")
        predictions = task.predictions(file.model, file.architecture, pictures)
        fresh[name] = task.measure(predictions, pictures, task.metrics)
    return fresh


def main() -> None:
    """Run, check and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", choices=sorted(PROMISES))
    parser.add_argument("--run", type=Path, help="run folder; runs/RECIPE if not given")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    name: str = arguments.recipe
    recipe = load_recipe(Path(name), arguments.set)
    folder = arguments.run or Path("runs") / name
    summary = compress_recipe(recipe, folder, ConsoleReporter(open_console()))
    result = {**summary, "checks": checks(summary, PROMISES[name])}
    if recipe.data.format == "signs":
        result["fresh"] = measure_fresh(folder, recipe)
    write_json(HERE / "results" / f"{name}.json", result)
    tell(result["checks"])


if __name__ == "__main__":
    main()
