"""The phases of a recipe: which channel groups each may cut, its budget, and its method."""

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from torch import nn

from secateur.config.compress import Phase as PhaseSection
from secateur.config.recipe import Recipe
from secateur.errors import PruningError, RecipeError
from secateur.models.architecture import Architecture
from secateur.models.network import build_network, example_input, layers, raw_network
from secateur.models.shapes import tensor_shapes
from secateur.models.ssd import SSDArchitecture, grid_sizes
from secateur.pruning.graph.groups import ChannelGraph
from secateur.pruning.graph.trace import channel_groups
from secateur.pruning.graph.trial_cut import with_fixed
from secateur.pruning.phase import Network, Phase, phase_penalty
from secateur.pruning.selection.budget import divide_budget, within_reach
from secateur.pruning.selection.match import ignored_groups, match_groups

# Graphs of the networks traced last: a run asks for the same one at every step of a phase.
_TRACED: OrderedDict[str, ChannelGraph] = OrderedDict()
_MOST_TRACED = 8


def network_groups(
    model: nn.Module, architecture: Architecture, fixed: Mapping[str, str] | None = None
) -> ChannelGraph:
    """Find the channel groups of a detector or classifier.

    A graph depends on the architecture and the shapes of the tensors, and is traced once for each.

    Args:
        model: the network.
        architecture: of its dense network.
        fixed: groups that may not be cut as well, and why.
    """
    frozen = [name for name, each in model.named_parameters() if not each.requires_grad]
    key = json.dumps([architecture.model_dump(mode="json"), tensor_shapes(model), frozen])
    if key not in _TRACED:
        _TRACED[key] = channel_groups(raw_network(model), example_input(architecture))
        if len(_TRACED) > _MOST_TRACED:
            _TRACED.popitem(last=False)
    return with_fixed(_TRACED[key], dict(fixed or {}))


def phase_layers(layers: str, names: Sequence[str]) -> list[str] | None:
    """The consecutive layers from a phase's first to its last.

    Args:
        layers: as a recipe writes it, ``conv1_1-conv4_3``.
        names: of the network's layers, by alias or path, in the order they run.

    Returns:
        Their names; None where it is no such range.

    Raises:
        RecipeError: a name is unknown, or the order is wrong.
    """
    first, dash, last = layers.partition("-")
    if not dash and first not in names:
        return None
    for name in (first, last or first):
        if name not in names:
            raise RecipeError(
                f"phase {layers}: the network has no layer {name!r}; it has {', '.join(names)}"
            )
    named = names[names.index(first) : names.index(last or first) + 1]
    if len(named) < 2:
        raise RecipeError(f"phase {layers}: name a first and a later last layer")
    return list(named)


def phase_groups(
    section: PhaseSection, model: nn.Module, graph: ChannelGraph, ignore: Sequence[str] = ()
) -> list[str]:
    """Channel groups that a phase may cut, in the order the network runs.

    ``conv1_1-conv4_3`` names consecutive layers, by alias or path. The last one only gives G
    blocks, because the next phase cuts it; the network's last layer has no next phase, and is cut
    too. Anything else is a list of paths and patterns, separated by commas.

    Raises:
        RecipeError: a name is unknown, the order is wrong, or nothing there can be pruned.
    """
    paths = layers(model)
    named = phase_layers(section.layers, list(paths))
    ignore = [paths.get(name, name) for name in ignore]
    try:
        if named is None:
            return match_groups(graph, [n.strip() for n in section.layers.split(",")], ignore)
        ignored = ignored_groups(graph, ignore)
    except PruningError as error:
        raise RecipeError(f"phase {section.layers}: {error}") from None
    if named[-1] != list(paths)[-1]:
        named = named[:-1]
    producers = {paths[name] for name in named}
    groups = [n for n, g in graph.prunable().items() if producers & set(g.producers)]
    if groups and ignored.issuperset(groups):
        raise RecipeError(
            f"phase {section.layers}: all its layers are ignored; ignore fewer, or drop the phase"
        )
    return [name for name in groups if name not in ignored]


def recipe_phases(recipe: Recipe, model: nn.Module, graph: ChannelGraph) -> list[Phase]:
    """Resolve the phases of a recipe.

    The budget is divided among the phases. A phase with a budget of its own gets its part of that
    one, as if it were every phase's.

    Args:
        recipe: what to do.
        model: the dense network.
        graph: its channel groups.

    Raises:
        RecipeError: a layer is unknown, or settings do not fit together.
        BudgetError: a budget cannot be met.
        MissingExtraError: a criterion needs a package that is not installed.
    """
    sections = [recipe.phase(number) for number in range(1, len(recipe.compress.phases) + 1)]
    ignore = recipe.compress.ignore
    groups = [phase_groups(section, model, graph, ignore) for section, *_ in sections]
    selects = [select for _, _, select, _ in sections]
    budgets = within_reach(
        graph,
        groups,
        [
            divide_budget(graph, groups, select.keep_params, select.keep_macs)[number]
            for number, select in enumerate(selects)
        ],
        [select.min_filters for select in selects],
        [select.settings.known_round_to for select in selects],
    )
    phases = []
    for number, (_, _, select, _) in enumerate(sections, start=1):
        goal, budget = select.goal, budgets[number - 1]
        try:
            method = recipe.method(number)
        except PruningError as error:
            raise RecipeError(f"phase {sections[number - 1][0].layers}: {error}") from None
        phases.append(
            Phase(
                number,
                tuple(groups[number - 1]),
                goal,
                method,
                budget if goal.has_budget else None,
            )
        )
    return phases


def check_phases(recipe: Recipe, architecture: Architecture) -> None:
    """Refuse phases that could not be carried out, before hours are spent.

    Raises:
        RecipeError: a layer is unknown, or a criterion or penalty has nothing to act on.
        BudgetError: a budget cannot be met.
        MissingExtraError: a criterion needs a package that is not installed.
    """
    model = build_network(architecture)
    graph = network_groups(model, architecture)
    raw = Network(model, graph, example_input(architecture), raw_network)
    for section, phase in zip(
        recipe.compress.phases, recipe_phases(recipe, model, graph), strict=True
    ):
        criterion = phase.method.selection.ranks_by
        criterion.check()
        if criterion.sparsifies:
            try:
                phase_penalty(raw, phase)
            except PruningError as error:
                raise RecipeError(f"phase {section.layers}: {error}") from None


def untrainable(recipe: Recipe, architecture: Architecture) -> list[str]:
    """Warn of a network that hardly trains: an SSD from random weights, without batch norm."""
    if not isinstance(architecture, SSDArchitecture) or architecture.batch_norm:
        return []
    if recipe.model.weights:
        return []
    return [
        "the network starts from random weights and has no batch norm, so it will hardly train; "
        "set model.batch_norm: true, or name weights in model.weights"
    ]


def check_norms(recipe: Recipe, architecture: Architecture, processes: int = 1) -> None:
    """Refuse batches of one picture where a batch norm would then see one value per channel.

    Raises:
        RecipeError: a training has such batches.
    """
    if not isinstance(architecture, SSDArchitecture) or not architecture.batch_norm:
        return
    grids = grid_sizes(architecture.network, architecture.size)[: architecture.detection_layers]
    if min(grids) > 1:
        return
    if any(each.batch_size <= processes for each in recipe.trainings().values()):
        raise RecipeError(
            "batch_size: with one picture per process the batch norm of the last detection layer, "
            "whose map is one cell, sees one value per channel and no variance; take 2 or more"
        )
