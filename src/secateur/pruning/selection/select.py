"""Filter selection: which channels stay, from the sparsity of the layers on both sides of them."""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import accumulate

import torch
from torch import Tensor, nn

from secateur.errors import BudgetError, PruningError
from secateur.pruning.graph.trace import ChannelGraph, ChannelGroup, Role
from secateur.pruning.removal import kept_positions
from secateur.pruning.selection.budget import Reach
from secateur.pruning.selection.rounding import (
    RoundTo,
    fewest_channels,
    least_in_words,
    rounded_up,
    width_steps,
)

# How much dearer channels become as their group empties.
BALANCE = 2.0


@dataclass(frozen=True, slots=True)
class Levels:
    """What a selection saw of one group's channels when it decided on them.

    Attributes:
        F: sparsity level of each block F_i, (channels,) float64.
        G: sparsity level of each block G_i, (channels,) float64.
    """

    F: Tensor
    G: Tensor


@dataclass(frozen=True, slots=True)
class Choice:
    """A selection's outcome.

    Attributes:
        kept: the kept channels of each group decided on, rising.
        levels: what was seen of each group.
    """

    kept: dict[str, Tensor]
    levels: dict[str, Levels]


def match_groups(graph: ChannelGraph, patterns: Sequence[str] | None = None) -> list[str]:
    """Find the channel groups that may be pruned, of the layers named.

    Args:
        graph: the network's channel groups.
        patterns: each the path of a layer that makes channels, or of a module with such layers,
            or a pattern of paths (``layer1.*.conv1``, in which ``*`` matches dots too); None for
            all.

    Returns:
        The groups' names, in the order the network runs.

    Raises:
        PruningError: a pattern matches no such layer, or only layers that cannot be pruned; or
            nothing in the network can be pruned.
    """
    free = graph.prunable()
    if not free:
        raise PruningError(f"no channel of this network can be pruned: {_reasons(graph, 3)}")
    if patterns is None:
        return list(free)
    paths = {name: (name, *group.producers) for name, group in graph.groups.items()}
    chosen: set[str] = set()
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        matched = {
            n for n, own in paths.items() if any(p == pattern or _is_of(p, pattern) for p in own)
        }
        if not matched:
            known = [path for own in paths.values() for path in own]
            near = difflib.get_close_matches(pattern, known, 1, 0)
            raise PruningError(
                f"{pattern!r} matches no layer that makes channels; did you mean {near[0]!r}?"
            )
        if matched.isdisjoint(free):
            first = next(n for n in graph.groups if n in matched)
            raise PruningError(f"{pattern!r} cannot be pruned: {graph.groups[first].fixed}")
        chosen |= matched
    return [name for name in free if name in chosen]


def _is_of(path: str, pattern: str) -> bool:
    return fnmatchcase(path, pattern) or fnmatchcase(path, f"{pattern}.*")


def select_filters(
    graph: ChannelGraph,
    tensors: nn.Module | Mapping[str, Tensor],
    *,
    groups: Sequence[str] | None = None,
    keep_params: float | None = None,
    keep_macs: float | None = None,
    s_F: float | None = None,
    s_F_both: float | None = None,
    s_G: float | None = None,
    min_filters: int = 4,
    round_to: RoundTo = 1,
) -> Choice:
    """Select the channels that stay, by a budget or by the published levels.

    Args:
        graph: the network's channel groups.
        tensors: the thresholded network, or its parameters by path.
        groups: layers whose channels may go, as paths or patterns (``layer1.*``); None for all.
        keep_params: share of the network's parameters that may be left, 0–1.
        keep_macs: share of its MACs that may be left, 0–1; beside keep_params, both hold.
        s_F: sparsity level of F_i that is enough by itself (paper, Algorithm 1).
        s_F_both: the paper's s'_F, the level of F_i that is enough beside s_G.
        s_G: sparsity level of G_i.
        min_filters: kept in each group; below four, a layer hardly passes anything on.
        round_to: what the channels kept are a multiple of, in every group that loses some: one
            number, or numbers by the group's name, where groups not named take 1.

    Raises:
        PruningError: neither or both ways are given, or an entry is out of range; a pattern
            matches nothing that can be pruned, or ``round_to`` names no group.
        BudgetError: even ``min_filters`` everywhere, rounded up, are over the budget.
    """
    check_goal(
        keep_params=keep_params,
        keep_macs=keep_macs,
        s_F=s_F,
        s_F_both=s_F_both,
        s_G=s_G,
        min_filters=min_filters,
    )
    names = match_groups(graph, groups)
    if isinstance(tensors, nn.Module):
        tensors = dict(tensors.named_parameters(remove_duplicate=False))
    if s_F is not None and s_F_both is not None and s_G is not None:
        return select_by_sparsity(
            graph,
            names,
            tensors,
            s_F=s_F,
            s_F_both=s_F_both,
            s_G=s_G,
            min_filters=min_filters,
            round_to=round_to,
        )
    params, macs = graph.cost()
    return select_by_budget(
        graph,
        names,
        tensors,
        params=None if keep_params is None else keep_params * params,
        macs=None if keep_macs is None else keep_macs * macs,
        min_filters=min_filters,
        round_to=round_to,
    )


