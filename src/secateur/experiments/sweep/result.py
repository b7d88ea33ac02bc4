"""The result of a sweep."""

from dataclasses import dataclass

from secateur.experiments.sweep.space import Choice, Goal
from secateur.experiments.sweep.storage import Direction
from secateur.experiments.sweep.trial import Outcome

# Latency is an objective only on request.
OBJECTIVES: dict[str, Direction] = {
    "accuracy": "maximize",
    "params": "minimize",
    "macs": "minimize",
    "latency": "minimize",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One trial.

    Attributes:
        number: number of the trial.
        state: complete, given up (stopped early), not possible (and not counted), stopped
            (interrupted, failed, or lost with its process), running or waiting.
        repeats: number of the trial whose choice it repeats; None for a new choice.
        chosen: entries of ``compress``, and the name of the phases.
        outcome: what the trial found.
        spared: training steps saved by early stopping.
        worker: machine and process id of the process that ran it.
        run: machine and folder of its run.
    """

    number: int
    state: str
    repeats: int | None
    chosen: Choice
    outcome: Outcome
    spared: int
    worker: str | None
    run: str | None


@dataclass(frozen=True, slots=True)
class Point:
    """A network on the Pareto front; metrics in percent.

    Attributes:
        trial: number of its trial.
        validation: metric on validation, an objective of the sweep.
        test: all metrics on test; None until the process that has the run has evaluated it.
        params: parameters of the network.
        macs: MACs of the network, for one picture of the nominal size.
        latency: milliseconds per picture; None unless latency is an objective.
        recipe: the recipe file in the sweep's folder, for ``secateur compress``.
        network: the network file in the sweep's folder; None if the run is on another machine.
    """

    trial: int
    validation: float
    test: dict[str, float] | None
    params: int
    macs: int
    latency: float | None
    recipe: str
    network: str | None


@dataclass(frozen=True, slots=True)
class Dense:
    """The dense network that all trials start from; attributes as in ``Point``."""

    validation: float
    test: dict[str, float] | None
    params: int
    macs: int


@dataclass(frozen=True, slots=True)
class Sweep:
    """The result of all trials.

    Attributes:
        name: name of the recipe.
        metric: the metric that accuracy means.
        split: the split that ``test`` means; validation if the recipe names no test split.
        goal: which entries decide the size of a network.
        objectives: names of the objectives.
        dense: the dense network.
        trials: all trials, by number.
        front: the Pareto front, the largest network first.
        steps: training steps of all trials together.
        spared: training steps saved by early stopping.
    """

    name: str
    metric: str
    split: str
    goal: Goal
    objectives: list[str]
    dense: Dense
    trials: list[Row]
    front: list[Point]
    steps: int
    spared: int
