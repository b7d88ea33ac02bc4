"""Compress without training, and see what each part of it is worth.

``python benchmarks/without_training.py quickstart`` trains the dense network of a recipe once for
each seed, or finds it; cuts it to several shares of its MACs in several ways, without training; and
measures all of them on test. It writes ``benchmarks/results/without_training_RECIPE.json``. A
stopped run resumes: every measured network has a line in the run folder.
"""

import argparse
import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from checks import Check, at_most, print_checks
from secateur.cli.console import ConsoleReporter, open_console
from secateur.config.recipe import Recipe, load_recipe
from secateur.files.atomic_write import write_json
from secateur.models.cost import count_macs
from secateur.models.network import example_input, raw_network
from secateur.models.network_file import load_network
from secateur.pruning.baselines.torch_pruning import group_norm, load_torch_pruning
from secateur.pruning.criteria.table import CRITERIA, Criterion
from secateur.pruning.phase import Network, Phase, Size, remove
from secateur.pruning.selection.budget import Budget
from secateur.pruning.selection.goal import Goal
from secateur.pruning.settings import Method, RemovalSettings, SelectionSettings
from secateur.run.context import Run, open_run, provenance
from secateur.run.dense import train_recipe
from secateur.run.phases import network_groups
from secateur.run.training import StageTraining

HERE = Path(__file__).parent
KEEPS = (0.7, 0.5, 0.35, 0.25)
# The most points that ours may lose at each share of the MACs.
TARGETS: dict[str, dict[float, float]] = {
    "quickstart": {0.7: 1.5, 0.5: 5, 0.35: 15, 0.25: 35},
    "gtsdb_laptop": {0.7: 2, 0.5: 6},
    "vgg_gtsrb_laptop": {0.7: 2, 0.5: 6},
}
OURS = "ours"
PLAIN = RemovalSettings(reconstruct=False, fold_means=False, reestimate_norms=False)
MENDED = RemovalSettings(reconstruct=False)
FULL = RemovalSettings()


@dataclass(frozen=True, slots=True)
class Way:
    """One way to cut: a criterion, and what is repaired afterwards."""

    about: str
    criterion: str
    removal: RemovalSettings


WAYS = {
    OURS: Way("criterion reconstruction, reconstructed", "reconstruction", FULL),
    "means and norms": Way(
        "the same filters; means folded, norms re-estimated", "reconstruction", MENDED
    ),
    "plain": Way("the same filters; nothing repaired", "reconstruction", PLAIN),
    "l1+reconstruct": Way("L1 norms, the same share of every layer", "l1", FULL),
    "taylor+reconstruct": Way("first-order Taylor", "taylor", FULL),
    "taylor": Way("first-order Taylor; means and norms", "taylor", MENDED),
    "torch_pruning": Way("Torch-Pruning's group norm; norms re-estimated", "torch_pruning", MENDED),
}


def cut(run: Run, dense: Path, way: Way, keep: float) -> tuple[torch.nn.Module, float]:
    """Cut a network without training; also give the seconds."""
    loaded = load_network(dense)
    graph = network_groups(loaded.model, loaded.architecture)
    method = Method(
        selection=SelectionSettings(
            criterion=way.criterion, min_filters=run.recipe.compress.select.min_filters
        ),
        removal=way.removal,
        training=False,
    )
    groups = tuple(graph.prunable())
    phase = Phase(1, groups, Goal(keep_macs=keep), method, Budget(macs=keep * graph.cost()[1]))
    noise = torch.randn(
        2, *example_input(loaded.architecture).shape[1:], generator=torch.Generator().manual_seed(0)
    )
    network = Network(loaded.model, graph, noise, raw_network)
    trainer = StageTraining(run, "cut", run.recipe.compress.retrain, run.folder, "cut")
    start = time.perf_counter()
    removed = remove(network, network, phase, Size(phase.budget), trainer, seed=run.recipe.seed)
    return removed.model.cpu().eval(), time.perf_counter() - start


def measure(recipe: Recipe, folder: Path, seed: int, keeps: tuple[float, ...]) -> list[Any]:
    """Measure the dense network of a seed and all its cuts on test, or find them."""
    reporter = ConsoleReporter(open_console())
    recipe = recipe.model_copy(update={"seed": seed})
    folder = folder / str(seed)
    dense = train_recipe(recipe, folder, reporter)
    run = open_run(recipe, folder, reporter)
    done_file = folder / "cuts.json"
    done = json.loads(done_file.read_text("utf-8")) if done_file.is_file() else []
    name = recipe.evaluate.metric
    wanted = [("dense", 1.0), *((way, keep) for keep in keeps for way in WAYS)]
    for way, keep in wanted:
        if any(row["way"] == way and row["keep"] == keep for row in done):
            continue
        loaded = load_network(dense)
        model, seconds = (loaded.model, 0.0) if way == "dense" else cut(run, dense, WAYS[way], keep)
        found = run.task.predictions(model, loaded.architecture, run.evaluated)
        row = {
            "way": way,
            "keep": keep,
            "seed": seed,
            "macs": count_macs(raw_network(model), example_input(loaded.architecture)),
            "metric": run.task.measure(found, run.evaluated, (name,))[name],
            "seconds": round(seconds, 1),
        }
        print(row, flush=True)
        done.append(row)
        write_json(done_file, done)
    return cast(list[Any], done)


def checks(rows: list[dict[str, Any]], target: dict[float, float]) -> list[Check]:
    """Compare what ours loses, in the mean over the seeds, with the targets."""
    dense = {row["seed"]: row["metric"] for row in rows if row["way"] == "dense"}
    found = []
    for keep, most in target.items():
        lost = [
            dense[row["seed"]] - row["metric"]
            for row in rows
            if row["way"] == OURS and row["keep"] == keep
        ]
        name = f"points lost at {keep:.0%} of the MACs, at most"
        found.append(at_most(name, statistics.mean(lost), most))
    return found


def main() -> None:
    """Measure all seeds and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", choices=sorted(TARGETS))
    parser.add_argument("--run", type=Path, help="folder; default: runs/without_training/RECIPE")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    # As published, this criterion follows a training with its penalty; here it has none.
    CRITERIA["torch_pruning"] = Criterion(
        group_norm, "Torch-Pruning's group norm", "importance", check=load_torch_pruning
    )
    name: str = arguments.recipe
    recipe = load_recipe(Path(name), arguments.set)
    folder = arguments.run or Path("runs/without_training") / name
    rows = [row for seed in range(arguments.seeds) for row in measure(recipe, folder, seed, KEEPS)]
    result = {
        "recipe": name,
        "metric": recipe.evaluate.metric,
        "pictures": FULL.pictures,
        "ways": {way: each.about for way, each in WAYS.items()},
        "rows": rows,
        "provenance": provenance(),
        "checks": checks(rows, TARGETS[name]),
    }
    write_json(HERE / "results" / f"without_training_{name}.json", result)
    print_checks(result["checks"])


if __name__ == "__main__":
    main()
