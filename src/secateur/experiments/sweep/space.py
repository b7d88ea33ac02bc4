"""What a sweep varies in a recipe, and between which bounds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, Literal

import optuna

from secateur.config.compress import Phase
from secateur.config.recipe import Recipe
from secateur.errors import RecipeError
from secateur.experiments.phasing import in_phases, one_run, runs_of
from secateur.models.network import Architecture, build_network
from secateur.pruning.graph.trace import ChannelGraph
from secateur.pruning.selection.rounding import fewest_channels
from secateur.run.phases import network_groups, phase_groups, phase_layers

Goal = Literal["budget", "levels"]
Choice = dict[str, float | str]

PHASES = "phases"
AS_THEY_ARE = "recipe"
MOST_PHASES = 4
BUDGETS = ("select.keep_params", "select.keep_macs")
# All that can say how far to go; a recipe names some.
_GOAL_ENTRIES = ("s_F", "s_F_both", "s_G", "keep_params", "keep_macs", "max_drop")
# How far a budget keeps from the least that can be left, as a factor.
ROOM = 1.05
# Figures of a chosen value, so that a recipe can be read.
FIGURES = 4


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where the values of an entry lie; the recipe's own value always does.

    Attributes:
        low: the least.
        high: the largest.
        log: factors count, not differences.
        times: bounds are the recipe's own value divided and multiplied by this instead.
    """

    low: float = 0.0
    high: float = 0.0
    log: bool = False
    times: float | None = None


# Entries of ``compress``. What is 0 on a scale of factors stays so: nothing leads away from it.
TABLE = {
    "sparsify.strength": Bounds(log=True, times=10),
    "sparsify.lr": Bounds(log=True, times=4),
    "threshold.max_drop": Bounds(0, 5),
    "retrain.lr": Bounds(log=True, times=4),
}
GOALS: dict[Goal, dict[str, Bounds]] = {
    "budget": {
        "select.keep_params": Bounds(0.02, 0.5, log=True),
        "select.keep_macs": Bounds(0.02, 0.5, log=True),
        "select.balance": Bounds(0, 4),
    },
    "levels": {
        "select.s_F": Bounds(0.3, 0.99),
        "select.s_F_both": Bounds(0.3, 0.99),  # and never above s_F
        "select.s_G": Bounds(0.3, 0.99),
    },
}


@dataclass(frozen=True, slots=True)
class Space:
    """All recipes that a sweep chooses from.

    Attributes:
        recipe: what they are made from.
        goal: what decides how far each goes.
        entries: bounds of each entry of ``compress`` that varies.
        own: the recipe's values, and the middle of what it does not say.
        phases: layers of the phases, by name of the choice; none for the recipe's own phases.
    """

    recipe: Recipe
    goal: Goal
    entries: dict[str, Bounds]
    own: Choice
    phases: dict[str, Sequence[str]]

    def choose(self, trial: optuna.Trial) -> Choice:
        """Have the sampler choose; a trial that has chosen before chooses the same."""
        for name, bounds in self.entries.items():
            trial.suggest_float(name, bounds.low, bounds.high, log=bounds.log)
        trial.suggest_categorical(PHASES, list(self.phases))
        return self.readable(trial.params)

    def readable(self, params: Mapping[str, Any]) -> Choice:
        """Round what the sampler chose, but for the recipe's own values."""
        return {
            name: value
            if value == self.own[name] or name == PHASES
            else float(f"{value:.{FIGURES}g}")
            for name, value in params.items()
        }

    def chosen_recipe(self, chosen: Mapping[str, float | str], number: int) -> Recipe:
        """Give the recipe of a trial.

        Where a phase has a strength or a learning rate of its own, it stays in the same proportion
        to the others. A goal of its own gives way to the goal of all. With other phases than the
        recipe's, its trainings are shared out to them, so that they last as long together.

        Args:
            chosen: a value for each entry, and the name of the phases.
            number: of the trial, which the recipe's name will have.
        """
        content = self.recipe.model_dump(mode="json")
        content["name"] = f"{self.recipe.name}-{number}"
        compress = content["compress"]
        compress["select"] |= dict.fromkeys(_GOAL_ENTRIES)
        for phase in compress["phases"]:
            phase["select"] = {}
        for key, value in chosen.items():
            if key == PHASES:
                continue
            section, entry = key.split(".")
            for phase in compress["phases"]:
                if entry in phase.get(section, {}):
                    phase[section][entry] *= float(value) / compress[section][entry]
            compress[section][entry] = value
        if self.goal == "levels":
            select = compress["select"]
            select["s_F_both"] = min(select["s_F_both"], select["s_F"])
        changed = Recipe.model_validate(content)
        runs = self.phases[str(chosen[PHASES])]
        return in_phases(changed, runs) if runs else changed


