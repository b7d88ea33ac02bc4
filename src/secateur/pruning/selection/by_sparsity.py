"""Selection by sparsity levels, as published (paper, Algorithm 1)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from secateur.pruning.graph.groups import ChannelGraph
from secateur.pruning.removal import kept_positions
from secateur.pruning.selection.levels import Choice, Levels, sparsity_levels
from secateur.pruning.selection.match import free_group
from secateur.pruning.selection.rounding import RoundTo, fewest_channels, rounded_up, width_steps


def choose_by_sparsity(
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
    """Select as published.

    A channel is removed when ``sp(F_i) >= s_F``, or when ``sp(F_i) >= s_F_both`` and
    ``sp(G_i) >= s_G``. Groups are visited in the order given, and what one loses is left out of
    the blocks of the next.

    Args:
        graph: the network's channel groups.
        groups: the groups of the phase, in the order the network runs.
        tensors: the thresholded parameters by path.
        s_F: sparsity level of F_i that is enough by itself, 0–1.
        s_F_both: the paper's s'_F, the level of F_i that is enough together with s_G.
        s_G: sparsity level of G_i, 0–1.
        min_filters: kept in each group whatever their levels: those of least sp(F), then sp(G),
            then index.
        round_to: width steps of the groups, one number or by name; the number kept is rounded up
            to a multiple, in the same order.

    Raises:
        PruningError: a group is fixed, or ``round_to`` is invalid.
    """
    steps = width_steps(graph, groups, round_to)
    fewest = fewest_channels(graph, groups, min_filters, round_to)
    kept: dict[str, Tensor] = {}
    levels: dict[str, Levels] = {}
    for name in groups:
        group = free_group(graph, name)
        levels[name] = seen = sparsity_levels(group, tensors, kept_positions(graph, kept))
        removed = (s_F <= seen.F) | ((s_F_both <= seen.F) & (s_G <= seen.G))
        # Channels of one unit have the same levels; its number keeps them next to each other.
        columns = (removed, seen.F, seen.G, group.unit_of)
        ranks = list(zip(*(column.tolist() for column in columns), strict=True))
        order = sorted(range(group.channels), key=ranks.__getitem__)
        count = max(rounded_up(int((~removed).sum()), steps[name]), fewest[name])
        kept[name] = torch.tensor(sorted(order[:count]))
    return Choice(kept, levels)