def check_goal(
    *,
    keep_params: float | None = None,
    keep_macs: float | None = None,
    s_F: float | None = None,
    s_F_both: float | None = None,
    s_G: float | None = None,
    max_drop: float | None = None,
    min_filters: int = 1,
) -> None:
    """Refuse a goal of selection that is none, or two, or out of range.

    Raises:
        PruningError: it is so; the message names the entry.
    """
    levels = {"s_F": s_F, "s_F_both": s_F_both, "s_G": s_G}
    keeps = {"keep_params": keep_params, "keep_macs": keep_macs}
    ways = [{name: v for name, v in way.items() if v is not None} for way in (keeps, levels)]
    if sum(map(bool, ways)) + (max_drop is not None) != 1:
        raise PruningError(
            "say in one way how far to go: keep_params and/or keep_macs; s_F, s_F_both and s_G; "
            "or, in compress, max_drop"
        )
    if ways[1] and len(ways[1]) < 3:
        raise PruningError("s_F, s_F_both and s_G go together; give all three")
    for name, share in (ways[0] | ways[1]).items():
        if not 0 <= share <= 1 or (share == 0 and name in keeps):
            raise PruningError(f"{name} is {share:g}; it is a share between 0 and 1")
    if s_F is not None and s_F_both is not None and s_F_both > s_F:
        raise PruningError(f"s_F_both ({s_F_both:g}) must not be above s_F ({s_F:g})")
    if max_drop is not None and not max_drop >= 0:
        raise PruningError(f"max_drop is {max_drop:g}; it is a loss of the metric, 0 or more")
    if not isinstance(min_filters, int) or min_filters < 1:
        raise PruningError(f"min_filters is {min_filters}; give a whole number, 1 or more")


def select_by_sparsity(
    graph: ChannelGraph,
    groups: Sequence[str],
    tensors: Mapping[str, Tensor],
    *,
    s_F: float,
    s_F_both: float,
    s_G: float,
    min_filters: int = 1,
    round_to: RoundTo = 1,
) -> Choice:
    """Select as published (paper, Algorithm 1).

    A channel goes when ``sp(F_i) >= s_F``, or when ``sp(F_i) >= s_F_both`` and
    ``sp(G_i) >= s_G``. Groups are visited in the order given, and what one loses is left out of
    the blocks of the next.

    Args:
        graph: the network's channel groups.
        groups: the groups of the phase, in the order the network runs.
        tensors: the thresholded parameters by path.
        s_F: sparsity level of F_i that is enough by itself, 0–1.
        s_F_both: the paper's s'_F, the level of F_i that is enough beside s_G, below s_F.
        s_G: sparsity level of G_i, 0–1.
        min_filters: kept in each group whatever their level; those of the least sp(F), then
            sp(G), then index stay.
        round_to: width steps of the groups, one number or by name; what stays is rounded up to a
            multiple, or to all of a group, in the same order.

    Raises:
        PruningError: a group is fixed, or ``round_to`` is no width step of a group that is there.
    """
    steps = width_steps(graph, groups, round_to)
    fewest = fewest_channels(graph, groups, min_filters, round_to)
    kept: dict[str, Tensor] = {}
    levels: dict[str, Levels] = {}
    for name in groups:
        group = _free(graph, name)
        levels[name] = seen = sparsity_levels(group, tensors, kept_positions(graph, kept))
        goes = (s_F <= seen.F) | ((s_F_both <= seen.F) & (s_G <= seen.G))
        ranks = list(zip(goes.tolist(), seen.F.tolist(), seen.G.tolist(), strict=True))
        order = sorted(range(group.channels), key=ranks.__getitem__)
        count = max(rounded_up(int((~goes).sum()), steps[name]), fewest[name])
        kept[name] = torch.tensor(sorted(order[:count]))
    return Choice(kept, levels)


