"""The end of a sweep: evaluate its Pareto front on test and write its files."""

import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.trial import FrozenTrial, TrialState

from secateur.experiments.series import POOL, write_result
from secateur.experiments.sweep.queue import is_uncounted, origin_of
from secateur.experiments.sweep.result import OBJECTIVES, Dense, Point, Row, Sweep
from secateur.experiments.sweep.space import Space
from secateur.experiments.sweep.trial import Outcome, all_steps, trial_folder
from secateur.files.atomic_write import write_text
from secateur.models.cost import count_macs, count_params
from secateur.models.network import example_input, raw_network
from secateur.run.context import Handle, Reporter
from secateur.run.folder import delete_own
from secateur.run.pipeline import compress_recipe

RESULT_FILE = "sweep.json"
FRONT = "front"
FRONT_FILES = ("[0-9]*.yaml", "[0-9]*.safetensors")
_STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "given up",
    TrialState.FAIL: "stopped",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


def finish(
    study: optuna.Study,
    space: Space,
    folder: Path,
    reporter: Reporter,
    dense: Handle,
    accuracy: float,
) -> Sweep:
    """Evaluate the Pareto front on test and write the result.

    Only networks whose runs are in this folder are evaluated here; other processes store their
    test metrics in the study.

    Args:
        study: the study of the sweep, with all trials done.
        space: the search space.
        folder: folder of the sweep.
        reporter: prints the progress.
        dense: the dense network that all trials start from.
        accuracy: its metric on validation.
    """
    recipe, metric = space.recipe, space.recipe.evaluate.metric
    trials = [
        trial
        for trial in study.get_trials(deepcopy=False)
        if not (is_uncounted(trial) and trial.state == TrialState.FAIL)  # it made no choice
    ]
    front = study.best_trials
    rows = {trial.number: _row(trial, space) for trial in trials}
    for number in sorted(trial.number for trial in front):
        run = trial_folder(folder, number)
        if not run.is_dir():
            reporter.say(f"trial {number} is at {rows[number].run} and is evaluated there")
            continue
        reporter.say(f"== trial {number} on {recipe.data.test or 'validation'}")
        chosen = space.chosen_recipe(rows[number].chosen, number)
        summary = compress_recipe(chosen, run, reporter, folder / POOL)
        for key, found in ((number, summary.slim), ("dense", summary.dense)):
            metrics = {name: value for name, value in found.metrics.items() if value is not None}
            study.set_user_attr(f"test {key}", metrics)
    tests, model = study.user_attrs, dense.load()
    delete_own(folder / FRONT, FRONT_FILES)  # an earlier one, of fewer trials
    points = [_point(trial, space, folder, tests) for trial in front]
    result = Sweep(
        recipe.name,
        metric,
        recipe.data.test or "validation",
        space.goal,
        list(OBJECTIVES)[: len(study.directions)],
        Dense(
            accuracy,
            tests.get("test dense"),
            count_params(model),
            count_macs(raw_network(model), example_input(dense.architecture)),
        ),
        list(rows.values()),
        sorted(points, key=lambda point: (-point.params, -point.macs, point.trial)),
        sum(row.outcome.steps for row in rows.values()),
        sum(row.spared for row in rows.values()),
    )
    write_result(folder / RESULT_FILE, recipe, asdict(result), ["optuna"])
    return result


def _row(trial: FrozenTrial, space: Space) -> Row:
    chosen = space.readable(trial.params)
    outcome = Outcome(**trial.user_attrs.get("outcome", {}))
    given_up = trial.state == TrialState.PRUNED and outcome.possible
    return Row(
        trial.number,
        _STATES[trial.state] if outcome.possible else "not possible",
        origin_of(trial),
        chosen,
        outcome,
        all_steps(space.chosen_recipe(chosen, trial.number)) - outcome.steps if given_up else 0,
        trial.user_attrs.get("worker"),
        trial.user_attrs.get("run"),
    )


def _point(trial: FrozenTrial, space: Space, folder: Path, tests: dict[str, Any]) -> Point:
    """Write the recipe of a point, and its network if the run is in this folder."""
    number = trial.number
    accuracy, params, macs, *latency = trial.values
    recipe = space.chosen_recipe(space.readable(trial.params), number)
    recipe_file, network_file = f"{FRONT}/{number}.yaml", f"{FRONT}/{number}.safetensors"
    write_text(
        folder / recipe_file,
        f"# Found by a sweep: {recipe.evaluate.metric} {accuracy:.2f} on validation, "
        f"{params:,.0f} parameters, {macs:,.0f} MACs.\n"
        + yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
    )
    network = trial_folder(folder, number) / "slim.safetensors"
    here = network.is_file()
    if here:
        _link(network, folder / network_file)
    return Point(
        number,
        accuracy,
        tests.get(f"test {number}"),
        int(params),
        int(macs),
        latency[0] if latency else None,
        recipe_file,
        network_file if here else None,
    )


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # the file system may not support links
        shutil.copy2(source, target)
