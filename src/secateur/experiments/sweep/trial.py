"""One trial: a recipe carried out by validation alone, and given up where it is hopeless."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna

from secateur.benchmark.benchmark import benchmark
from secateur.config.recipe import Recipe
from secateur.errors import DivergedError, PruningError, RecipeError
from secateur.experiments.sweep.early_stopping import Finished, broken, outdone
from secateur.run.folder import TRIALS, Step
from secateur.run.pipeline import run_phases
from secateur.run.context import Reporter, open_run

POOL = "pool"
# How long a network is timed; seconds.
TIMING = 5.0


@dataclass(slots=True)
class Outcome:
    """What became of a trial, or what is known of it so far.

    Attributes:
        accuracy: metric in the end; None of one that was given up.
        removed: metric straight after the last removal.
        params: of the slim network, from the last removal on.
        macs: likewise, for one picture of its nominal size.
        latency: milliseconds for one picture; None where nobody asked for it.
        steps: of the optimiser, behind the dense network.
        reason: why it was given up.
        possible: the choice could be begun with.
    """

    accuracy: float | None = None
    removed: float | None = None
    params: int | None = None
    macs: int | None = None
    latency: float | None = None
    steps: int = 0
    reason: str | None = None
    possible: bool = True


def run_trial(
    recipe: Recipe,
    folder: Path,
    number: int,
    reporter: Reporter,
    dense: float,
    finished: Callable[[], Sequence[Finished]],
    *,
    give_up: bool,
    latency: bool,
) -> Outcome:
    """Carry out a recipe, or as much of it as is worth it; test pictures are not even read.

    Args:
        recipe: of the trial.
        folder: of the sweep.
        number: of the trial.
        reporter: told of what goes on.
        dense: metric of the dense network on validation.
        finished: gives the trials that went through so far.
        give_up: end it where it is hopeless.
        latency: time the slim network too.

    Raises:
        SecateurError: what is wrong has nothing to do with this choice.
    """
    outcome = Outcome()
    own = trial_folder(folder, number)
    last = len(recipe.compress.phases)

    def watch(step: Step) -> None:
        phase, _, kind = step.folder.name.partition("-")
        place = int(phase.removeprefix("phase"))
        _, sparsify, _, retrain = recipe.phase(place)
        metric, reason = step.result["metric"], None
        if kind == "sparsify":
            outcome.steps += sparsify.steps
            reason = broken(metric, dense)
        elif kind == "retrain":
            outcome.steps += retrain.steps
            if place < last:
                reason = broken(metric, dense)
            else:
                outcome.accuracy = metric
        elif place == last:
            params, macs = step.result["params"], step.result["macs"]
            outcome.removed, outcome.params, outcome.macs = metric, params, macs
            reason = outdone(metric, params, macs, finished())
        if reason and give_up:
            raise optuna.TrialPruned(f"{step.folder.name}: {reason}")

    try:
        run = open_run(untested(recipe), own, reporter, folder / POOL)
    except (PruningError, RecipeError) as error:
        # Such as a budget that is too small for so many phases.
        return Outcome(reason=str(error), possible=False)
    try:
        slim = run_phases(run, watch).slim
    except (optuna.TrialPruned, PruningError, RecipeError, DivergedError) as end:
        outcome.reason = str(end)
    else:
        if latency:
            found = benchmark([str(slim.path)], seconds=TIMING, bar=reporter.bar).measurements[0]
            times = found.network or found.whole
            outcome.latency = times.median if times else None
    return outcome


def trial_folder(folder: Path, number: int) -> Path:
    """Where the run of a trial is, in the folder of its sweep."""
    return folder / TRIALS / str(number)


def untested(recipe: Recipe) -> Recipe:
    """Give the recipe without its test pictures."""
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"test": None})})


def all_steps(recipe: Recipe) -> int:
    """Optimiser steps of a recipe, behind the dense network."""
    phases = [recipe.phase(number + 1) for number in range(len(recipe.compress.phases))]
    return sum(sparsify.steps + retrain.steps for _, sparsify, _, retrain in phases)
