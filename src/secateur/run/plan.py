"""What a run of a recipe would do, before anything is trained."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secateur.config.architecture import recipe_architecture
from secateur.config.compress import Select
from secateur.config.recipe import Recipe
from secateur.data.formats.format import PictureSet
from secateur.data.source import Splits, expected_classes, read_splits, would_generate
from secateur.errors import DataError
from secateur.models.architecture import Architecture
from secateur.models.layer_costs import layer_names_by_path
from secateur.models.network import build_network, layer_names
from secateur.models.weights import check_weights
from secateur.pruning.selection.budget import Budget
from secateur.run.context import DENSE, check_evaluation, dense_inputs, describe_trained
from secateur.run.folder import check_folder
from secateur.run.phases import (
    check_norms,
    check_phases,
    network_groups,
    recipe_phases,
    untrainable,
)
from secateur.run.records import read_json
from secateur.run.stage import fingerprint, has_files
from secateur.tasks.task import task_of


@dataclass(frozen=True, slots=True)
class PhasePlan:
    """One phase.

    Attributes:
        layers: as the recipe names them.
        filters: number of filters of each layer that the phase may prune, by the layer's name.
        goal: of the phase, in words.
        budget: of the whole network after the phase.
        sparsify_steps: optimizer steps; 0 if the criterion needs no sparsity.
        retrain_steps: optimizer steps.
    """

    layers: str
    filters: dict[str, int]
    goal: str
    budget: Budget
    sparsify_steps: int
    retrain_steps: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do.

    Attributes:
        name: of the run.
        architecture: of the dense network.
        train_steps: optimizer steps of the dense network.
        params: of the dense network.
        macs: of the dense network, for one picture of its nominal size.
        phases: in order.
        fixed: layers that cannot lose filters, and why.
        untouched: layers from which no phase removes filters.
        notes: assumptions and warnings.
        pictures: the training set; None if it cannot be read.
        missing: what a run would stop on.
        found: what the run folder holds already, in words.
    """

    name: str
    architecture: Architecture
    train_steps: int
    params: int
    macs: int
    phases: tuple[PhasePlan, ...]
    fixed: dict[str, str]
    untouched: tuple[str, ...]
    notes: tuple[str, ...]
    pictures: PictureSet | None
    missing: tuple[str, ...] = ()
    found: tuple[str, ...] = ()


def plan(recipe: Recipe, folder: Path | None = None) -> Plan:
    """Plan a run of a recipe. The pictures need not exist if their classes are known.

    Args:
        recipe: what to do.
        folder: of the run, which need not exist; None to plan for a new one.

    Raises:
        RunError: the folder is not a run's, or a record in it cannot be read.
        RecipeError: the recipe contradicts itself.
        BudgetError: a budget cannot be met.
        DataError: the pictures are invalid, or they do not exist and their classes are unknown.
        ModelError: the file of weights cannot be read, or does not fit the network.
    """
    if folder is not None:
        check_folder(folder)
    splits, classes, notes, missing = _pictures(recipe)
    architecture = recipe_architecture(recipe, classes)
    check_phases(recipe, architecture)
    check_norms(recipe, architecture)
    if splits is not None:
        check_evaluation(task_of(recipe.data, recipe.evaluate), splits, architecture)
    model = build_network(architecture)
    weights = recipe.model.weights
    if weights and not weights.startswith("torchvision:") and not Path(weights).is_file():
        missing.append(f"{weights}: no such file of weights")
    elif weights:
        check_weights(architecture, weights, whole=recipe.train.steps == 0)
    notes += untrainable(recipe, architecture)
    graph = network_groups(model, architecture)
    names = layer_names_by_path(model, architecture)
    phases: list[PhasePlan] = []
    for phase in recipe_phases(recipe, model, graph):
        section, sparsify, select, retrain = recipe.phase(phase.number)
        budget = phase.budget or Budget()
        if _bounded(budget) and not all(_bounded(before.budget) for before in phases):
            notes.append(
                f"whether phase {phase.number} can meet its budget is unknown, because a phase "
                "before it has none"
            )
        groups = [graph.groups[name] for name in phase.groups]
        phases.append(
            PhasePlan(
                section.layers,
                {names[group.producers[0]]: group.channels for group in groups},
                _goal(select, recipe.evaluate.metric),
                budget,
                sparsify.steps if select.settings.ranks_by.sparsifies else 0,
                retrain.steps if recipe.compress.training else 0,
            )
        )
    fixed = {
        names[path]: group.fixed
        for group in graph.groups.values()
        for path in group.producers
        if group.fixed is not None
    }
    pruned = {layer for phase in phases for layer in phase.filters}
    params, macs = graph.cost()
    return Plan(
        recipe.name,
        architecture,
        recipe.train.steps,
        params,
        macs,
        tuple(phases),
        fixed,
        tuple(n for n in layer_names(architecture) if n not in pruned and n not in fixed),
        tuple(notes),
        splits.train if splits is not None else None,
        tuple(missing),
        tuple(_found(recipe, folder, architecture, splits)) if folder is not None else (),
    )


