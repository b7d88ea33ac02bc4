"""Which filters a phase's removal keeps, by the criterion and the goal that the recipe names."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import cast

from torch import Tensor

from secateur.config.compress import Select
from secateur.config.train import Training
from secateur.models.network import example_input, raw_network
from secateur.models.network_file import load_network
from secateur.pruning.baselines.torch_pruning import group_norm
from secateur.pruning.graph.trace import ChannelGraph, Role
from secateur.pruning.importance import (
    Importance,
    chance,
    filter_norm,
    geometric_median,
    layer_normalized,
    norm_scale,
    taylor,
)
from secateur.pruning.selection.allocation import keep_above_one_importance, keep_same_share
from secateur.pruning.selection.budget import Budget
from secateur.pruning.selection.rounding import RoundTo
from secateur.pruning.selection.select import (
    Choice,
    channel_importance,
    select_by_budget,
    select_by_sparsity,
    sparsity_levels,
)
from secateur.run.run import Network, Run, batch_losses

# Batches whose loss the Taylor criterion asks for.
TAYLOR_BATCHES = 50


def choose_filters(
    run: Run,
    select: Select,
    budget: Budget | None,
    graph: ChannelGraph,
    names: list[str],
    network: Network,
    training: Training,
    round_to: RoundTo,
) -> Choice:
    """Choose the filters that stay.

    Args:
        run: the run.
        select: the phase's own entries.
        budget: what the network may have after the phase; None for the published levels.
        graph: the network's channel groups.
        names: groups of the phase.
        network: what is looked at: the thresholded one, where the criterion is by sparsity.
        training: whose batches the Taylor criterion takes.
        round_to: width steps of the groups.

    Raises:
        BudgetError: the budget cannot be met.
        PruningError: the network has nothing that the criterion reads.
    """
    tensors = dict(network.model.named_parameters())
    if budget is None:
        return select_by_sparsity(
            graph,
            names,
            tensors,
            s_F=cast(float, select.s_F),
            s_F_both=cast(float, select.s_F_both),
            s_G=cast(float, select.s_G),
            min_filters=select.min_filters,
            round_to=round_to,
        )
    importance = _importance(run, select, graph, names, network, training, tensors)
    if select.way_of_allocation == "cost":
        return select_by_budget(
            graph,
            names,
            tensors,
            params=budget.params,
            macs=budget.macs,
            later=budget.later,
            min_filters=select.min_filters,
            round_to=round_to,
            importance=importance,
            balance=select.balance,
        )
    keep = keep_same_share if select.way_of_allocation == "share" else keep_above_one_importance
    kept = keep(
        graph,
        importance,
        params=budget.params,
        macs=budget.macs,
        later=budget.later,
        min_filters=select.min_filters,
    )
    levels = {name: sparsity_levels(graph.groups[name], tensors, {}) for name in names}
    return Choice(kept, levels)


def _importance(
    run: Run,
    select: Select,
    graph: ChannelGraph,
    names: list[str],
    network: Network,
    training: Training,
    tensors: Mapping[str, Tensor],
) -> Importance:
    roles: dict[str, tuple[Role, ...]] = {
        "sparsity": ("producer", "consumer"),
        "sparsity_F": ("producer",),
        "sparsity_G": ("consumer",),
    }
    if select.criterion in roles:
        return {
            name: channel_importance(graph.groups[name], tensors, roles[select.criterion])
            for name in names
        }
    seed = run.seed(f"select {select.criterion}")
    if select.criterion == "taylor":
        model = load_network(network.path).model.eval()
        losses = batch_losses(run, model, network.architecture, training, TAYLOR_BATCHES, seed)
        return layer_normalized(taylor(model, graph, names, losses))
    if select.criterion == "random":
        return chance(graph, names, seed)
    if select.criterion == "group_norm":
        example = example_input(network.architecture)
        return group_norm(raw_network(network.model), graph, names, example, select.min_filters)
    measures: dict[str, Callable[[ChannelGraph, list[str], Mapping[str, Tensor]], Importance]] = {
        "l1": partial(filter_norm, order=1),
        "l2": partial(filter_norm, order=2),
        "geometric_median": geometric_median,
        "norm_scale": norm_scale,
    }
    return measures[select.criterion](graph, names, tensors)
