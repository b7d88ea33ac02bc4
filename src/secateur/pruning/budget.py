"""Budgets: what a network may have after a phase, and how far each phase goes towards the end."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from secateur.errors import BudgetError
from secateur.pruning.graph import ChannelGraph
from secateur.pruning.widths import RoundTo, fewest_channels, least_in_words


@dataclass(frozen=True, slots=True)
class Reach:
    """What later phases must still be able to bring the network down to.

    Attributes:
        params: parameters at the end, None for any number.
        macs: multiply-adds for one picture at the end, likewise.
        fewest: the least channels that later phases leave in the groups they cut.
    """

    params: int | None
    macs: int | None
    fewest: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Budget:
    """What the whole network may have after a phase; None for any number.

    Attributes:
        params: parameters.
        macs: multiply-adds for one picture.
        end: what later phases need this one to leave possible; None where none follows.
    """

    params: int | None
    macs: int | None
    end: Reach | None = None


def share_out(
    graph: ChannelGraph,
    phases: Sequence[Sequence[str]],
    keep_params: float | None,
    keep_macs: float | None,
    min_filters: int,
    round_to: RoundTo = 1,
) -> list[Budget]:
    """Share a budget for the end out to the phases.

    A tensor that n phases cut should keep the share b of its cost in the end, so b^(m/n) after the
    m-th. The last phase meets the budget itself, and the others leave that possible.

    Args:
        graph: of the dense network.
        phases: the groups that lose channels in each.
        keep_params: share of the dense network's parameters left after the last phase.
        keep_macs: share of its MACs likewise.
        min_filters: kept in each group.
        round_to: width steps of the groups, to which ``min_filters`` is rounded up.
    """
    cuts = [{m.name for name in names for m in graph.groups[name].members} for names in phases]
    sizes = {name: math.prod(shape) for name, shape in graph.shapes.items()}
    params = {name: sizes[name] for name in graph.parameters}
    macs = {name: sizes[name] * count for name, count in graph.positions.items()}

    def allowed(keep: float | None, costs: Mapping[str, int], done: int) -> int | None:
        if keep is None:
            return None
        if done == len(cuts):
            return int(keep * sum(costs.values()))
        left = 0.0
        for name, cost in costs.items():
            n, m = (sum(name in cut for cut in some) for some in (cuts, cuts[:done]))
            left += cost * (keep ** (m / n) if n else 1.0)
        return int(left)

    def reach(done: int) -> Reach | None:
        if done == len(cuts):
            return None
        later = dict.fromkeys(name for names in phases[done:] for name in names)
        fewest = fewest_channels(graph, later, min_filters, round_to)
        end = len(cuts)
        return Reach(allowed(keep_params, params, end), allowed(keep_macs, macs, end), fewest)

    return [
        Budget(allowed(keep_params, params, done), allowed(keep_macs, macs, done), reach(done))
        for done in range(1, len(cuts) + 1)
    ]


def check_reach(
    graph: ChannelGraph,
    phases: Sequence[Sequence[str]],
    budgets: Sequence[Budget],
    min_filters: int,
    round_to: RoundTo = 1,
) -> None:
    """Refuse a budget that even the fewest filters in each layer so far would not meet.

    Raises:
        BudgetError: it is so; the message has the numbers.
    """
    fewest: dict[str, int] = {}
    for number, (names, budget) in enumerate(zip(phases, budgets, strict=True), start=1):
        fewest |= fewest_channels(graph, names, min_filters, round_to)
        for what, limit, least in zip(
            ("parameters", "MACs"), (budget.params, budget.macs), graph.cost(fewest), strict=True
        ):
            if limit is not None and least > limit:
                raise BudgetError(
                    f"phase {number} cannot come down to {limit:,} {what}: {least:,} are left even "
                    f"with {least_in_words(min_filters, round_to)} in each layer that it and the "
                    "phases before it cut; keep more, name more layers, or lower min_filters"
                    f"{'' if round_to == 1 else ' or round_to'}"
                )


def size_between(
    graph: ChannelGraph,
    names: Sequence[str],
    keep: float,
    min_filters: int,
    round_to: RoundTo = 1,
) -> Budget:
    """A size between the least that a phase can leave (``keep`` 0) and the whole network (1).

    Parameters and MACs move together, each between its own ends, for a phase may hold most of
    the one and little of the other.
    """
    fewest = fewest_channels(graph, names, min_filters, round_to)
    (least_params, least_macs), (params, macs) = graph.cost(fewest), graph.cost()
    return Budget(
        int(least_params + keep * (params - least_params)),
        int(least_macs + keep * (macs - least_macs)),
    )