def select_by_budget(
    graph: ChannelGraph,
    groups: Sequence[str],
    tensors: Mapping[str, Tensor],
    *,
    params: float | None = None,
    macs: float | None = None,
    later: Sequence[Reach] = (),
    min_filters: int = 1,
    round_to: RoundTo = 1,
    importance: Mapping[str, Tensor] | None = None,
    balance: float = BALANCE,
) -> Choice:
    """Take channels out, the least loss a cost saved first, until the network is small enough.

    One sparsity level for all layers empties deep, wide layers while others stay whole. Here
    each layer is measured by itself: a channel is worth what is left of F_i and of G_i after
    the threshold, as a share of what is left of its layer's *remaining* channels, so that the
    last filters of a narrow layer are dear. The order is by that loss over the cost which the
    channel saves. Where parameters and MACs are both limited, cost is the mix of the two whose
    selection loses least: what the one limit leaves free is not given up for the other.

    Where a group has a width step over 1, its channels go in bundles: the first brings their number
    down to a multiple of the step, each further one takes a step's importance. A bundle loses and saves
    what its channels do, summed, so the order is by the same price.

    Args:
        graph: the network's channel groups.
        groups: the groups of the phase, in the order the network runs.
        tensors: the thresholded parameters by path.
        params: parameters the whole network may have.
        macs: MACs the whole network may have.
        later: what later phases must still be able to come down to; where that asks for more than
            ``params`` and ``macs`` do, more goes.
        min_filters: kept in each group, rounded up to its width step.
        round_to: width steps of the groups, one number or by name.
        importance: of every channel of the groups, (channels,) each; None for ``channel_importance``.
        balance: how much dearer channels become as their group empties: their loss is multiplied
            by (all of the group's importance ÷ what remains) to this power. Of channels of equal importance,
            0 leaves groups as wide as they are cheap, and the larger it is, the more alike are the
            shares that groups keep.

    Raises:
        PruningError: a group is fixed, neither budget is given, or ``round_to`` is no width step
            of a group that is there.
        BudgetError: even the least that may be kept is over the budget.
    """
    if params is None and macs is None:
        raise PruningError("no budget given; state params or macs")
    levels = {name: sparsity_levels(_free(graph, name), tensors, {}) for name in groups}
    steps = width_steps(graph, groups, round_to)
    fewest = fewest_channels(graph, groups, min_filters, round_to)
    importance = importance or {
        name: channel_importance(graph.groups[name], tensors) for name in groups
    }
    bundles = {
        name: _bundles(graph, name, importance[name], fewest[name], steps[name], balance)
        for name in groups
    }

    def fits(removed: Sequence[_Bundle]) -> bool:
        left = {name: graph.groups[name].channels for name in groups}
        for bundle in removed:
            left[bundle.group] -= len(bundle.channels)
        return meets(graph, left, params, macs, later)

    if not fits([bundle for some in bundles.values() for bundle in some]):
        raise BudgetError(
            f"the budget cannot be met: with {least_in_words(min_filters, round_to)} kept in every "
            "group of the phase the network is still too large; allow more, or name more layers"
        )

    def fewest_that_fit(mix: float) -> list[_Bundle]:
        priced = []
        for some in bundles.values():
            # Within a group prices rise but for rounding, and its bundles must go in their order.
            prices = accumulate((bundle.price(mix) for bundle in some), max)
            priced += list(zip(prices, some, strict=True))
        order = [bundle for _, bundle in sorted(priced, key=lambda pair: pair[0])]
        low, high = 0, len(order)  # every bundle saves something
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if fits(order[:middle]) else (middle + 1, high)
        return order[:low]

    mixes = [0.0] if params is None else [1.0] if macs is None else _MIXES
    removed = min(map(fewest_that_fit, mixes), key=lambda some: sum(each.loss for each in some))
    gone: dict[str, set[int]] = {name: set() for name in groups}
    for bundle in removed:
        gone[bundle.group].update(bundle.channels)
    kept = {
        name: torch.tensor([i for i in range(graph.groups[name].channels) if i not in gone[name]])
        for name in groups
    }
    return Choice(kept, levels)


@dataclass(frozen=True, slots=True)
class _Bundle:
    """Channels of one group that go together, or stay.

    Attributes:
        loss: the sum, over its channels in the order they go, of each one's share of the importance of
            the group's channels that are still there, made dearer by ``balance``.
        params: parameters it saves, as a share of the network's.
        macs: MACs likewise.
    """

    group: str
    channels: tuple[int, ...]
    loss: float
    params: float
    macs: float

    def price(self, mix: float) -> float:
        """Loss a cost saved, of which a share ``mix`` is parameters and the rest MACs."""
        saved = mix * self.params + (1 - mix) * self.macs
        return self.loss / saved if saved > 0 else math.inf


# Shares of parameters in what a channel is taken to save.
_MIXES = [number / 20 for number in range(21)]


