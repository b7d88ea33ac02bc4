"""A sweep: many recipes tried, and the Pareto front of their networks.

Every trial is a run of its own. Trials share their steps through a pool, so an interrupted trial
resumes after its last completed step, and the dense network is trained once per folder. Trials are
judged on validation only; test is read at the end, for the Pareto front.
"""

import hashlib
import os
import socket
import time
from dataclasses import asdict
from pathlib import Path
from typing import cast

import optuna
from optuna.samplers import TPESampler
from optuna.trial import TrialState

from secateur.config.architecture import recipe_architecture
from secateur.config.recipe import Recipe
from secateur.experiments.series import POOL, metric_value
from secateur.experiments.sweep.early_stopping import Finished
from secateur.experiments.sweep.finish import finish
from secateur.experiments.sweep.queue import Queue, heartbeat
from secateur.experiments.sweep.result import OBJECTIVES, Sweep
from secateur.experiments.sweep.space import Goal, Space, described, search_space
from secateur.experiments.sweep.storage import check_recipe, connected, default_storage, open_study
from secateur.experiments.sweep.trial import Context, Outcome, run_trial, trial_folder, untested
from secateur.files.optional import quiet
from secateur.run.context import Reporter, open_run
from secateur.run.folder import check_folder, locked_run
from secateur.run.network_stages import train_dense
from secateur.run.records import TrainingRecord

# Seconds between looks at the trials of other processes.
PATIENCE = 2.0


def sweep(
    recipe: Recipe,
    folder: Path,
    trials: int,
    reporter: Reporter,
    *,
    storage: str | None = None,
    goal: Goal = "budget",
    latency: bool = False,
) -> Sweep:
    """Try many variations of a recipe, and evaluate their Pareto front on test.

    Args:
        recipe: the first trial, and the centre of the search space.
        folder: folder of the sweep; a sweep in it resumes. ``sweep.json`` is written there, and a
            recipe and a network for each point of the Pareto front to ``front/``.
        trials: number of trials, over all processes.
        reporter: prints the progress.
        storage: URL of a database that several processes share; None for a file in the folder.
        goal: ``budget`` varies the shares that are kept, ``levels`` the published levels.
        latency: also minimise the time for one picture.

    Raises:
        SecateurError: the storage cannot be used or holds another recipe's sweep, or as for
            ``compress_recipe``.
    """
    check_folder(folder)
    url = storage or default_storage(folder)
    directions = [each for name, each in OBJECTIVES.items() if name != "latency" or latency]
    about = {"goal": goal, "latency": latency}
    with quiet("optuna"), connected(url) as database:
        check_recipe(database, recipe, about)
        with locked_run(folder, reporter.say):
            run = open_run(untested(recipe), folder, reporter, folder / POOL)
            architecture = recipe_architecture(recipe, run.splits.train.classes)
            space = search_space(recipe, goal, architecture)
            study = open_study(database, recipe, directions, about, run.data_key)
            dense, trained = train_dense(run)
            queue = Queue(study, trials)
            queue.enqueue_first(space.own)
        accuracy = metric_value(
            cast(TrainingRecord, trained.result).metrics, recipe.evaluate.metric
        )
        context = Context(folder, reporter, accuracy, latency)
        _work(queue, space, context)
        with locked_run(folder, reporter.say):
            return finish(study, space, folder, reporter, dense, context.dense)


def _work(queue: Queue, space: Space, context: Context) -> None:
    """Run trials until all are done, here or in other processes."""
    reporter = context.reporter
    waiting: list[int] = []
    while True:
        trial = queue.take()
        if trial is None:
            others = queue.running()
            if not others:
                return
            if others != waiting:
                numbers = ", ".join(map(str, others))
                reporter.say(f"waiting for other processes, which run trial {numbers}")
            waiting = others
            time.sleep(PATIENCE)
            continue
        outcome = _run(queue, trial, space, context)
        if outcome.reason is not None:
            end = "given up" if outcome.possible else "not possible, and not counted"
            reporter.say(f"  {end}: {outcome.reason}")


def _run(queue: Queue, trial: optuna.Trial, space: Space, context: Context) -> Outcome:
    """Run one trial and record its outcome; return it to the queue on an error."""
    study = queue.study
    # Each trial has its own seed: processes then draw different choices, and a resumed sweep does
    # not repeat its first choices.
    study.sampler = TPESampler(seed=_seed(space.recipe, trial.number), constant_liar=True)
    try:
        with heartbeat(trial):
            chosen = space.choose(trial)
            machine, folder = socket.gethostname(), trial_folder(context.folder, trial.number)
            trial.set_user_attr("worker", f"{machine}:{os.getpid()}")
            trial.set_user_attr("run", f"{machine}:{folder.resolve()}")
            done = f"{queue.done()} of {queue.wanted} done"
            context.reporter.say(f"== trial {trial.number}, {done}: {described(chosen)}")
            outcome = run_trial(
                space.chosen_recipe(chosen, trial.number),
                trial.number,
                context,
                lambda: _finished(study),
                give_up=chosen != space.own,  # the recipe itself is the reference
            )
    except BaseException as error:
        queue.release(trial, stopped=isinstance(error, KeyboardInterrupt | SystemExit))
        raise
    found = (outcome.accuracy, outcome.params, outcome.macs, outcome.latency)
    values = [float(value) for value in found if value is not None]
    complete = outcome.reason is None
    queue.finish(trial, asdict(outcome), values if complete else None, counts=outcome.possible)
    return outcome


def _finished(study: optuna.Study) -> list[Finished]:
    """The trials of all processes that are complete by now."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [
        Finished(trial.number, trial.user_attrs["outcome"]["removed"], *trial.values[:3])
        for trial in trials
    ]


def _seed(recipe: Recipe, number: int) -> int:
    digest = hashlib.sha256(f"{recipe.seed} trial {number}".encode()).digest()
    return int.from_bytes(digest[:4], "big")
