"""Budgets: what a network may have after a phase, and how a budget is divided among phases."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from secateur.errors import BudgetError, WrongValueError
from secateur.files.arguments import check_fields
from secateur.pruning.graph.groups import ChannelGraph
from secateur.pruning.selection.rounding import RoundTo, fewest_channels, least_in_words


@dataclass(frozen=True, slots=True)
class Reach:
    """What later phases, up to one of them, must still be able to reduce the network to.

    Attributes:
        params: parameters after that phase; None for any number.
        macs: multiply-adds for one picture after it; None for any number.
        fewest: the fewest channels that these phases leave in the groups they cut.
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
        later: what each later phase with a budget needs this one to leave possible, in order.

    Raises:
        PruningError: a number is below 1, as a share would be.
    """

    params: float | None = None
    macs: float | None = None
    later: Sequence[Reach] = ()

    def __post_init__(self) -> None:
        check_fields(self)
        for name, number in (("params", self.params), ("macs", self.macs)):
            if number is not None and not (number == 0 or number >= 1):
                raise WrongValueError(
                    f"{name} is {number:g}; give a number of them, 1 or more, or a share by "
                    f"Goal(keep_{name}=…)"
                )

    def is_met(self, graph: ChannelGraph, counts: Mapping[str, int]) -> bool:
        """Tell whether the network meets the budget with so many channels left in some groups.

        Args:
            graph: the network's channel groups.
            counts: channels by group; groups that are not named keep all.
        """
        if not _within(graph.cost(counts), self.params, self.macs):
            return False
        for reach in self.later:
            fewest = {
                name: min(count, counts.get(name, graph.groups[name].channels))
                for name, count in reach.fewest.items()
            }
            if not _within(graph.cost({**counts, **fewest}), reach.params, reach.macs):
                return False
        return True


def out_of_reach(
    graph: ChannelGraph, budget: Budget, fewest: Mapping[str, int], least: str
) -> BudgetError:
    """The error for a budget that cannot be met; it says what can be.

    Args:
        graph: the network's channel groups.
        budget: what the network may have.
        fewest: channels that each group may be left with.
        least: what is kept in each layer, in words.
    """
    sizes = zip(("parameters", "MACs"), graph.cost(fewest), graph.cost(), strict=True)
    words = [f"{cost:,} {what} ({_share(cost, whole)})" for what, cost, whole in sizes]
    limits = (budget.params, budget.macs)
    left = [text for text, limit in zip(words, limits, strict=True) if limit is not None] or words
    return BudgetError(
        f"the budget cannot be met: {' and '.join(left)} are left even with {least} in every layer "
        "that may lose some; allow as much, name more layers, or lower min_filters"
    )


def divide_budget(
    graph: ChannelGraph,
    phases: Sequence[Sequence[str]],
    keep_params: float | None,
    keep_macs: float | None,
) -> list[Budget]:
    """Divide a budget for the end of a run among its phases.

    A tensor that n phases cut should keep the share b of its cost in the end, so b^(m/n) after the
    m-th. The last phase meets the budget itself.

    Args:
        graph: of the dense network.
        phases: the groups that lose channels in each.
        keep_params: share of the dense network's parameters left after the last phase.
        keep_macs: share of its MACs left after the last phase.
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
        kept = 0.0
        for name, cost in costs.items():
            n, m = (sum(name in cut for cut in some) for some in (cuts, cuts[:done]))
            kept += cost * (keep ** (m / n) if n else 1.0)
        return int(kept)

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
    """Make every phase leave possible what the later ones must meet.

    Args:
        graph: of the dense network.
        phases: the groups that lose channels in each.
        budgets: what each may leave.
        min_filters: kept in each group, by phase.
        round_to: width steps of the groups, to which ``min_filters`` is rounded up, by phase.

    Raises:
        BudgetError: even the fewest filters in each layer exceed a budget; the message has the
            numbers.
    """
    fewest = [
        fewest_channels(graph, names, least, step)
        for names, least, step in zip(phases, min_filters, round_to, strict=True)
    ]

    def reach(done: int, number: int) -> Reach:
        """What the phases after the first ``done``, up to a number, can reduce the network to."""
        least: dict[str, int] = {}
        for some in fewest[done:number]:
            least |= {name: min(count, least.get(name, count)) for name, count in some.items()}
        params, macs = budgets[number - 1].params, budgets[number - 1].macs
        return Reach(
            None if params is None else int(params), None if macs is None else int(macs), least
        )

    for number, (least, step) in enumerate(zip(min_filters, round_to, strict=True), start=1):
        whole = reach(0, number)
        for what, limit, cost, total in zip(
            ("parameters", "MACs"),
            (whole.params, whole.macs),
            graph.cost(whole.fewest),
            graph.cost(),
            strict=True,
        ):
            if limit is not None and cost > limit:
                raise BudgetError(
                    f"phase {number} cannot come down to {limit:,} {what}: {cost:,} are left "
                    f"({_share(cost, total)}), even with {least_in_words(least, step)} in each "
                    "layer that it and the phases before it cut; keep more, name more layers, or "
                    f"lower min_filters{'' if step == 1 else ' or round_to'}"
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


def bisect_sizes(attempts: int, holds: Callable[[float], bool]) -> None:
    """Search for the smallest acceptable size by bisection.

    Args:
        attempts: how many sizes are tried.
        holds: tries a size, from 0 to 1 as for ``size_between``, and returns whether it is
            acceptable; then any larger size is, too.
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
    """Give a size between the least that a phase can leave (``keep`` 0) and all of it (1).

    Parameters and MACs move together, each between its own ends, because a phase may hold most of
    the one and little of the other.
    """
    fewest = fewest_channels(graph, names, min_filters, round_to)
    (least_params, least_macs), (params, macs) = graph.cost(fewest), graph.cost()
    return Budget(
        int(least_params + keep * (params - least_params)),
        int(least_macs + keep * (macs - least_macs)),
    )


def _share(cost: int, whole: int) -> str:
    """A size in percent of the whole network's, rounded up."""
    return f"{math.ceil(1000 * cost / max(whole, 1)) / 10:g} %"


def _within(cost: tuple[int, int], params: float | None, macs: float | None) -> bool:
    return (params is None or cost[0] <= params) and (macs is None or cost[1] <= macs)