def _found(
    recipe: Recipe, folder: Path, architecture: Architecture, splits: Splits | None
) -> Iterator[str]:
    """Say in what the recipe differs from that of a run's folder, and whether dense is found."""
    path = folder / "recipe.json"
    if not path.is_file():
        return
    before, now = _entries(read_json(path)), _entries(recipe.model_dump(mode="json"))
    differ = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if differ:
        values = (f"{n} (was {before.get(n)}, now {now.get(n)})" for n in differ)
        yield (
            f"the recipe differs from the last one in {folder}: {', '.join(values)}; the steps "
            "that depend on this would be redone, and the earlier ones kept"
        )
    else:
        yield f"the recipe is the last one in {folder}; its complete steps would be found"
    if splits is not None:
        trained = json.dumps(describe_trained(splits, recipe.data.root))
        inputs = dense_inputs(recipe, architecture, hashlib.sha256(trained.encode()).hexdigest())
        there = has_files(folder / "steps" / DENSE, fingerprint(inputs))
        yield f"dense: would be {'found' if there else 'redone'}"


def _entries(content: Any, place: str = "") -> dict[str, Any]:
    """Give every entry of nested mappings and lists by its place, as ``--set`` names it."""
    if isinstance(content, dict) and content:
        parts: Any = content.items()
    elif isinstance(content, list) and any(isinstance(each, dict) for each in content):
        parts = enumerate(content)
    else:
        return {place: content}
    return {
        name: value
        for key, part in parts
        for name, value in _entries(part, f"{place}.{key}" if place else str(key)).items()
    }


def _bounded(budget: Budget) -> bool:
    return budget.params is not None or budget.macs is not None


def _pictures(
    recipe: Recipe,
) -> tuple[Splits | None, tuple[str, ...], list[str], list[str]]:
    """Read the pictures, if they exist; also give the classes, notes, and what is missing."""
    data = recipe.data
    size = recipe.model.input_size
    expected = expected_classes(data)
    if expected is not None and would_generate(data, size):
        return None, expected, [], []
    try:
        splits = read_splits(data, size, recipe.seed)
    except DataError as error:
        if data.root.is_dir():
            raise  # the data exist and are invalid
        if expected is None:
            raise
        return (
            None,
            expected,
            [f"the pictures cannot be read, {len(expected)} classes are assumed"],
            [str(error)],
        )
    validation = len(splits.validation)
    trained = f"{len(splits.train) + validation:,} pictures in {data.train}"
    notes = [f"{trained}, {validation:,} of them for validation"]
    if splits.test is not None:
        notes.append(f"{len(splits.test):,} pictures in {data.test}")
    return splits, splits.train.classes, notes, []


def _goal(select: Select, metric: str) -> str:
    match select.round_to:
        case 1:
            return _size(select, metric)
        case "auto":
            return f"{_size(select, metric)}, in multiples measured on {select.runtime}"
        case step:
            return f"{_size(select, metric)}, in multiples of {step}"


def _size(select: Select, metric: str) -> str:
    if select.max_drop is not None:
        points = "point" if select.max_drop == 1 else "points"
        return f"least size within {select.max_drop:g} {points} of {metric}"
    if select.s_F is not None:
        return f"s_F {select.s_F:g}, or {select.s_F_both:g} with s_G {select.s_G:g}"
    keeps = (("params", select.keep_params), ("MACs", select.keep_macs))
    return "keep " + " and ".join(f"{v:.1%} of {what}" for what, v in keeps if v is not None)
