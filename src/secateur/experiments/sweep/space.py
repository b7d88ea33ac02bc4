"""The search space of a sweep: which entries of a recipe vary, and between which bounds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, Literal

import optuna

from secateur.config.compress import Phase
from secateur.config.recipe import Recipe
from secateur.errors import RecipeError
from secateur.experiments.phasing import covered_layers, split_layers, with_phases
from secateur.models.architecture import Architecture
from secateur.models.network import build_network
from secateur.pruning.graph.groups import ChannelGraph
from secateur.pruning.selection.rounding import fewest_channels
from secateur.run.phases import network_groups, phase_groups

Goal = Literal["budget", "levels"]
Choice = dict[str, float | str]

PHASES = "phases"
OWN_PHASES = "recipe"
MOST_PHASES = 4
BUDGETS = ("select.keep_params", "select.keep_macs")
# All entries that can decide the size of a network; a recipe names some of them.
_GOAL_ENTRIES = ("s_F", "s_F_both", "s_G", "keep_params", "keep_macs", "max_drop")
# Lowest budget to try, as a multiple of the smallest one that can be met.
ROOM = 1.05
# Significant digits of a chosen value, for readable recipes.
FIGURES = 4


@dataclass(frozen=True, slots=True)
class Bounds:
    """The range of an entry; it always includes the recipe's own value.

    Attributes:
        low: smallest value.
        high: largest value.
        log: whether to sample on a logarithmic scale.
        times: if given, the range is the recipe's own value divided and multiplied by this.
    """

    low: float = 0.0
    high: float = 0.0
    log: bool = False
    times: float | None = None


# Entries of ``compress``. One with a logarithmic range does not vary if the recipe sets it to 0.
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
        "select.s_F_both": Bounds(0.3, 0.99),  # reduced to s_F if larger
        "select.s_G": Bounds(0.3, 0.99),
    },
}


@dataclass(frozen=True, slots=True)
class Space:
    """All recipes that a sweep chooses from.

    Attributes:
        recipe: the recipe to vary.
        goal: which entries decide the size of a network.
        entries: the range of each entry of ``compress`` that varies.
        own: the recipe's own values; the middle of the range where it has none.
        phases: layers of the phases, by name of the choice; empty for the recipe's own phases.
    """

    recipe: Recipe
    goal: Goal
    entries: dict[str, Bounds]
    own: Choice
    phases: dict[str, Sequence[str]]

    def choose(self, trial: optuna.Trial) -> Choice:
        """Let the sampler choose; a trial that has chosen before gets the same choice."""
        for name, bounds in self.entries.items():
            trial.suggest_float(name, bounds.low, bounds.high, log=bounds.log)
        trial.suggest_categorical(PHASES, list(self.phases))
        return self.readable(trial.params)

    def readable(self, params: Mapping[str, Any]) -> Choice:
        """Round the chosen values, except the recipe's own."""
        return {
            name: value
            if value == self.own[name] or name == PHASES
            else float(f"{value:.{FIGURES}g}")
            for name, value in params.items()
        }

    def chosen_recipe(self, chosen: Mapping[str, float | str], number: int) -> Recipe:
        """Make the recipe of a trial.

        A phase's own strength or learning rate is scaled by the same factor as the common one. A
        phase's own goal is dropped. If the trial has other phases than the recipe, the training
        steps are distributed over them.

        Args:
            chosen: a value for each entry, and the name of the phases.
            number: number of the trial, which the recipe's name ends with.
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
        phases = self.phases[str(chosen[PHASES])]
        return with_phases(changed, phases) if phases else changed


def search_space(recipe: Recipe, goal: Goal, architecture: Architecture) -> Space:
    """Derive the search space of a recipe.

    Args:
        recipe: the recipe to vary; its own values can be chosen too.
        goal: ``budget`` varies ``keep_params`` and ``keep_macs``, or the one of them that the
            recipe names; ``levels`` varies the published sparsity levels.
        architecture: architecture of the dense network.

    Raises:
        RecipeError: the recipe's criterion does not use sparsity.
    """
    select = recipe.compress.select
    if not select.settings.ranks_by.reads_zeros:
        raise RecipeError(
            f"compress.select.criterion is {select.criterion}, but a sweep needs a criterion of "
            "sparsity; leave the criterion out"
        )
    if goal == "levels" and (select.criterion, select.allocation) != ("sparsity", None):
        raise RecipeError(
            "compress.select has a criterion or an allocation, which --goal levels does not "
            "support; leave them out, or use --goal budget"
        )
    model = build_network(architecture)
    graph = network_groups(model, architecture)

    def groups(phases: Sequence[str]) -> list[list[str]]:
        return [
            phase_groups(Phase(layers=each), model, graph, recipe.compress.ignore)
            for each in phases
        ]

    own_phases = [phase.layers for phase in recipe.compress.phases]
    layers = covered_layers(recipe)
    most = min(MOST_PHASES, len(layers) - 1)
    splits = {str(n): split_layers(layers, n) for n in range(1, most + 1)}
    choices: dict[str, Sequence[str]] = {
        OWN_PHASES: (),
        **{name: some for name, some in splits.items() if some != own_phases and all(groups(some))},
    }
    least = _least_shares(recipe, graph, [name for some in groups(own_phases) for name in some])
    table = {**TABLE, **GOALS[goal]}
    values = {key: _own(recipe, key) for key in table}
    named = [key for key in BUDGETS if values.get(key) is not None]
    absent = {key for key in BUDGETS if named and key not in named}
    if select.settings.divides_by != "cost":
        absent.add("select.balance")
    absent |= {key for key, bounds in table.items() if bounds.log and values[key] == 0}
    entries = {
        key: _range(bounds, values[key], least.get(key, 0.0))
        for key, bounds in table.items()
        if key not in absent
    }
    own: Choice = {
        key: _middle(bounds) if (value := values[key]) is None else value
        for key, bounds in entries.items()
    }
    return Space(recipe, goal, entries, {**own, PHASES: OWN_PHASES}, choices)


def described(chosen: Mapping[str, float | str]) -> str:
    """Format a choice as one line."""
    return ", ".join(
        f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in chosen.items()
    )


def _own(recipe: Recipe, key: str) -> float | None:
    section, entry = key.split(".")
    value: float | None = getattr(getattr(recipe.compress, section), entry)
    return value


def _least_shares(recipe: Recipe, graph: ChannelGraph, names: Sequence[str]) -> dict[str, float]:
    """The shares of parameters and MACs kept with the fewest filters in each layer."""
    select = recipe.compress.select
    fewest = fewest_channels(graph, names, select.min_filters, select.settings.known_round_to)
    counts = zip(BUDGETS, graph.cost(fewest), graph.cost(), strict=True)
    return {key: left / whole for key, left, whole in counts}


def _range(bounds: Bounds, own: float | None, least: float) -> Bounds:
    """Bounds above the smallest possible value that include the recipe's own value."""
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
