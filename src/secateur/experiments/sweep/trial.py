"""One trial: a recipe compressed and measured on validation only, and stopped early if hopeless."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna

from secateur.benchmark.benchmark import benchmark
from secateur.benchmark.preparation import Conditions
from secateur.config.recipe import Recipe
from secateur.errors import DivergedError, PruningError, RecipeError
from secateur.experiments.series import POOL, metric_value
from secateur.experiments.sweep.early_stopping import Finished, broken, outperformed
from secateur.run.context import Reporter, open_run
from secateur.run.folder import TRIALS
from secateur.run.pipeline import run_phases
from secateur.run.records import RemovalRecord, TrainingRecord
from secateur.run.stage import Step

TIMING = Conditions(seconds=5.0)


@dataclass(frozen=True, slots=True)
class Context:
    """What all trials of a sweep share in one process.

    Attributes:
        folder: folder of the sweep.
        reporter: prints the progress.
        dense: metric of the dense network on validation.
        latency: whether latency is an objective.
    """

    folder: Path
    reporter: Reporter
    dense: float
    latency: bool


@dataclass(slots=True)
class Outcome:
    """What a trial found, complete or not.

    Attributes:
        accuracy: final metric; None if the trial was stopped early.
        removed: metric after the last removal, before retraining.
        params: parameters of the slim network, known after the last removal.
        macs: MACs of the slim network for one picture of the nominal size, likewise known.
        latency: milliseconds per picture; None unless latency is an objective.
        steps: training steps, without those of the dense network.
        reason: why the trial was stopped early.
        possible: whether the choice could be started.
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
    number: int,
    context: Context,
    finished: Callable[[], Sequence[Finished]],
    *,
    give_up: bool,
) -> Outcome:
    """Compress by a recipe, without reading the test pictures.

    Args:
        recipe: recipe of the trial.
        number: number of the trial.
        context: what all trials share.
        finished: returns the trials that are complete by now.
        give_up: whether to stop the trial early if it is hopeless.

    Raises:
        SecateurError: an error that this trial's choice did not cause.
    """
    outcome = Outcome()
    last = len(recipe.compress.phases)

    def watch(step: Step) -> None:
        record, reason = step.result, None
        if not isinstance(record, TrainingRecord | RemovalRecord) or record.phase is None:
            return
        _, sparsify, _, retrain = recipe.phase(record.phase)
        metric = metric_value(record.metrics, recipe.evaluate.metric)
        if record.kind == "sparsify":
            outcome.steps += sparsify.steps
            reason = broken(metric, context.dense)
        elif record.kind == "retrain":
            outcome.steps += retrain.steps
            if record.phase < last:
                reason = broken(metric, context.dense)
            else:
                outcome.accuracy = metric
        elif isinstance(record, RemovalRecord) and record.phase == last:
            outcome.removed, outcome.params, outcome.macs = metric, record.params, record.macs
            reason = outperformed(metric, record.params, record.macs, finished())
        if reason and give_up:
            raise optuna.TrialPruned(f"{step.folder.name}: {reason}")

    try:
        folder, pool = trial_folder(context.folder, number), context.folder / POOL
        run = open_run(untested(recipe), folder, context.reporter, pool)
    except (PruningError, RecipeError) as error:  # such as a budget too small for so many phases
        return Outcome(reason=str(error), possible=False)
    try:
        slim = run_phases(run, watch).slim
    except (optuna.TrialPruned, PruningError, RecipeError, DivergedError) as end:
        outcome.reason = str(end)
    else:
        if context.latency:
            outcome.latency = _milliseconds(slim.path, context.reporter)
    return outcome


def trial_folder(folder: Path, number: int) -> Path:
    """The run folder of a trial, in the folder of its sweep."""
    return folder / TRIALS / str(number)


def untested(recipe: Recipe) -> Recipe:
    """Copy a recipe without its test split."""
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"test": None})})


def all_steps(recipe: Recipe) -> int:
    """Count the training steps of all phases."""
    phases = [recipe.phase(number + 1) for number in range(len(recipe.compress.phases))]
    return sum(sparsify.steps + retrain.steps for _, sparsify, _, retrain in phases)


def _milliseconds(network: Path, reporter: Reporter) -> float | None:
    """Measure the median time for one picture."""
    measured = benchmark([str(network)], TIMING, reporter.bar).measurements[0]
    times = measured.network or measured.whole
    return times.median if times else None
