"""A sweep: many recipes tried, and which of their networks no other surpasses.

Every trial is a run of its own, and all share their steps through a pool: a trial that was stopped
goes on behind the last step that was done, and the dense network is trained once a folder. Trials
go by validation alone. Test is read at the end, for the networks that no other surpasses.
"""

import hashlib
import os
import socket
import time
from dataclasses import asdict
from pathlib import Path

import optuna
from optuna.samplers import TPESampler
from optuna.trial import TrialState

from secateur.config.architecture import recipe_architecture
from secateur.config.recipe import Recipe
from secateur.experiments.sweep.early_stopping import Finished
from secateur.experiments.sweep.finish import finish
from secateur.experiments.sweep.queue import Queue, at_work
from secateur.experiments.sweep.result import OBJECTIVES, Sweep
from secateur.experiments.sweep.space import Goal, Space, described, search_space
from secateur.experiments.sweep.storage import check_recipe, connected, default_storage, open_study
from secateur.experiments.sweep.trial import POOL, Outcome, run_trial, trial_folder, untested
from secateur.files.lock import lock
from secateur.files.optional import quiet
from secateur.run.context import Reporter, open_run
from secateur.run.stages import train_dense

# Between looks at what other processes do; seconds.
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
    """Try recipes, and evaluate on test what no other of them surpasses.

    Args:
        recipe: the first trial, and the middle of what is tried.
        folder: of the sweep; gone on with if present. ``sweep.json`` is written there, and a recipe
            and a network for each point of the front to ``front/``.
        trials: how many there shall be, over all processes.
        reporter: told of what goes on.
        storage: URL of a database that several processes share; a file in the folder if None.
        goal: vary the shares that are kept, or the published levels.
        latency: time each network too, and prefer quick ones.

    Raises:
        SecateurError: the storage cannot be used or is another recipe's, or as for
            ``compress_recipe``.
    """
    url = storage or default_storage(folder)
    directions = [way for name, way in OBJECTIVES.items() if name != "latency" or latency]
    about = {"goal": goal, "latency": latency}
    with quiet("optuna"), connected(url) as database:
        check_recipe(database, recipe, about)
        with lock(folder, reporter.say):
            run = open_run(untested(recipe), folder, reporter, folder / POOL)
            architecture = recipe_architecture(recipe, run.splits.train.classes)
            space = search_space(recipe, goal, architecture)
            study = open_study(database, recipe, directions, about, run.data_key)
            dense, trained = train_dense(run)
            queue = Queue(study, trials)
            queue.begin_with(space.own)  # by one process only
        accuracy = trained.result["metric"]
        _work(queue, space, folder, reporter, accuracy, latency=latency)
        with lock(folder, reporter.say):
            return finish(study, space, folder, reporter, dense, accuracy)


def _work(
    queue: Queue, space: Space, folder: Path, reporter: Reporter, dense: float, *, latency: bool
) -> None:
    """Do trials until all are done, whoever does them."""
    waiting: list[int] = []
    while True:
        trial = queue.take()
        if trial is None:
            others = queue.taken_by_others()
            if not others:
                return
            if others != waiting:
                numbers = ", ".join(map(str, others))
                reporter.say(f"waiting for other processes, which are at trial {numbers}")
            waiting = others
            time.sleep(PATIENCE)
            continue
        outcome = _do(queue, trial, space, folder, reporter, dense, latency=latency)
        if outcome.reason is not None:
            end = "given up" if outcome.possible else "not possible, and not counted"
            reporter.say(f"  {end}: {outcome.reason}")


def _do(
    queue: Queue,
    trial: optuna.Trial,
    space: Space,
    folder: Path,
    reporter: Reporter,
    dense: float,
    *,
    latency: bool,
) -> Outcome:
    """Do one trial, and hand it in; if that is not to be, leave it to whoever comes next."""
    study = queue.study
    # Chances of its own for each trial, so that no two processes draw the same, and a sweep that
    # was stopped does not begin again with what it began with.
    study.sampler = TPESampler(seed=_seed(space.recipe, trial.number), constant_liar=True)
    try:
        with at_work(trial):
            chosen = space.choose(trial)
            machine, run = socket.gethostname(), trial_folder(folder, trial.number)
            trial.set_user_attr("worker", f"{machine}:{os.getpid()}")
            trial.set_user_attr("run", f"{machine}:{run.resolve()}")
            done = f"{queue.done()} of {queue.wanted} done"
            reporter.say(f"== trial {trial.number}, {done}: {described(chosen)}")
            outcome = run_trial(
                space.chosen_recipe(chosen, trial.number),
                folder,
                trial.number,
                reporter,
                dense,
                lambda: _finished(study),
                give_up=chosen != space.own,  # the recipe itself is what all are held against
                latency=latency,
            )
    except BaseException as error:
        queue.put_down(trial, stopped=isinstance(error, KeyboardInterrupt | SystemExit))
        raise
    found = (outcome.accuracy, outcome.params, outcome.macs, outcome.latency)
    values = [float(value) for value in found if value is not None]
    through = outcome.reason is None
    queue.hand_in(trial, asdict(outcome), values if through else None, counts=outcome.possible)
    return outcome


def _finished(study: optuna.Study) -> list[Finished]:
    """The trials of all processes that went through so far."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [
        Finished(trial.number, trial.user_attrs["outcome"]["removed"], *trial.values[:3])
        for trial in trials
    ]


def _seed(recipe: Recipe, number: int) -> int:
    digest = hashlib.sha256(f"{recipe.seed} trial {number}".encode()).digest()
    return int.from_bytes(digest[:4], "big")
