"""Selection in one call, for a network that is thresholded already."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from secateur.errors import PruningError
from secateur.files.arguments import checked
from secateur.pruning.criteria.importance import Importance, Scored
from secateur.pruning.criteria.sparsity import channel_importance
from secateur.pruning.graph.groups import ChannelGraph, check_graph
from secateur.pruning.selection.allocation import keep_most_important, keep_same_share
from secateur.pruning.selection.budget import Budget, divide_budget
from secateur.pruning.selection.by_budget import BALANCE, choose_by_budget
from secateur.pruning.selection.by_sparsity import choose_by_sparsity
from secateur.pruning.selection.goal import Goal
from secateur.pruning.selection.levels import Choice, sparsity_levels
from secateur.pruning.selection.match import Layers, match_groups
from secateur.pruning.selection.rounding import RoundTo
from secateur.pruning.settings import SelectionSettings

# A network, or its parameters by path.
Network = nn.Module | Mapping[str, Tensor]
# A name of ``CRITERIA``, or the importance of every unit of each group, (units,) each.
By = str | Mapping[str, Tensor]


@checked
def select_filters(
    graph: ChannelGraph,
    network: Network,
    goal: Goal | Budget,
    *,
    groups: Layers = None,
    ignore: Layers = None,
    criterion: By = "sparsity",
    min_filters: int = 4,
    round_to: RoundTo = 1,
) -> Choice:
    """Select the channels that are kept, by a budget or by the published levels.

    Args:
        graph: the network's channel groups.
        network: the thresholded network, or its parameters by path.
        goal: shares of this network in ``Goal(keep_params=…, keep_macs=…)``, numbers in
            ``Budget(params=…, macs=…)``, or the levels ``Goal(s_F=…, s_F_both=…, s_G=…)``.
        groups: layers that may lose filters, as paths or patterns (``layer1.*``); None for all.
        ignore: layers that shall lose none.
        criterion: what makes a channel important, for a budget: a name of ``CRITERIA``, which
            also decides how the budget is divided among layers; or by group, a number for each
            unit, (units,), divided as by ``select_by_budget``.
        min_filters: filters kept in each layer; below four, it passes on hardly anything.
        round_to: what the number of filters kept is a multiple of, in every layer that loses some:
            one number, or numbers by the group's name, where groups not named have 1.

    Raises:
        WrongTypeError: an argument is of a wrong type.
        PruningError: the goal is a maximum drop, which needs training; the graph is of another
            network; a pattern matches nothing that can be pruned; or a setting is out of range.
        BudgetError: even ``min_filters`` everywhere, rounded up, exceed the budget; the message
            says what does not.
    """
    if isinstance(goal, Goal) and goal.levels is not None:
        if criterion != "sparsity":
            raise PruningError("levels decide by sparsity alone; a criterion needs a budget")
        return select_by_sparsity(
            graph,
            network,
            goal,
            groups=groups,
            ignore=ignore,
            min_filters=min_filters,
            round_to=round_to,
        )
    settings = SelectionSettings(
        criterion=_name(criterion), min_filters=min_filters, round_to=round_to
    )
    return _select(graph, network, goal, match_groups(graph, groups, ignore), criterion, settings)


@checked
def select_by_budget(
    graph: ChannelGraph,
    network: Network,
    goal: Goal | Budget,
    *,
    groups: Layers = None,
    ignore: Layers = None,
    criterion: By = "sparsity",
    min_filters: int = 4,
    round_to: RoundTo = 1,
    balance: float = BALANCE,
) -> Choice:
    """Select by a budget: the channels that lose least for what they save are removed first.

    Arguments, result and errors are those of ``select_filters``, but the goal has no levels, and
    the criterion does not change how the budget is divided. ``balance`` is the exponent of the
    penalty on nearly empty layers: a channel's loss is multiplied by (the group's whole importance
    ÷ what remains) to this power. 0 turns it off; the larger it is, the more alike are the shares
    that layers keep.
    """
    settings = SelectionSettings(
        criterion=_name(criterion),
        allocation="cost",
        balance=balance,
        min_filters=min_filters,
        round_to=round_to,
    )
    return _select(graph, network, goal, match_groups(graph, groups, ignore), criterion, settings)


@checked
def select_by_sparsity(
    graph: ChannelGraph,
    network: Network,
    goal: Goal,
    *,
    groups: Layers = None,
    ignore: Layers = None,
    min_filters: int = 4,
    round_to: RoundTo = 1,
) -> Choice:
    """Select by sparsity levels, as published (paper, Algorithm 1).

    A channel is removed when ``sp(F_i) >= s_F``, or when ``sp(F_i) >= s_F_both`` and
    ``sp(G_i) >= s_G``. Groups are visited in the order the network runs, and what one loses is left
    out of the blocks of the next. Arguments, result and errors are those of ``select_filters``; the
    goal has levels.
    """
    if goal.levels is None:
        raise PruningError("the goal has no levels; state s_F, s_F_both and s_G")
    s_F, s_F_both, s_G = goal.levels
    return choose_by_sparsity(
        graph,
        match_groups(graph, groups, ignore),
        _tensors(graph, network),
        s_F=s_F,
        s_F_both=s_F_both,
        s_G=s_G,
        min_filters=min_filters,
        round_to=round_to,
    )


def choose_by_importance(
    graph: ChannelGraph,
    names: Sequence[str],
    tensors: Mapping[str, Tensor],
    budget: Budget,
    importance: Mapping[str, Tensor],
    settings: SelectionSettings,
) -> Choice:
    """Keep the most important channels that a budget allows, as the settings divide it."""
    if settings.divides_by == "cost":
        return choose_by_budget(
            graph,
            names,
            tensors,
            budget,
            min_filters=settings.min_filters,
            round_to=settings.known_round_to,
            importance=importance,
            balance=settings.balance,
        )
    keep = keep_same_share if settings.divides_by == "share" else keep_most_important
    kept = keep(graph, importance, budget, settings.min_filters)
    return Choice(kept, {name: sparsity_levels(graph.groups[name], tensors, {}) for name in names})


def _name(criterion: By) -> str:
    return criterion if isinstance(criterion, str) else "sparsity"


def _select(
    graph: ChannelGraph,
    network: Network,
    goal: Goal | Budget,
    names: Sequence[str],
    criterion: By,
    settings: SelectionSettings,
) -> Choice:
    if isinstance(goal, Goal):
        if not goal.has_budget:
            raise PruningError(
                "max_drop needs training; select by a budget or by levels"
                if goal.levels is None
                else "the goal has no budget; state keep_params or keep_macs"
            )
        (goal,) = divide_budget(graph, [names], goal.keep_params, goal.keep_macs)
    tensors = _tensors(graph, network)
    importance = _importance(graph, network, tensors, names, criterion, settings)
    return choose_by_importance(graph, names, tensors, goal, importance, settings)


def _tensors(graph: ChannelGraph, network: Network) -> Mapping[str, Tensor]:
    if isinstance(network, nn.Module):
        network = dict(network.named_parameters(remove_duplicate=False))
    check_graph(graph, network)
    return network


def _importance(
    graph: ChannelGraph,
    network: Network,
    tensors: Mapping[str, Tensor],
    names: Sequence[str],
    criterion: By,
    settings: SelectionSettings,
) -> Importance:
    if isinstance(criterion, str):
        kind = settings.ranks_by
        if kind.needs_losses or kind.needs_inputs or kind.traces:
            raise PruningError(
                f"the criterion {criterion} runs the network; use compress, or give the importance "
                "of each unit by group"
            )
        if isinstance(network, nn.Module):
            return kind.importance(Scored(network, graph, names, (), settings.min_filters))
        if criterion != "sparsity":
            raise PruningError(
                f"the criterion {criterion} needs the network; give the module, not its tensors"
            )
        return {name: channel_importance(graph.groups[name], tensors) for name in names}
    for name in names:
        units = graph.groups[name].units
        shape = None if name not in criterion else tuple(criterion[name].shape)
        if shape != (units,):
            raise PruningError(
                f"criterion: {name} has {units} units, but "
                f"{'no importance' if shape is None else f'importance of shape {shape}'}; give "
                "one number for each"
            )
    return {name: criterion[name].detach().cpu().double() for name in names}
