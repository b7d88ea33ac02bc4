"""Widths: how many channels a group may keep, at least so many and a multiple of its width step."""

from collections.abc import Iterable, Mapping

from secateur.errors import PruningError
from secateur.pruning.graph.groups import ChannelGraph

# The width step of every group, or of those named; of the others it is 1.
RoundTo = int | Mapping[str, int]


def width_steps(graph: ChannelGraph, names: Iterable[str], round_to: RoundTo) -> dict[str, int]:
    """Give the width step of each group: what the channels it keeps are a multiple of.

    Args:
        graph: the network's channel groups.
        names: the groups asked about.
        round_to: one width step for all, or width steps by group; of one not named it is 1.

    Raises:
        PruningError: a width step is no whole number from 1, or is of a group that is not there.
    """
    names = list(names)
    if not isinstance(round_to, Mapping):
        round_to = dict.fromkeys(names, round_to)
    for name, step in round_to.items():
        if name not in graph.groups:
            raise PruningError(f"round_to: {name!r} is no channel group of this network")
        if not isinstance(step, int) or step < 1:
            raise PruningError(f"round_to is {step!r} for {name}; give a whole number, 1 or more")
    return {name: round_to.get(name, 1) for name in names}


def fewest_channels(
    graph: ChannelGraph, names: Iterable[str], min_filters: int, round_to: RoundTo = 1
) -> dict[str, int]:
    """Give the fewest channels that each group may be left with.

    They are ``min_filters``, or the group's own least if that is more, rounded up to the group's
    width step; all of its channels, where it has no more than that.

    Raises:
        PruningError: as for ``width_steps``.
    """
    steps = width_steps(graph, names, round_to)
    groups = {name: graph.groups[name] for name in steps}
    return {
        name: min(rounded_up(max(min_filters, group.least), steps[name]), group.channels)
        for name, group in groups.items()
    }


def rounded_up(count: int, step: int) -> int:
    """Give the least multiple of a width step that is no less than a count."""
    return -(-count // step) * step


def least_in_words(min_filters: int, round_to: RoundTo) -> str:
    """Say what ``fewest_channels`` gives, for a message."""
    return f"{min_filters} filters{'' if round_to == 1 else ' (rounded up as round_to says)'}"
