"""Selection in one call, for a network that is thresholded already."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from secateur.errors import PruningError
from secateur.pruning.graph.groups import ChannelGraph
from secateur.pruning.selection.budget import divide_budget
from secateur.pruning.selection.by_budget import select_by_budget
from secateur.pruning.selection.by_sparsity import select_by_sparsity
from secateur.pruning.selection.goal import Goal
from secateur.pruning.selection.levels import Choice
from secateur.pruning.selection.match import match_groups
from secateur.pruning.selection.rounding import RoundTo


def select_filters(
    graph: ChannelGraph,
    tensors: nn.Module | Mapping[str, Tensor],
    goal: Goal,
    *,
    groups: Sequence[str] | None = None,
    min_filters: int = 4,
    round_to: RoundTo = 1,
) -> Choice:
    """Select the channels that are kept, by a budget or by the published levels.

    Args:
        graph: the network's channel groups.
        tensors: the thresholded network, or its parameters by path.
        goal: ``keep_params`` and/or ``keep_macs``, or the levels ``s_F``, ``s_F_both``, ``s_G``.
        groups: layers that may lose channels, as paths or patterns (``layer1.*``); None for all.
        min_filters: kept in each group; below four, a layer passes on hardly anything.
        round_to: what the number of channels kept is a multiple of, in every group that loses
            some: one number, or numbers by the group's name, where groups not named have 1.

    Raises:
        PruningError: the goal is a maximum drop, which needs training; a pattern matches nothing
            that can be pruned, or ``round_to`` names no group.
        BudgetError: even ``min_filters`` everywhere, rounded up, exceed the budget.
    """
    if goal.max_drop is not None:
        raise PruningError("max_drop needs training; select by a budget or by levels")
    names = match_groups(graph, groups)
    if isinstance(tensors, nn.Module):
        tensors = dict(tensors.named_parameters(remove_duplicate=False))
    if goal.levels is not None:
        s_F, s_F_both, s_G = goal.levels
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
    (budget,) = divide_budget(graph, [names], goal.keep_params, goal.keep_macs)
    return select_by_budget(
        graph, names, tensors, budget, min_filters=min_filters, round_to=round_to
    )
