"""How a budget is shared out to the layers where a criterion only ranks the channels.

``select_by_budget`` weighs loss against cost; most published criteria do not. They take the same
share of every layer, or cut all layers at one importance.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from secateur.errors import BudgetError
from secateur.pruning.graph.trace import ChannelGraph
from secateur.pruning.selection.budget import Reach
from secateur.pruning.selection.rounding import fewest_channels
from secateur.pruning.selection.select import meets

# Halvings of an interval of shares: finer than any layer is wide.
_HALVINGS = 20


def keep_same_share(
    graph: ChannelGraph,
    importance: Mapping[str, Tensor],
    *,
    params: float | None = None,
    macs: float | None = None,
    later: Sequence[Reach] = (),
    min_filters: int = 1,
) -> dict[str, Tensor]:
    """Keep the same share of every group, of each the channels most importance.

    Args:
        graph: the network's channel groups.
        importance: of every channel of the groups that may lose some, (channels,) each.
        params: parameters the whole network may have; None for any number.
        macs: multiply-adds likewise.
        later: what later phases must still be able to come down to.
        min_filters: kept in each group.

    Returns:
        The kept channels by group, rising.

    Raises:
        BudgetError: even ``min_filters`` everywhere are over the budget.
    """
    fewest = fewest_channels(graph, importance, min_filters, 1)

    def left(share: float) -> dict[str, int]:
        return {n: max(fewest[n], int(share * len(each))) for n, each in importance.items()}

    _check(graph, fewest, params, macs, later)
    low, high = 0.0, 1.0
    if meets(graph, left(high), params, macs, later):
        low = high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        fits = meets(graph, left(middle), params, macs, later)
        low, high = (middle, high) if fits else (low, middle)
    counts = left(low)
    return {
        name: each.argsort(descending=True, stable=True)[: counts[name]].sort().values
        for name, each in importance.items()
    }


def keep_above_one_importance(
    graph: ChannelGraph,
    importance: Mapping[str, Tensor],
    *,
    params: float | None = None,
    macs: float | None = None,
    later: Sequence[Reach] = (),
    min_filters: int = 1,
) -> dict[str, Tensor]:
    """Keep the channels of all groups that are importance most, whatever their layer.

    Arguments, result and errors are those of ``keep_same_share``; the best ``min_filters`` of each
    group stay in any case.
    """
    fewest = fewest_channels(graph, importance, min_filters, 1)
    _check(graph, fewest, params, macs, later)
    going = []
    for name, each in importance.items():
        order = each.argsort(stable=True)[: len(each) - fewest[name]].tolist()
        going += [(float(each[channel]), name, channel) for channel in order]
    going.sort(key=lambda entry: entry[0])

    def left(removed: int) -> dict[str, int]:
        counts = {name: len(each) for name, each in importance.items()}
        for _, name, _ in going[:removed]:
            counts[name] -= 1
        return counts

    low, high = 0, len(going)
    while low < high:
        middle = (low + high) // 2
        fits = meets(graph, left(middle), params, macs, later)
        low, high = (low, middle) if fits else (middle + 1, high)
    gone = {(name, channel) for _, name, channel in going[:low]}
    return {
        name: torch.tensor([i for i in range(len(each)) if (name, i) not in gone])
        for name, each in importance.items()
    }


def _check(
    graph: ChannelGraph,
    fewest: Mapping[str, int],
    params: float | None,
    macs: float | None,
    later: Sequence[Reach],
) -> None:
    if not meets(graph, fewest, params, macs, later):
        raise BudgetError(
            "the budget cannot be met: with min_filters kept in every group of the phase the "
            "network is still too large; allow more, or name more layers"
        )
