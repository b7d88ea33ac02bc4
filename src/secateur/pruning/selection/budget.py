"""Budgets: what a network may have after a phase, and how far each phase goes towards the end."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from secateur.errors import BudgetError
from secateur.pruning.graph.trace import ChannelGraph
from secateur.pruning.selection.rounding import RoundTo, fewest_channels, least_in_words


@dataclass(frozen=True, slots=True)
class Reach:
    """What later phases, up to one of them, must still be able to bring the network down to.

    Attributes:
        params: parameters behind that phase, None for any number.
        macs: multiply-adds for one picture behind it, likewise.
        fewest: the least channels that these phases leave in the groups they cut.
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
        later: what each later phase that has a budget needs this one to leave possible, in their
            order.
    """

    params: int | None
    macs: int | None
    later: tuple[Reach, ...] = ()


def share_out(
    graph: ChannelGraph,
    phases: Sequence[Sequence[str]],
    keep_params: float | None,
    keep_macs: float | None,
) -> list[Budget]:
    """Share a budget for the end out to the phases.

    A tensor that n phases cut should keep the share b of its cost in the end, so b^(m/n) after the
    m-th. The last phase meets the budget itself.

    Args:
        graph: of the dense network.
        phases: the groups that lose channels in each.
        keep_params: share of the dense network's parameters left after the last phase.
        keep_macs: share of its MACs likewise.
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

    return [
        Budget(allowed(keep_params, params, done), allowed(keep_macs, macs, done))
        for done in range(1, len(cuts) + 1)
    ]


def within_reach(
    graph: ChannelGraph,
    phases: Sequence[Sequence[str]],
    budgets: Sequence[Budget],
    min_filters: Sequence[int],
    round_to: Sequence[RoundTo],
) -> list[Budget]:
    """Have every phase leave possible what the later ones are to meet.

    Args:
        graph: of the dense network.
        phases: the groups that lose channels in each.
        budgets: what each may leave.
        min_filters: kept in each group, by phase.
        round_to: width steps of the groups, to which ``min_filters`` is rounded up, by phase.

    Raises:
        BudgetError: even the fewest filters in each layer would not meet a budget; the message
            has the numbers.
    """
    fewest = [
        fewest_channels(graph, names, least, step)
        for names, least, step in zip(phases, min_filters, round_to, strict=True)
    ]

    def reach(done: int, number: int) -> Reach:
        """What phases behind the first ``done`` and up to a number come down to."""
        least: dict[str, int] = {}
        for some in fewest[done:number]:
            least |= {name: min(count, least.get(name, count)) for name, count in some.items()}
        return Reach(budgets[number - 1].params, budgets[number - 1].macs, least)

    count = len(budgets)
    for number in range(1, count + 1):
        whole = reach(0, number)
        for what, limit, least in zip(
            ("parameters", "MACs"),
            (whole.params, whole.macs),
            graph.cost(whole.fewest),
            strict=True,
        ):
            if limit is not None and least > limit:
                step = round_to[number - 1]
                words = least_in_words(min_filters[number - 1], step)
                raise BudgetError(
                    f"phase {number} cannot come down to {limit:,} {what}: {least:,} are left even "
                    f"with {words} in each layer that it and the "
                    "phases before it cut; keep more, name more layers, or lower min_filters"
                    f"{'' if step == 1 else ' or round_to'}"
                )
    bounded = [
        number
        for number, budget in enumerate(budgets, start=1)
        if budget.params is not None or budget.macs is not None
    ]
    return [
        replace(budget, later=tuple(reach(done, number) for number in bounded if number > done))
        for done, budget in enumerate(budgets, start=1)
    ]


def halve_sizes(attempts: int, holds: Callable[[float], bool]) -> None:
    """Look for the smallest size that holds, by halving the interval that it must lie in.

    Args:
        attempts: how many sizes are tried.
        holds: tries a size, from 0 to 1 as for ``size_between``, and tells whether it will do; a
            larger one then does too.
    """
    low, high = 0.0, 1.0
    for _ in range(attempts):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)


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
