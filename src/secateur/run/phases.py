"""Phases: which layers and channel groups one is about, and what it may keep."""

from torch import nn

from secateur.config.compress import Phase
from secateur.config.recipe import Recipe
from secateur.errors import RecipeError
from secateur.models.architecture import Architecture
from secateur.models.network import build_network, example_input, layer_names, layers, raw_network
from secateur.models.ssd import SSDArchitecture, grid_sizes
from secateur.pruning.baselines.torch_pruning import load_torch_pruning
from secateur.pruning.graph.trace import ChannelGraph, channel_groups
from secateur.pruning.importance import norm_scales
from secateur.pruning.selection.budget import Budget, share_out, within_reach


def network_groups(model: nn.Module, architecture: Architecture) -> ChannelGraph:
    """Find the channel groups of a detector or classifier."""
    return channel_groups(raw_network(model), example_input(architecture))


def phase_layers(phase: Phase, architecture: Architecture) -> list[str]:
    """The layers from a phase's first to its last, by the paper's names.

    Raises:
        RecipeError: a name is unknown, or the order is wrong.
    """
    names = layer_names(architecture)
    first, _, last = phase.layers.partition("-")
    for name in (first, last or first):
        if name not in names:
            raise RecipeError(
                f"phase {phase.layers}: the network has no layer {name!r}; "
                f"it has {', '.join(names)}"
            )
    named = names[names.index(first) : names.index(last or first) + 1]
    if len(named) < 2:
        raise RecipeError(f"phase {phase.layers}: name a first and a later last layer")
    return named


def phase_groups(
    phase: Phase, model: nn.Module, architecture: Architecture, graph: ChannelGraph
) -> list[str]:
    """Channel groups whose filters a phase may remove, in the order the network runs.

    The phase's last layer only gives G blocks, its own filters go in the next phase; but the
    network's last layer has no next phase, and loses filters too.
    """
    named = phase_layers(phase, architecture)
    if named[-1] != layer_names(architecture)[-1]:
        named = named[:-1]
    paths = layers(model)
    producers = {paths[layer] for layer in named}
    return [n for n, g in graph.prunable().items() if producers & set(g.producers)]


def check_phases(recipe: Recipe, architecture: Architecture) -> None:
    """Refuse phases that could not be carried out, before hours are spent.

    Raises:
        RecipeError: a layer is unknown, or a criterion has nothing to read.
        BudgetError: a budget cannot be met.
        MissingExtraError: a criterion needs a package that is not installed.
    """
    model = build_network(architecture)
    graph = network_groups(model, architecture)
    phase_budgets(recipe, model, architecture, graph)
    for number in range(1, len(recipe.compress.phases) + 1):
        phase, sparsify, select, _ = recipe.phase(number)
        for pair in ("norm_scale", "group_norm"):
            if (select.criterion == pair) != (sparsify.penalty == pair):
                raise RecipeError(
                    f"phase {phase.layers}: the penalty {pair} and the criterion of that name go "
                    "together"
                )
            if sparsify.penalty == pair and sparsify.group_strength:
                raise RecipeError(
                    f"phase {phase.layers}: group_strength has no place beside the penalty {pair}; "
                    "leave it out"
                )
        if select.criterion == "group_norm":
            load_torch_pruning()
        by_norms = select.criterion == "norm_scale"
        groups = phase_groups(phase, model, architecture, graph)
        if by_norms and not any(norm_scales(graph, graph.groups[name]) for name in groups):
            raise RecipeError(
                f"phase {phase.layers}: no layer has a batch norm, whose scale the criterion "
                "norm_scale reads; set model.batch_norm, or take another criterion"
            )


def check_norms(recipe: Recipe, architecture: Architecture, processes: int = 1) -> None:
    """Refuse batches of one picture where a batch norm would then see one value a channel.

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
            "batch_size: with one picture a process the batch norm of the last detection layer, "
            "whose map is one cell, has one value a channel and no variance; take 2 or more"
        )


def phase_budgets(
    recipe: Recipe, model: nn.Module, architecture: Architecture, graph: ChannelGraph
) -> list[Budget]:
    """Share the recipe's budget for the end of the run out to its phases.

    Each phase may name a budget of its own, which is then shared out as if it were all phases'.

    Args:
        recipe: what to do.
        model: the dense network.
        architecture: its own.
        graph: its channel groups.

    Raises:
        BudgetError: a budget cannot be met.
    """
    phases = [recipe.phase(number) for number in range(1, len(recipe.compress.phases) + 1)]
    groups = [phase_groups(phase, model, architecture, graph) for phase, *_ in phases]
    selects = [select for _, _, select, _ in phases]
    budgets = [
        share_out(graph, groups, select.keep_params, select.keep_macs)[number]
        for number, select in enumerate(selects)
    ]
    return within_reach(
        graph,
        groups,
        budgets,
        [select.min_filters for select in selects],
        [select.least_round_to for select in selects],
    )
