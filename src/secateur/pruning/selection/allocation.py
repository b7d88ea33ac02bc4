"""Allocation of a budget to layers where a criterion only ranks the channels.

``choose_by_budget`` weighs loss against cost. Most published criteria do not: they remove the same
share of every layer, or everything below one importance in all layers.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from secateur.pruning.graph.groups import ChannelGraph
from secateur.pruning.selection.budget import Budget, out_of_reach
from secateur.pruning.selection.rounding import fewest_channels, least_in_words

# Bisections of an interval of shares: finer than any layer is wide.
_BISECTIONS = 20


def keep_same_share(
    graph: ChannelGraph,
    importance: Mapping[str, Tensor],
    budget: Budget,
    min_filters: int = 1,
) -> dict[str, Tensor]:
    """Keep the same share of every group: its most important channels.

    Args:
        graph: the network's channel groups.
        importance: of every unit of the groups that may lose some, (units,) each.
        budget: what the whole network may have.
        min_filters: filters kept in each layer.

    Returns:
        Indices of the kept channels by group, ascending.

    Raises:
        BudgetError: even ``min_filters`` in every group exceed the budget.
    """
    fewest = _fewest(graph, importance, budget, min_filters)

    def units(share: float) -> dict[str, int]:
        return {n: max(fewest[n], int(share * len(each))) for n, each in importance.items()}

    low, high = 0.0, 1.0
    if budget.is_met(graph, _channels(graph, units(high))):
        low = high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        fits = budget.is_met(graph, _channels(graph, units(middle)))
        low, high = (middle, high) if fits else (low, middle)
    kept = units(low)
    return {
        name: graph.groups[name].channels_of(
            each.argsort(descending=True, stable=True)[: kept[name]]
        )
        for name, each in importance.items()
    }


def keep_most_important(
    graph: ChannelGraph,
    importance: Mapping[str, Tensor],
    budget: Budget,
    min_filters: int = 1,
) -> dict[str, Tensor]:
    """Keep the most important channels of all groups, whatever their layer.

    Arguments, result and errors are those of ``keep_same_share``; the most important
    ``min_filters`` of each group are kept in any case.
    """
    fewest = _fewest(graph, importance, budget, min_filters)
    order = []
    for name, each in importance.items():
        removable = each.argsort(stable=True)[: len(each) - fewest[name]].tolist()
        order += [(float(each[unit]), name, unit) for unit in removable]
    order.sort(key=lambda entry: entry[0])

    def units(removed: int) -> dict[str, int]:
        left = {name: len(each) for name, each in importance.items()}
        for _, name, _ in order[:removed]:
            left[name] -= 1
        return left

    low, high = 0, len(order)
    while low < high:
        middle = (low + high) // 2
        fits = budget.is_met(graph, _channels(graph, units(middle)))
        low, high = (low, middle) if fits else (middle + 1, high)
    removed = {(name, unit) for _, name, unit in order[:low]}
    return {
        name: graph.groups[name].channels_of(
            torch.tensor([i for i in range(len(each)) if (name, i) not in removed])
        )
        for name, each in importance.items()
    }


def _fewest(
    graph: ChannelGraph, importance: Mapping[str, Tensor], budget: Budget, min_filters: int
) -> dict[str, int]:
    """The fewest units of each group."""
    fewest = fewest_channels(graph, importance, min_filters)
    if not budget.is_met(graph, fewest):
        raise out_of_reach(graph, budget, fewest, least_in_words(min_filters, 1))
    return {name: count // graph.groups[name].unit_size for name, count in fewest.items()}


def _channels(graph: ChannelGraph, units: Mapping[str, int]) -> dict[str, int]:
    return {name: count * graph.groups[name].unit_size for name, count in units.items()}
