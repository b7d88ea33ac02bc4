"""Evaluations that the threshold search needs, compared with a search over a plain grid.

``python benchmarks/threshold_search.py`` writes ``benchmarks/results/threshold_search.json``. The
grid has a threshold for every 1 % of the weights; its answer is the largest threshold within the
drop. The resolution of the search is 1 % too.

- ``made``: 20,000 Gaussian weights and a metric that is a function of the share of zeros: a
  logistic curve that falls from 100 to 0, centred at one of 161 shares from 10 to 98 %. The largest
  drop is 1. ``steady`` is the curve; ``wavy`` adds waves of up to 0.5, whose periods do not divide
  the grid; ``jagged`` adds seeded noise of up to 0.5 at every threshold.
- ``trained``: the detector of ``benchmarks/tiny.py``, trained and sparsified in seconds, with its
  validation on 12 pictures, for several largest drops. With so few pictures the metric is jagged.
- ``growing``: progressive validation, as in a run, compared with validation on all pictures.
  ``made``: 4,000 pictures, each of which is wrong above some share of zeros, for the same curves.
  ``trained``: that detector, with 768 pictures for validation.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from checks import print_checks
from secateur.cli.console import ConsoleReporter
from secateur.config.recipe import load_recipe
from secateur.files.atomic_write import write_json
from secateur.models.architecture import Architecture
from secateur.models.network import raw_network
from secateur.pruning.sparsity import prunable_weights, zero_share
from secateur.pruning.threshold import Threshold, search_threshold, thresholded
from secateur.run.context import Run, open_run, provenance
from secateur.run.network_stages import train_dense
from secateur.run.phase_steps import PhaseSteps
from secateur.run.phases import recipe_phases
from secateur.run.validation import growing_validation, validate
from secateur.tasks.progressive_validation import ProgressiveValidation
from tiny import write_recipe

HERE = Path(__file__).parent
SEED = 20261130
RESOLUTION = 0.01
MOST_EVALUATIONS = 12
PICTURES = 4_000
EVERY = range(PICTURES)
KNEES = np.linspace(0.10, 0.98, 161).tolist()
DROPS = (1.0, 5.0, 10.0, 20.0, 40.0)
FEW_DROPS = (1.0, 5.0, 20.0)

Evaluate = Callable[[], float]


def main() -> None:
    """Measure, check and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE / "results" / "threshold_search.json")
    arguments = parser.parse_args()
    made_weights = [torch.randn(20_000, generator=torch.Generator().manual_seed(SEED))]
    made = {kind: made_metric(made_weights, kind) for kind in ("steady", "wavy", "jagged")}
    growing = {"made": made_pictures(made_weights)}
    with tempfile.TemporaryDirectory() as folder:
        trained = trained_network(Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        growing["trained"] = trained_by_parts(Path(folder))
    held = checks(made, trained, growing)
    result = {
        "what": "evaluations of validation to find the threshold; see the benchmark's file",
        "seed": SEED,
        "resolution": RESOLUTION,
        "made": made,
        "trained": trained,
        "growing": growing,
        "checks": held,
        "provenance": provenance(),
    }
    write_json(arguments.out, result)
    print_checks(held)


def made_metric(weights: Sequence[Tensor], kind: str) -> dict[str, Any]:
    """Search and grid for every curve."""
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
    """A metric as a function of the share of zeros."""
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


def made_pictures(weights: Sequence[Tensor]) -> dict[str, Any]:
    """Search with progressive validation and with full validation, for every curve."""
    rows = []
    for number, knee in enumerate(KNEES):
        response = falling(knee, "steady", np.random.default_rng([SEED, number]))
        hard = np.random.default_rng([SEED, number]).uniform(0, 100, PICTURES)

        def predict(
            positions: Sequence[int],
            hard: np.ndarray = hard,
            response: Callable[[float], float] = response,
        ) -> list[bool]:
            right: list[bool] = (hard[list(positions)] < response(zero_share(weights))).tolist()
            return right

        def share_right(predictions: Sequence[bool], positions: Sequence[int]) -> float:
            return 100 * sum(predictions) / len(positions)

        reference = share_right(predict(EVERY), EVERY)
        floor = reference - 1
        validation = ProgressiveValidation(PICTURES, predict, share_right, reference, floor, number)
        whole = search_threshold(
            weights,
            lambda predict=predict: share_right(predict(EVERY), EVERY),  # type: ignore[misc]
            floor,
            RESOLUTION,
        )
        rows.append(by_parts(weights, validation, floor, whole))
    return {
        "pictures": PICTURES,
        "share_of_pictures": median(each["share_of_pictures"] for each in rows),
        "same": mean(each["zeros"] == each["zeros_by_all"] for each in rows),
    }


def by_parts(
    weights: Sequence[Tensor], validation: ProgressiveValidation, floor: float, whole: Threshold
) -> dict[str, Any]:
    """Search with progressive validation; the reference's predictions are counted too."""
    found = search_threshold(weights, validation, floor, RESOLUTION)
    every = len(validation.order)
    seen = sum(validation.evaluated) + len(validation.expected)
    return {
        "zeros": found.zeros,
        "zeros_by_all": whole.zeros,
        "looks": validation.evaluated,
        "share_of_pictures": seen / (every * len(whole.trace)),
    }


def trained_by_parts(folder: Path) -> dict[str, Any]:
    """Search with progressive validation and with full validation, for each drop."""
    found = sparse_network(folder, 1024, 0.75)
    rows = {}
    for drop in FEW_DROPS:
        floor = found.metric - drop
        start = time.perf_counter()
        whole = search_threshold(found.weights, found.evaluate, floor, RESOLUTION)
        middle = time.perf_counter()
        validation = growing_validation(
            found.run, "threshold", found.model, found.architecture, found.metric, floor
        )
        rows[str(drop)] = by_parts(found.weights, validation, floor, whole)
        end = time.perf_counter()
        rows[str(drop)]["times_faster"] = (middle - start) / (end - middle)
    return {
        "pictures": len(found.run.splits.validation),
        "share_of_pictures": median(each["share_of_pictures"] for each in rows.values()),
        "same": mean(each["zeros"] == each["zeros_by_all"] for each in rows.values()),
        "times_faster": median(each["times_faster"] for each in rows.values()),
        "drops": rows,
    }


@dataclass(frozen=True, slots=True)
class Sparse:
    """A sparsified detector of a run, its prunable weights, and its metric."""

    run: Run
    model: nn.Module
    architecture: Architecture
    weights: Sequence[Tensor]
    metric: float

    def evaluate(self) -> float:
        """The metric with the present weights."""
        return validate(self.run, self.model, self.architecture)


def sparse_network(folder: Path, pictures: int, validation: float) -> Sparse:
    """Train and sparsify a detector."""
    recipe = load_recipe(write_recipe(folder, pictures), [f"data.validation={validation}"])
    run = open_run(recipe, folder / "run", ConsoleReporter(Console(quiet=True)))
    dense, _ = train_dense(run)
    section, sparsify, select, retrain = recipe.phase(1)
    steps = PhaseSteps(run, section, (sparsify, select, retrain), dense, {})
    graph = steps.graph(dense)
    (phase,) = recipe_phases(recipe, dense.load(), graph)
    network, metric = steps.sparsify(phase, dense)
    sparse = network.load()
    weights = prunable_weights(raw_network(sparse), graph, phase.groups)
    return Sparse(run, sparse, network.architecture, weights, metric)


def trained_network(folder: Path) -> dict[str, Any]:
    """Search the threshold of each drop, and evaluate the grid."""
    network = sparse_network(folder, 24, 0.5)
    weights, evaluate = network.weights, network.evaluate
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
        floor = network.metric - drop
        start = time.perf_counter()
        found = search_threshold(weights, evaluate, floor, RESOLUTION)
        drops[str(drop)] = row(found, shares, metrics, floor)
        drops[str(drop)]["search"]["seconds"] = time.perf_counter() - start
    return {
        "weights": len(sizes),
        "exact_zeros": exact,
        "metric": {"name": network.run.recipe.evaluate.metric, "sparsified": network.metric},
        "grid": {"evaluations": len(metrics), "seconds": seconds, "metrics": metrics},
        "drops": drops,
    }


def row(
    found: Threshold, shares: Sequence[float], metrics: Sequence[float], floor: float
) -> dict[str, Any]:
    """The answers of a search and of the grid, whose shares rise; its first always holds."""
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
    """Whether search and grid agree to the resolution, plus 0.1 % for the steps of the weights."""
    gap: float = abs(found["search"]["zeros"] - found["grid"]["zeros"])
    return gap <= RESOLUTION + 0.001


def checks(
    made: dict[str, Any], trained: dict[str, Any], growing: dict[str, Any]
) -> list[dict[str, Any]]:
    """Compare every kind of metric with the targets."""
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
    for kind, found in growing.items():
        name, share = (
            f"{kind}, progressive: share of searches with the answer of full validation",
            found["same"],
        )
        rows.append((name, share, 1.0, share == 1.0))
    return [
        {"name": name, "value": value, "target": target, "met": met}
        for name, value, target, met in rows
    ]


if __name__ == "__main__":
    main()