def search_space(recipe: Recipe, goal: Goal, architecture: Architecture) -> Space:
    """Find out what can be varied in a recipe.

    Args:
        recipe: its own values are among those that can be chosen.
        goal: ``budget`` varies the shares of parameters and MACs that are kept, or the one that the
            recipe names; ``levels`` the published sparsity levels.
        architecture: of the dense network.

    Raises:
        RecipeError: the recipe's criterion does not go by sparsity.
    """
    select = recipe.compress.select
    if not select.by_sparsity:
        raise RecipeError(
            f"compress.select.criterion is {select.criterion}, and a sweep is about sparsity; "
            "leave the criterion out"
        )
    if goal == "levels" and (select.criterion, select.allocation) != ("sparsity", None):
        raise RecipeError(
            "compress.select has a criterion or an allocation, which levels know nothing of; leave "
            "them out, or take --goal budget"
        )
    model = build_network(architecture)
    graph = network_groups(model, architecture)

    def groups(runs: Sequence[str]) -> list[list[str]]:
        return [phase_groups(Phase(layers=run), model, architecture, graph) for run in runs]

    own_runs = [phase.layers for phase in recipe.compress.phases]
    layers = phase_layers(Phase(layers=one_run(recipe)[0]), architecture)
    cuts = {str(n): runs_of(layers, n) for n in range(1, min(MOST_PHASES, len(layers) - 1) + 1)}
    phases: dict[str, Sequence[str]] = {
        AS_THEY_ARE: (),
        **{name: runs for name, runs in cuts.items() if runs != own_runs and all(groups(runs))},
    }
    least = _least_shares(recipe, graph, [name for some in groups(own_runs) for name in some])
    table = {**TABLE, **GOALS[goal]}
    values = {key: _own(recipe, key) for key in table}
    named = [key for key in BUDGETS if values.get(key) is not None]
    absent = {key for key in BUDGETS if named and key not in named}
    if select.way_of_allocation != "cost":
        absent.add("select.balance")
    absent |= {key for key, bounds in table.items() if bounds.log and values[key] == 0}
    entries = {
        key: _numbers(bounds, values[key], least.get(key, 0.0))
        for key, bounds in table.items()
        if key not in absent
    }
    own: Choice = {
        key: _middle(bounds) if (value := values[key]) is None else value
        for key, bounds in entries.items()
    }
    return Space(recipe, goal, entries, {**own, PHASES: AS_THEY_ARE}, phases)


def described(chosen: Mapping[str, float | str]) -> str:
    """Say what was chosen, in a line."""
    return ", ".join(
        f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in chosen.items()
    )


def _own(recipe: Recipe, key: str) -> float | None:
    section, entry = key.split(".")
    value: float | None = getattr(getattr(recipe.compress, section), entry)
    return value


def _least_shares(recipe: Recipe, graph: ChannelGraph, names: Sequence[str]) -> dict[str, float]:
    """The shares of parameters and MACs that stay even with the fewest filters in each layer."""
    select = recipe.compress.select
    fewest = fewest_channels(graph, names, select.min_filters, select.least_round_to)
    counts = zip(BUDGETS, graph.cost(fewest), graph.cost(), strict=True)
    return {key: left / whole for key, left, whole in counts}


def _numbers(bounds: Bounds, own: float | None, least: float) -> Bounds:
    """Bounds above the least that can be, with the recipe's own value between them."""
    if bounds.times is not None and own is not None:
        return Bounds(own / bounds.times, own * bounds.times, bounds.log)
    low, high = max(bounds.low, ROOM * least), bounds.high
    if low >= high:
        high = (1 + low) / 2
    if own is not None:
        low, high = min(low, own), max(high, own)
    return Bounds(low, high, bounds.log)


def _middle(bounds: Bounds) -> float:
    return sqrt(bounds.low * bounds.high) if bounds.log else (bounds.low + bounds.high) / 2
