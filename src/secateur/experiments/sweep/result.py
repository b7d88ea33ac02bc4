"""What comes of a sweep."""

from dataclasses import dataclass

from secateur.experiments.sweep.space import Choice, Goal
from secateur.experiments.sweep.storage import Direction
from secateur.experiments.sweep.trial import Outcome

# What is made as large or as small as can be; latency only where it is asked for.
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
        number: of the trial.
        state: complete, given up (as hopeless), not possible (and not counted), stopped (or failed,
            or lost with its process), running or waiting.
        repeats: number of the trial whose choice it does again; None of most.
        chosen: entries of ``compress``, and the name of the phases.
        outcome: what became of it.
        spared: optimiser steps that giving up spared.
        worker: the process that did it, by machine and number.
        run: where its run lies, by machine and folder.
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
    """A network that no other surpasses; metrics in percent.

    Attributes:
        trial: number of its trial.
        validation: metric on validation, by which it was chosen.
        test: all metrics on test; None where its run lies with another process, which has not
            evaluated it yet.
        params: of the network.
        macs: of the network, for one picture of its nominal size.
        latency: milliseconds for one picture; None where nobody asked for it.
        recipe: a file in the sweep's folder that ``secateur compress`` takes.
        network: its file in the sweep's folder; None where the run lies elsewhere.
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
    """The network that all trials begin with, as in ``Point``."""

    validation: float
    test: dict[str, float] | None
    params: int
    macs: int


@dataclass(frozen=True, slots=True)
class Sweep:
    """What came of all trials.

    Attributes:
        name: the recipe's.
        metric: what accuracy is.
        split: what ``test`` is; validation where the recipe names no test split.
        goal: what decides how far each recipe goes.
        objectives: what is made as large or as small as can be.
        dense: the network before.
        trials: all there were, by number.
        front: the networks that no other surpasses, the largest first.
        steps: of the optimiser in all trials.
        spared: steps that giving trials up spared.
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
