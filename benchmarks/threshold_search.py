"""Count what the search for the threshold asks of validation, against a walk over a plain grid.

``python benchmarks/threshold_search.py`` writes ``benchmarks/results/threshold_search.json``. The
grid has a threshold for every 1 % of the weights, and gives the largest that holds; the search is
asked for 1 % too.

- ``made``: 20,000 Gaussian weights and a metric that is a function of the share of zeros, 100 and
  then falling to 0 round a knee, for 161 knees from 10 to 98 %. It may fall by 1. ``steady`` falls
  steadily; to ``wavy`` are added waves of up to 0.5, of periods that no grid shares; ``jagged`` has
  noise of up to 0.5, from a seed, at every threshold.
- ``trained``: the detector of ``benchmarks/tiny.py``, trained and sparsified on this machine in
  seconds, and its own validation on 12 pictures, for several largest drops. So few pictures make
  the metric a jagged one.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from checks import tell
from secateur.console import ConsoleReporter
from secateur.models.network import raw_network
from secateur.models.network_file import load_network
from secateur.phases import network_groups, phase_groups
from secateur.pruning.sparsity import prunable_weights, zero_share
from secateur.pruning.threshold import Threshold, search_threshold, thresholded
from secateur.recipe import load_recipe
from secateur.run import open_run, provenance
from secateur.steps import sparsify_network, train_dense, validate
from secateur.whole_file import write_json
from tiny import write_recipe

HERE = Path(__file__).parent
SEED = 20261130
RESOLUTION = 0.01
MOST_EVALUATIONS = 12
KNEES = np.linspace(0.10, 0.98, 161).tolist()
DROPS = (1.0, 5.0, 10.0, 20.0, 40.0)

Evaluate = Callable[[], float]


def main() -> None:
    """Measure, check and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE / "results" / "threshold_search.json")
    arguments = parser.parse_args()
    made_weights = [torch.randn(20_000, generator=torch.Generator().manual_seed(SEED))]
    made = {kind: made_metric(made_weights, kind) for kind in ("steady", "wavy", "jagged")}
    with tempfile.TemporaryDirectory() as folder:
        trained = trained_network(Path(folder))
    held = checks(made, trained)
    result = {
        "what": "evaluations of validation to find the threshold; see the benchmark's file",
        "seed": SEED,
        "resolution": RESOLUTION,
        "made": made,
        "trained": trained,
        "checks": held,
        "provenance": provenance(),
    }
    write_json(arguments.out, result)
    tell(held)


def made_metric(weights: Sequence[Tensor], kind: str) -> dict[str, Any]:
    """Search and walk for every knee."""
    rows = []
    for number, knee in enumerate(KNEES):
        response = falling(knee, kind, np.random.default_rng([SEED, number]))
        found = search_threshold(
            weights,
            lambda response=response: response(zero_share(weights)),  # type: ignore[misc]
            99.0,
            RESOLUTION,
        )
        grid = [share / 100 for share in range(100)]
        rows.append(row(found, grid, [response(share) for share in grid], 99.0))
    gaps = [each["search"]["zeros"] - each["grid"]["zeros"] for each in rows]
    return {
        "evaluations": {
            "mean": mean(each["search"]["evaluations"] for each in rows),
            "most": max(each["search"]["evaluations"] for each in rows),
            "grid": len(grid),
            "grid_from_the_top_mean": mean(
                each["grid"]["evaluations_from_the_top"] for each in rows
            ),
        },
        "zeros_more_than_grid": {"least": min(gaps), "median": median(gaps), "most": max(gaps)},
        "same_to_the_resolution": mean(same(each) for each in rows),
        "all_hold": all(each["search"]["metric"] >= 99.0 for each in rows),
    }


def falling(knee: float, kind: str, generator: np.random.Generator) -> Callable[[float], float]:
    """A metric of the share of zeros."""
    phases = generator.uniform(0, 2 * math.pi, 2)

    def response(zeros: float) -> float:
        value = 100 / (1 + math.exp((zeros - knee) / 0.01))
        if kind == "wavy":
            value += 0.25 * math.sin(zeros * 131 + phases[0]) + 0.25 * math.sin(
                zeros * 57 + phases[1]
            )
        elif kind == "jagged":
            at = [SEED, round(knee * 1e6), round(zeros * 1e6)]
            value += float(np.random.default_rng(at).uniform(-0.5, 0.5))
        return value

    return response


