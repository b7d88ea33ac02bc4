"""Rounding: how many channels a group may keep, at least a minimum and a multiple of its step."""

from collections.abc import Iterable, Mapping

from secateur.errors import PruningError
from secateur.pruning.graph.groups import ChannelGraph

# One width step for every group, or width steps by group; a group that is not named has 1.
RoundTo = int | Mapping[str, int]


def width_steps(graph: ChannelGraph, names: Iterable[str], round_to: RoundTo) -> dict[str, int]:
    """Give the width step of each group: what the channels it keeps are a multiple of.

    Args:
        graph: the network's channel groups.
        names: the groups in question.
        round_to: one width step for all, or width steps by group.

    Raises:
        PruningError: a width step is not a whole number of at least 1, or names an unknown group.
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

    That is the larger of ``min_filters`` and the group's own minimum, rounded up to the group's
    width step, or all of its channels if it has no more.

    Raises:
        PruningError: ``min_filters`` is not a whole number of at least 1, or as ``width_steps``.
    """
    if not isinstance(min_filters, int) or min_filters < 1:
        raise PruningError(f"min_filters is {min_filters}; give a whole number, 1 or more")
    steps = width_steps(graph, names, round_to)
    groups = {name: graph.groups[name] for name in steps}
    return {
        name: min(rounded_up(max(min_filters, group.least), steps[name]), group.channels)
        for name, group in groups.items()
    }


def rounded_up(count: int, step: int) -> int:
    """Round a count up to a multiple of a width step."""
    return -(-count // step) * step


def least_in_words(min_filters: int, round_to: RoundTo) -> str:
    """Describe what ``fewest_channels`` gives, for a message."""
    return f"{min_filters} filters{'' if round_to == 1 else ' (rounded up to round_to)'}"
