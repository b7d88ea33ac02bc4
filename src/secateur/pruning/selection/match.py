"""Which channel groups a pattern of layer paths selects."""

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase

from secateur.errors import PruningError
from secateur.pruning.graph.groups import ChannelGraph, ChannelGroup

# Paths or patterns of layers; None where nothing is named.
Layers = str | Sequence[str] | None


def match_groups(graph: ChannelGraph, patterns: Layers = None, ignore: Layers = None) -> list[str]:
    """Find the prunable channel groups of the layers named.

    Args:
        graph: the network's channel groups.
        patterns: each the path of a layer that produces channels, of a module that contains such
            layers, or a pattern of paths (``layer1.*.conv1``, in which ``*`` matches dots too);
            None for all.
        ignore: those of layers that shall lose no filters. A layer whose channels meet theirs in a
            sum loses none either.

    Returns:
        The groups' names, in the order the network runs.

    Raises:
        PruningError: a pattern matches no such layer, or only layers that cannot be pruned; or
            nothing in the network can be pruned, or all of it is ignored.
    """
    free = graph.prunable()
    if not free:
        raise PruningError(f"no channel of this network can be pruned: {_reasons(graph, 3)}")
    chosen = set(free) if patterns is None else set[str]()
    for pattern in _listed(patterns):
        matched = _matched(graph, pattern)
        if matched.isdisjoint(free):
            first = next(n for n in graph.groups if n in matched)
            raise PruningError(f"{pattern!r} cannot be pruned: {graph.groups[first].fixed}")
        chosen |= matched
    ignored = ignored_groups(graph, ignore)
    if chosen and chosen.isdisjoint(set(free) - ignored):
        raise PruningError("every layer that could lose filters is ignored; ignore fewer")
    return [name for name in free if name in chosen - ignored]


def ignored_groups(graph: ChannelGraph, ignore: Layers) -> set[str]:
    """Find the channel groups of layers that shall lose no filters.

    Raises:
        PruningError: a pattern matches no layer that produces channels.
    """
    return {name for pattern in _listed(ignore) for name in _matched(graph, pattern)}


def free_group(graph: ChannelGraph, name: str) -> ChannelGroup:
    """Give a group that may be pruned.

    Raises:
        PruningError: it is fixed.
    """
    group = graph.groups[name]
    if group.fixed is not None:
        raise PruningError(f"{name} cannot be pruned: {group.fixed}")
    return group


def _listed(patterns: Layers) -> Sequence[str]:
    return [patterns] if isinstance(patterns, str) else patterns or ()


def _matched(graph: ChannelGraph, pattern: str) -> set[str]:
    """The groups of the layers that a pattern matches, at least one."""
    paths = {name: (name, *group.producers) for name, group in graph.groups.items()}
    matched = {
        n for n, own in paths.items() if any(p == pattern or _is_of(p, pattern) for p in own)
    }
    if not matched:
        known = [path for own in paths.values() for path in own]
        near = difflib.get_close_matches(pattern, known, 1, 0)
        raise PruningError(
            f"{pattern!r} matches no layer that produces channels; did you mean {near[0]!r}?"
        )
    return matched


def _is_of(path: str, pattern: str) -> bool:
    return fnmatchcase(path, pattern) or fnmatchcase(path, f"{pattern}.*")


def _reasons(graph: ChannelGraph, count: int) -> str:
    """Say why the first few groups are fixed."""
    fixed = [(n, g.fixed) for n, g in graph.groups.items() if g.fixed is not None]
    more = "" if len(fixed) <= count else f", and {len(fixed) - count} more"
    return ", ".join(f"{name} ({reason})" for name, reason in fixed[:count]) + more