def _bundles(
    graph: ChannelGraph, name: str, importance: Tensor, fewest: int, step: int, balance: float
) -> list[_Bundle]:
    """All channels of a group but the ``fewest`` most importance, in the order they go."""
    group = graph.groups[name]
    (params, macs), (less_params, less_macs) = graph.cost(), graph.cost({name: group.channels - 1})
    order = importance.argsort(stable=True)
    remaining = importance[order].flip(0).cumsum(0).flip(0).clamp_min(1e-30)
    dearer = (remaining[0] / remaining) ** balance
    channels, losses = order.tolist(), (importance[order] / remaining * dearer).tolist()
    found = []
    start, end = 0, group.channels % step or step
    while group.channels - end >= fewest:
        size = end - start
        found.append(
            _Bundle(
                name,
                tuple(channels[start:end]),
                sum(losses[start:end]),
                size * (params - less_params) / params,
                size * (macs - less_macs) / macs,
            )
        )
        start, end = end, end + step
    return found


def sparsity_levels(
    group: ChannelGroup,
    tensors: Mapping[str, Tensor],
    stays: Mapping[str, Mapping[int, Tensor]],
) -> Levels:
    """Sparsity levels of every block F_i and G_i of a group: zeros ÷ elements.

    Where several producers or consumers share a channel, the block is all of their elements.

    Args:
        group: the channel group.
        tensors: the thresholded parameters by path.
        stays: positions that are left of some dimensions, as ``kept_positions`` gives them.
    """

    def level(role: Role) -> Tensor:
        zeros = torch.zeros(group.channels, dtype=torch.float64)
        elements = 0
        for member in group.of_role(role):
            tensor = tensors[member.name].detach().cpu()
            for dim, positions in stays.get(member.name, {}).items():
                if dim != member.dim:
                    tensor = tensor.index_select(dim, positions)
            slices = tensor.movedim(member.dim, 0).flatten(1)
            zeros += (slices == 0).sum(1, dtype=torch.float64)[member.index].sum(1)
            elements += slices.shape[1] * member.index.shape[1]
        return zeros / max(elements, 1)

    return Levels(level("producer"), level("consumer"))


def channel_importance(
    group: ChannelGroup,
    tensors: Mapping[str, Tensor],
    roles: Sequence[Role] = ("producer", "consumer"),
) -> Tensor:
    """What is left of each channel, (channels,) float64, as a share of its group's.

    The L1 norm of a block over the layer's mean, averaged over the layers of a role, and the
    geometric mean of the two roles: a channel that is hardly made or hardly read is worth little.

    Args:
        group: the channel group.
        tensors: the thresholded parameters by path.
        roles: ``producer`` for F, ``consumer`` for G.
    """

    def share(role: Role) -> Tensor:
        shares = []
        for member in group.of_role(role):
            tensor = tensors[member.name].detach().cpu()
            others = [dim for dim in range(tensor.dim()) if dim != member.dim]
            # Summed up in double precision without a copy of that kind, which takes longer.
            norms = torch.linalg.vector_norm(tensor, 1, others, dtype=torch.float64)
            sums = norms[member.index].sum(1)
            shares.append(sums / sums.mean().clamp_min(1e-30))
        return torch.stack(shares).mean(0) if shares else torch.ones(group.channels).double()

    product = torch.stack([share(role) for role in roles]).prod(0)
    return product ** (1 / len(roles))


def _reasons(graph: ChannelGraph, count: int) -> str:
    """Why groups are fixed, of the first few."""
    fixed = [(n, g.fixed) for n, g in graph.groups.items() if g.fixed is not None]
    more = "" if len(fixed) <= count else f", and {len(fixed) - count} more"
    return ", ".join(f"{name} ({reason})" for name, reason in fixed[:count]) + more


def meets(
    graph: ChannelGraph,
    left: Mapping[str, int],
    params: float | None,
    macs: float | None,
    later: Sequence[Reach] = (),
) -> bool:
    """Tell whether a network with so many channels left in some groups is within a budget.

    Args:
        graph: the network's channel groups.
        left: channels by group; groups that are not named keep all.
        params: parameters the whole network may have; None for any number.
        macs: multiply-adds likewise.
        later: what later phases must still be able to come down to.
    """
    if not _within(graph.cost(left), params, macs):
        return False
    for reach in later:
        fewest = {
            name: min(count, left.get(name, graph.groups[name].channels))
            for name, count in reach.fewest.items()
        }
        if not _within(graph.cost({**left, **fewest}), reach.params, reach.macs):
            return False
    return True


def _within(cost: tuple[int, int], params: float | None, macs: float | None) -> bool:
    return (params is None or cost[0] <= params) and (macs is None or cost[1] <= macs)


def _free(graph: ChannelGraph, name: str) -> ChannelGroup:
    group = graph.groups[name]
    if group.fixed is not None:
        raise PruningError(f"{name} cannot be pruned: {group.fixed}")
    return group