def trained_network(folder: Path) -> dict[str, Any]:
    """Train, sparsify, and look for the threshold of each drop."""
    recipe = load_recipe(write_recipe(folder), ["data.validation=0.5"])
    run = open_run(recipe, folder / "run", ConsoleReporter(Console(quiet=True)))
    dense, _ = train_dense(run)
    phase, sparsify, _, _ = recipe.phase(1)
    network, step = sparsify_network(run, "phase1", phase, dense, sparsify)
    sparse, architecture = load_network(network.path).model, network.architecture
    graph = network_groups(sparse, architecture)
    groups = phase_groups(phase, sparse, architecture, graph)
    weights = prunable_weights(raw_network(sparse), graph, groups)

    def evaluate() -> float:
        return validate(run, sparse, architecture)

    exact = zero_share(weights)
    sizes = torch.cat([weight.detach().abs().flatten() for weight in weights]).sort().values
    shares, metrics, seconds = [], [], 0.0
    for share in [exact, *(s / 100 for s in range(100) if s / 100 > exact)]:
        value = float(sizes[int(share * len(sizes))]) if share > exact else 0.0
        start = time.perf_counter()
        with thresholded(weights, value):
            metrics.append(evaluate())
            shares.append(zero_share(weights))
        seconds += time.perf_counter() - start
    drops = {}
    for drop in DROPS:
        floor = step.result["metric"] - drop
        start = time.perf_counter()
        found = search_threshold(weights, evaluate, floor, RESOLUTION)
        drops[str(drop)] = row(found, shares, metrics, floor)
        drops[str(drop)]["search"]["seconds"] = time.perf_counter() - start
    return {
        "weights": len(sizes),
        "exact_zeros": exact,
        "metric": {"name": recipe.evaluate.metric, "sparsified": step.result["metric"]},
        "grid": {"evaluations": len(metrics), "seconds": seconds, "metrics": metrics},
        "drops": drops,
    }


def row(
    found: Threshold, shares: Sequence[float], metrics: Sequence[float], floor: float
) -> dict[str, Any]:
    """What a search found and what its grid has; the grid's shares rise, and its first holds."""
    holding = max((i for i, metric in enumerate(metrics) if metric >= floor), default=0)
    return {
        "search": {
            "evaluations": len(found.trace),
            "zeros": found.zeros,
            "metric": found.metric,
        },
        "grid": {
            "evaluations": len(shares),
            "evaluations_from_the_top": len(shares) - holding,
            "zeros": shares[holding],
            "metric": metrics[holding],
        },
    }


def same(found: dict[str, Any]) -> bool:
    """Whether search and grid agree to the resolution; the weights' own steps come on top."""
    gap: float = abs(found["search"]["zeros"] - found["grid"]["zeros"])
    return gap <= RESOLUTION + 0.001


def checks(made: dict[str, Any], trained: dict[str, Any]) -> list[dict[str, Any]]:
    """Hold every kind of metric against the targets."""
    drops = trained["drops"].values()
    evaluations = {kind: found["evaluations"]["most"] for kind, found in made.items()}
    evaluations["trained"] = max(found["search"]["evaluations"] for found in drops)
    agreed = {kind: found["same_to_the_resolution"] for kind, found in made.items()}
    agreed["trained"] = mean(same(found) for found in drops)
    rows: list[tuple[str, float, float, bool]] = [
        (f"{kind}: evaluations, at most", value, MOST_EVALUATIONS, value <= MOST_EVALUATIONS)
        for kind, value in evaluations.items()
    ]
    rows += [
        (f"{kind}: share of searches with the grid's answer, to 1 %", value, 1.0, value == 1.0)
        for kind, value in agreed.items()
    ]
    return [
        {"name": name, "value": value, "target": target, "met": met}
        for name, value, target, met in rows
    ]


if __name__ == "__main__":
    main()
