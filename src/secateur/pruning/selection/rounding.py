"""Rounding: how many channels a group may keep, at least a minimum and a multiple of its step."""

import math
from collections.abc import Iterable, Mapping

from secateur.errors import WrongValueError
from secateur.pruning.graph.groups import ChannelGraph, ChannelGroup

# One width step for every group, or width steps by group; a group that is not named has 1.
RoundTo = int | Mapping[str, int]


def width_steps(graph: ChannelGraph, names: Iterable[str], round_to: RoundTo) -> dict[str, int]:
    """Give the width step of each group: what the channels it keeps are a multiple of.

    It is the least number of channels that make up whole units and with which every layer that
    produces them keeps a multiple of ``round_to`` filters.

    Args:
        graph: the network's channel groups.
        names: the groups in question.
        round_to: one width step for all, or width steps by group, in filters.

    Raises:
        PruningError: a width step is not a whole number of at least 1, or names an unknown group.
    """
    names = list(names)
    if not isinstance(round_to, Mapping):
        round_to = dict.fromkeys(names, round_to)
    for name, step in round_to.items():
        if name not in graph.groups:
            raise WrongValueError(f"round_to: {name!r} is no channel group of this network")
        if not isinstance(step, int) or step < 1:
            raise WrongValueError(
                f"round_to is {step!r} for {name}; give a whole number, 1 or more"
            )
    return {name: _step(graph.groups[name], round_to.get(name, 1)) for name in names}


def fewest_channels(
    graph: ChannelGraph, names: Iterable[str], min_filters: int, round_to: RoundTo = 1
) -> dict[str, int]:
    """Give the fewest channels that each group may be left with.

    With them every layer that produces the channels keeps at least ``min_filters`` filters, and the
    group its own minimum, rounded up to the group's width step; or all, if there are no more.

    Raises:
        PruningError: ``min_filters`` is not a whole number of at least 1, or as ``width_steps``.
    """
    if not isinstance(min_filters, int) or min_filters < 1:
        raise WrongValueError(f"min_filters is {min_filters}; give a whole number, 1 or more")
    steps = width_steps(graph, names, round_to)
    groups = {name: graph.groups[name] for name in steps}
    return {
        name: min(rounded_up(_least(group, min_filters), steps[name]), group.channels)
        for name, group in groups.items()
    }


def _least(group: ChannelGroup, min_filters: int) -> int:
    units = -(-min_filters // min(_filters_of_unit(group)))
    return max(units, group.least) * group.unit_size


def _step(group: ChannelGroup, filters: int) -> int:
    units = math.lcm(*(filters // math.gcd(filters, each) for each in _filters_of_unit(group)))
    return units * group.unit_size


def _filters_of_unit(group: ChannelGroup) -> list[int]:
    """How many filters of each producer a unit has."""
    return [group.unit_size, *(m.index.shape[1] for m in group.of_role("producer")[1:])]


def rounded_up(count: int, step: int) -> int:
    """Round a count up to a multiple of a width step."""
    return -(-count // step) * step


def least_in_words(min_filters: int, round_to: RoundTo) -> str:
    """Describe what ``fewest_channels`` gives, for a message."""
    filters = f"{min_filters} filter{'s' if min_filters > 1 else ''}"
    return f"{filters}{'' if round_to == 1 else ' (rounded up to round_to)'}"
