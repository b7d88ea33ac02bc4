"""Selection by a budget: the channels that lose least for what they save are removed first."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from secateur.errors import PruningError
from secateur.pruning.criteria.sparsity import channel_importance
from secateur.pruning.graph.groups import ChannelGraph
from secateur.pruning.selection.budget import Budget, out_of_reach
from secateur.pruning.selection.levels import Choice, sparsity_levels
from secateur.pruning.selection.match import free_group
from secateur.pruning.selection.rounding import (
    RoundTo,
    fewest_channels,
    least_in_words,
    width_steps,
)

# Exponent of the penalty on nearly empty layers.
BALANCE = 2.0
# Shares of parameters in the cost that a channel saves; the rest is MACs.
_MIXES = [number / 20 for number in range(21)]


def choose_by_budget(
    graph: ChannelGraph,
    groups: Sequence[str],
    tensors: Mapping[str, Tensor],
    budget: Budget,
    *,
    min_filters: int = 1,
    round_to: RoundTo = 1,
    importance: Mapping[str, Tensor] | None = None,
    balance: float = BALANCE,
) -> Choice:
    """Remove channels in the order of loss per cost saved until the network meets the budget.

    One sparsity level for all layers empties deep, wide layers while others lose nothing. Here
    each layer is measured by itself: the loss of a channel is its importance as a share of the
    importance of its layer's *remaining* channels, so that the last filters of a narrow layer are
    expensive. The order is by that loss over the cost that the channel saves. Where parameters and
    MACs are both limited, cost is the mix of the two whose selection loses least.

    Where a group has a width step over 1, its channels are removed in bundles: the first brings
    their number down to a multiple of the step, each further one removes a step's number. A bundle
    loses and saves what its channels do together.

    Args:
        graph: the network's channel groups.
        groups: the groups of the phase, in the order the network runs.
        tensors: the thresholded parameters by path.
        budget: what the whole network may have, and what later phases need to remain possible.
        min_filters: kept in each group, rounded up to its width step.
        round_to: width steps of the groups, one number or by name.
        importance: of every unit of the groups, (units,) each; None for ``channel_importance``.
        balance: exponent of the penalty on nearly empty layers: a channel's loss is multiplied by
            (the group's whole importance ÷ what remains) to this power. 0 turns it off; the larger
            it is, the more alike are the shares that groups keep.

    Raises:
        PruningError: a group is fixed, the budget limits nothing, or ``round_to`` is invalid.
        BudgetError: even the fewest channels that may be kept exceed the budget.
    """
    if budget.params is None and budget.macs is None:
        raise PruningError("the budget limits nothing; state params or macs")
    levels = {name: sparsity_levels(free_group(graph, name), tensors, {}) for name in groups}
    steps = width_steps(graph, groups, round_to)
    fewest = fewest_channels(graph, groups, min_filters, round_to)
    if importance is None:
        importance = {name: channel_importance(graph.groups[name], tensors) for name in groups}
    bundles = {
        name: _bundles(graph, name, importance[name], fewest[name], steps[name], balance)
        for name in groups
    }

    def fits(removed: Sequence[_Bundle]) -> bool:
        counts = {name: graph.groups[name].channels for name in groups}
        for bundle in removed:
            counts[bundle.group] -= len(bundle.units) * graph.groups[bundle.group].unit_size
        return budget.is_met(graph, counts)

    if not fits([bundle for some in bundles.values() for bundle in some]):
        raise out_of_reach(graph, budget, fewest, least_in_words(min_filters, round_to))

    def fewest_that_fit(mix: float) -> list[_Bundle]:
        priced = []
        for some in bundles.values():
            # Prices within a group ascend except for rounding, and its bundles keep their order.
            prices = accumulate((bundle.price(mix) for bundle in some), max)
            priced += list(zip(prices, some, strict=True))
        order = [bundle for _, bundle in sorted(priced, key=lambda pair: pair[0])]
        low, high = 0, len(order)  # every bundle saves something
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if fits(order[:middle]) else (middle + 1, high)
        return order[:low]

    mixes = [0.0] if budget.params is None else [1.0] if budget.macs is None else _MIXES
    removed = min(map(fewest_that_fit, mixes), key=lambda some: sum(each.loss for each in some))
    lost: dict[str, set[int]] = {name: set() for name in groups}
    for bundle in removed:
        lost[bundle.group].update(bundle.units)
    kept = {
        name: (group := graph.groups[name]).channels_of(
            torch.tensor([i for i in range(group.units) if i not in lost[name]])
        )
        for name in groups
    }
    return Choice(kept, levels)


@dataclass(frozen=True, slots=True)
class _Bundle:
    """Units of one group that are removed together, to reach its next width.

    Attributes:
        loss: the sum, over its units in the order of removal, of each one's share of the
            importance that its group has left, times the penalty on nearly empty layers.
        params: parameters it saves, as a share of the network's.
        macs: MACs it saves, as a share of the network's.
    """

    group: str
    units: tuple[int, ...]
    loss: float
    params: float
    macs: float

    def price(self, mix: float) -> float:
        """Loss per cost saved, of which a share ``mix`` is parameters and the rest MACs."""
        saved = mix * self.params + (1 - mix) * self.macs
        return self.loss / saved if saved > 0 else math.inf


def _bundles(
    graph: ChannelGraph, name: str, importance: Tensor, fewest: int, step: int, balance: float
) -> list[_Bundle]:
    """All units of a group except those of the ``fewest`` channels, in the order of removal."""
    group = graph.groups[name]
    one_less = graph.cost({name: group.channels - group.unit_size})
    (params, macs), (less_params, less_macs) = graph.cost(), one_less
    order = importance.argsort(stable=True)
    remaining = importance[order].flip(0).cumsum(0).flip(0).clamp_min(1e-30)
    factors = (remaining[0] / remaining) ** balance
    units, losses = order.tolist(), (importance[order] / remaining * factors).tolist()
    found = []
    fewest, step = fewest // group.unit_size, step // group.unit_size
    start, end = 0, group.units % step or step
    while group.units - end >= fewest:
        size = end - start
        found.append(
            _Bundle(
                name,
                tuple(units[start:end]),
                sum(losses[start:end]),
                size * (params - less_params) / params,
                size * (macs - less_macs) / macs,
            )
        )
        start, end = end, end + step
    return found
