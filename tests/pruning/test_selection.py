"""Selection, with weights set by hand and against a slow, obvious loop."""

import random
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from secateur.errors import BudgetError, PruningError
from secateur.models.cost import count_macs, count_params
from secateur.pruning.criteria.sparsity import channel_importance
from secateur.pruning.graph.groups import ChannelGraph
from secateur.pruning.graph.trace import channel_groups
from secateur.pruning.removal import remove_filters
from secateur.pruning.selection.budget import (
    Budget,
    Reach,
    divide_budget,
    size_between,
    within_reach,
)
from secateur.pruning.selection.by_budget import choose_by_budget
from secateur.pruning.selection.by_sparsity import choose_by_sparsity
from secateur.pruning.selection.goal import Goal
from secateur.pruning.selection.match import match_groups
from secateur.pruning.selection.select import (
    select_by_budget,
    select_by_sparsity,
    select_filters,
)
from secateur.pruning.verification import verify_removal

torch.set_num_threads(1)


def chain(*widths: int) -> tuple[nn.Sequential, ChannelGraph, dict[str, Tensor]]:
    """1×1 convolutions of these widths, from 4 inputs to 2 outputs, named 0, 1, 2, …"""
    sizes = [4, *widths, 2]
    net = nn.Sequential(*(nn.Conv2d(a, b, 1) for a, b in pairwise(sizes)))
    graph = channel_groups(net, torch.zeros(1, 4, 3, 3))
    return net, graph, {name: p.detach() for name, p in net.named_parameters()}


def matrix(tensors: dict[str, Tensor], layer: int, rows: list[list[float]]) -> None:
    tensors[f"{layer}.weight"].copy_(torch.tensor(rows)[:, :, None, None])


def test_published_rule_by_hand() -> None:
    _, graph, tensors = chain(5)
    matrix(tensors, 0, [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]])
    matrix(tensors, 1, [[1, 0, 0, 0, 0], [1, 0, 1, 0, 0]])
    choice = choose_by_sparsity(graph, ["0"], tensors, s_F=1.0, s_F_both=0.75, s_G=1.0)
    # sp(F) 1, ¾, ¾, ½, 0; sp(G) 0, 1, ½, 1, 1: 0 by s_F, 1 by both, equality counts.
    assert choice.levels["0"].F.tolist() == [1.0, 0.75, 0.75, 0.5, 0.0]
    assert choice.levels["0"].G.tolist() == [0.0, 1.0, 0.5, 1.0, 1.0]
    assert choice.kept["0"].tolist() == [2, 3, 4]
    lower = choose_by_sparsity(graph, ["0"], tensors, s_F=1.0, s_F_both=0.5, s_G=0.5)
    assert lower.kept["0"].tolist() == [4]
    higher = choose_by_sparsity(graph, ["0"], tensors, s_F=1.01, s_F_both=0.76, s_G=0.0)
    assert higher.kept["0"].tolist() == [1, 2, 3, 4]


def test_what_one_layer_loses_is_not_seen_by_the_next() -> None:
    _, graph, tensors = chain(3, 2)
    matrix(tensors, 0, [[0, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]])
    # Filter 0 of layer 1 reads channel 0 alone; filter 1 reads 1 and 2 but not 0.
    matrix(tensors, 1, [[5, 0, 0], [0, 1, 1]])
    matrix(tensors, 2, [[1, 1], [1, 1]])
    levels = {"s_F": 0.9, "s_F_both": 0.8, "s_G": 0.9}
    choice = choose_by_sparsity(graph, ["0", "1"], tensors, **levels)
    assert choice.kept["0"].tolist() == [1, 2]
    assert choice.levels["1"].F.tolist() == [1.0, 0.0]
    assert choice.kept["1"].tolist() == [1]
    alone = choose_by_sparsity(graph, ["1"], tensors, **levels)
    assert alone.levels["1"].F.tolist() == pytest.approx([2 / 3, 1 / 3])
    assert alone.kept["1"].tolist() == [0, 1]


def test_min_filters_stay_by_sparsity_then_index() -> None:
    _, graph, tensors = chain(4)
    matrix(tensors, 0, [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 1]])
    matrix(tensors, 1, [[1, 0, 1, 0], [1, 0, 1, 1]])
    levels = {"s_F": 0.5, "s_F_both": 0.4, "s_G": 0.5}
    for count, kept in ((1, [3]), (2, [1, 3]), (3, [0, 1, 3]), (9, [0, 1, 2, 3])):
        choice = choose_by_sparsity(graph, ["0"], tensors, **levels, min_filters=count)
        assert choice.kept["0"].tolist() == kept


def test_fixed_group() -> None:
    _, graph, tensors = chain(3)
    with pytest.raises(PruningError, match="1 cannot be pruned: the network's output"):
        choose_by_sparsity(graph, ["1"], tensors, s_F=1, s_F_both=1, s_G=1)
    with pytest.raises(PruningError, match="1 cannot be pruned"):
        choose_by_budget(graph, ["0", "1"], tensors, Budget(params=1))


def slow_selection(
    weights: list[list[list[float]]], s_F: float, s_F_both: float, s_G: float
) -> list[list[int]]:
    """Algorithm 1 for a chain of 1×1 convolutions given as matrices."""
    inputs = list(range(len(weights[0][0])))
    kept = []
    for W, following in pairwise(weights):
        stay = []
        for i, row in enumerate(W):
            F = sum(row[c] == 0 for c in inputs) / len(inputs)
            G = sum(other[i] == 0 for other in following) / len(following)
            if not (s_F <= F or (s_F_both <= F and s_G <= G)):
                stay.append(i)
        kept.append(stay)
        inputs = stay
    return kept


@pytest.mark.parametrize("seed", range(8))
def test_against_a_slow_loop(seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311 # no secret
    _, graph, tensors = chain(9, 8, 7)
    shapes = [(9, 4), (8, 9), (7, 8), (2, 7)]
    weights = [
        [[float(draw.random() < 0.4) for _ in range(columns)] for _ in range(rows)]
        for rows, columns in shapes
    ]
    for layer, rows in enumerate(weights):
        matrix(tensors, layer, rows)
    levels = {"s_F": 0.85, "s_F_both": 0.6, "s_G": 0.6}
    wanted = slow_selection(weights, **levels)
    assert all(wanted), "the draw must not empty a layer"
    assert any(len(stay) < rows for stay, (rows, _) in zip(wanted, shapes, strict=False))
    choice = choose_by_sparsity(graph, ["0", "1", "2"], tensors, **levels)
    assert [choice.kept[name].tolist() for name in ("0", "1", "2")] == wanted


# ---- budgets -----------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.9, 0.5, 0.2])
@pytest.mark.parametrize("kind", ["params", "macs", "both"])
def test_result_fits_the_budget_and_just_so(share: float, kind: str) -> None:
    torch.manual_seed(0)
    net, graph, tensors = chain(16, 12, 10)
    params, macs = graph.cost()
    budget = {"params": share * params, "macs": share * macs}
    budget = budget if kind == "both" else {kind: budget[kind]}
    choice = choose_by_budget(graph, ["0", "1", "2"], tensors, Budget(**budget))
    slim = remove_filters(net, graph, choice.kept)
    cost = {"params": count_params(slim), "macs": count_macs(slim, torch.zeros(1, 4, 3, 3))}
    assert all(cost[name] <= limit for name, limit in budget.items())
    left = {name: len(kept) for name, kept in choice.kept.items()}
    one_more = [
        dict(zip(("params", "macs"), graph.cost({**left, name: left[name] + 1}), strict=True))
        for name in left
        if left[name] < graph.groups[name].channels
    ]
    # The last channel taken out was needed: with one of its group put back it would not fit.
    assert any(cost[name] > limit for cost in one_more for name, limit in budget.items())


def test_budget_that_fits_already_takes_nothing() -> None:
    _, graph, tensors = chain(3)
    choice = choose_by_budget(graph, ["0"], tensors, Budget(params=graph.cost()[0]))
    assert choice.kept["0"].tolist() == [0, 1, 2]


def test_budget_takes_the_least_worth() -> None:
    _, graph, tensors = chain(4)
    matrix(tensors, 0, [[1] * 4, [3] * 4, [2] * 4, [0] * 4])
    matrix(tensors, 1, [[1] * 4, [1] * 4])
    params = graph.cost({"0": 2})[0]
    assert choose_by_budget(graph, ["0"], tensors, Budget(params=params)).kept["0"].tolist() == [
        1,
        2,
    ]


def test_budget_takes_the_least_of_a_worth_that_is_given() -> None:
    _, graph, tensors = chain(4, 3)
    importance = {"0": torch.tensor([3.0, 1.0, 4.0, 2.0]).double(), "1": torch.ones(3).double()}
    params = graph.cost({"0": 2})[0]
    choice = choose_by_budget(graph, ["0"], tensors, Budget(params=params), importance=importance)
    assert choice.kept["0"].tolist() == [0, 2]
    # What is seen of the filters is their sparsity all the same.
    assert choice.levels["0"].F.tolist() == [0.0] * 4
    # Only the order and the shares of a importance count, not its unit.
    tiny = {name: 1e-6 * each for name, each in importance.items()}
    for percent in range(30, 100, 5):
        limit = percent / 100 * graph.cost()[0]
        one, other = (
            choose_by_budget(graph, ["0", "1"], tensors, Budget(params=limit), importance=each)
            for each in (importance, tiny)
        )
        assert [k.tolist() for k in one.kept.values()] == [k.tolist() for k in other.kept.values()]


def test_without_a_worth_it_is_that_of_both_sides() -> None:
    torch.manual_seed(0)
    _, graph, tensors = chain(9, 8)
    importance = {name: channel_importance(graph.groups[name], tensors) for name in ("0", "1")}
    for percent in (80, 50, 30):
        macs = percent / 100 * graph.cost()[1]
        one = choose_by_budget(graph, ["0", "1"], tensors, Budget(macs=macs))
        other = choose_by_budget(
            graph, ["0", "1"], tensors, Budget(macs=macs), importance=importance
        )
        assert [k.tolist() for k in one.kept.values()] == [k.tolist() for k in other.kept.values()]


def test_worth_by_hand() -> None:
    _, graph, tensors = chain(4)
    matrix(tensors, 0, [[4, 0, 0, 0], [0, -8, 0, 0], [1, 1, -1, 1], [0, 0, 0, 0]])
    matrix(tensors, 1, [[1, 0, 2, 4], [0, 1, 0, 0]])
    group = graph.groups["0"]
    # Sums 4, 8, 4, 0 about a mean of 4; and 1, 1, 2, 4 about a mean of 2.
    assert channel_importance(group, tensors, ("producer",)).tolist() == [1, 2, 1, 0]
    assert channel_importance(group, tensors, ("consumer",)).tolist() == [0.5, 0.5, 1, 2]
    both = channel_importance(group, tensors)
    assert both.tolist() == pytest.approx([0.5**0.5, 1, 1, 0])
    assert both.dtype == torch.float64
    assert torch.equal(both, channel_importance(group, tensors, ("consumer", "producer")))


def test_narrow_layers_are_spared() -> None:
    _, graph, tensors = chain(2, 40)
    for tensor in tensors.values():
        tensor.fill_(1.0)  # every channel is worth the same, and a narrow layer's cost more
    params, _ = graph.cost()
    choice = choose_by_budget(graph, ["0", "1"], tensors, Budget(params=0.6 * params), balance=0.0)
    assert len(choice.kept["0"]) == 2
    assert len(choice.kept["1"]) < 25


def test_impossible_budget() -> None:
    _, graph, tensors = chain(4, 4)
    least, _ = graph.cost({"0": 2, "1": 2})
    assert choose_by_budget(graph, ["0", "1"], tensors, Budget(params=least), min_filters=2)
    with pytest.raises(
        PruningError, match=r"met: 22 parameters \(44 %\) are left even with 2 filters"
    ):
        choose_by_budget(graph, ["0", "1"], tensors, Budget(params=least - 1), min_filters=2)
    with pytest.raises(PruningError, match="the budget limits nothing"):
        choose_by_budget(graph, ["0"], tensors, Budget())


# ---- multiples ---------------------------------------------------------------------------------


def test_bundles_by_hand() -> None:
    _, graph, tensors = chain(10)
    matrix(tensors, 0, [[value] * 4 for value in (5, 1, 9, 2, 8, 3, 7, 4, 6, 10)])
    matrix(tensors, 1, [[1] * 10] * 2)
    # In rising order of importance: 1, 3 | 5, 7, 0, 8 | 6, 4, 2, 9: the first bundle leaves 8.
    for most, kept in (
        (10, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (9, [0, 2, 4, 5, 6, 7, 8, 9]),
        (8, [0, 2, 4, 5, 6, 7, 8, 9]),
        (7, [2, 4, 6, 9]),
        (4, [2, 4, 6, 9]),
    ):
        params = graph.cost({"0": most})[0]
        assert (
            choose_by_budget(graph, ["0"], tensors, Budget(params=params), round_to=4)
            .kept["0"]
            .tolist()
            == kept
        )
    words = r"even with 1 filter \(rounded up to round_to\) in every layer"
    with pytest.raises(BudgetError, match=words):
        choose_by_budget(graph, ["0"], tensors, Budget(params=graph.cost({"0": 3})[0]), round_to=4)


def test_channels_of_equal_worth_go_in_whole_bundles() -> None:
    _, graph, tensors = chain(30, 10)
    for tensor in tensors.values():
        tensor.fill_(1.0)
    for percent in range(100, 20, -4):
        choice = choose_by_budget(
            graph, ["0", "1"], tensors, Budget(macs=percent / 100 * graph.cost()[1]), round_to=4
        )
        assert len(choice.kept["0"]) % 4 == 0 or len(choice.kept["0"]) == 30
        assert len(choice.kept["1"]) in (4, 8, 10)


def test_a_bundle_is_weighed_as_a_whole() -> None:
    _, graph, tensors = chain(8, 8)
    matrix(tensors, 0, [[0.01] * 4] + [[1] * 4] * 7)
    matrix(tensors, 1, [[0.2] * 8] * 4 + [[1] * 8] * 4)
    matrix(tensors, 2, [[1] * 8] * 2)
    params = graph.cost()[0] - 1
    # Filter 0 of layer 0 is worth least by far; but four of layer 1 lose less than it and three
    # of its like: 0.35 for 44 parameters, against 0.52 for 52.
    single = choose_by_budget(graph, ["0", "1"], tensors, Budget(params=params))
    assert single.kept["0"].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert single.kept["1"].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    fours = choose_by_budget(graph, ["0", "1"], tensors, Budget(params=params), round_to=4)
    assert fours.kept["0"].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert fours.kept["1"].tolist() == [4, 5, 6, 7]
    mixed = choose_by_budget(graph, ["0", "1"], tensors, Budget(params=params), round_to={"1": 4})
    assert mixed.kept["0"].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert mixed.kept["1"].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]


def test_published_rule_keeps_more_to_make_a_multiple() -> None:
    _, graph, tensors = chain(6)
    matrix(
        tensors, 0, [[0, 0, 0, 0], [0, 0, 0, 1], [1, 1, 1, 1], [0, 0, 0, 1], [1, 1, 1, 1], [0] * 4]
    )
    matrix(tensors, 1, [[1, 0, 1, 1, 1, 1], [1, 1, 1, 0, 1, 0]])
    levels = {"s_F": 0.75, "s_F_both": 0.75, "s_G": 1.0}
    # 2 and 4 stay by their levels; then those of the least sp(F), sp(G) and index.
    for step, kept in (
        (1, [2, 4]),
        (2, [2, 4]),
        (3, [1, 2, 4]),
        (4, [1, 2, 3, 4]),
        (5, [0, 1, 2, 3, 4]),
    ):
        choice = choose_by_sparsity(graph, ["0"], tensors, **levels, round_to=step)
        assert choice.kept["0"].tolist() == kept
    capped = choose_by_sparsity(graph, ["0"], tensors, **levels, round_to={"0": 8})
    assert capped.kept["0"].tolist() == [0, 1, 2, 3, 4, 5]
    least = choose_by_sparsity(graph, ["0"], tensors, **levels, min_filters=3, round_to=2)
    assert least.kept["0"].tolist() == [1, 2, 3, 4]


WIDTHS = (9, 13, 16)


@cache
def traced() -> tuple[nn.Sequential, ChannelGraph]:
    """A chain with a 3×3 layer in its middle, traced once: weights change, shapes do not."""
    net = nn.Sequential(
        nn.Conv2d(4, 9, 1), nn.Conv2d(9, 13, 3), nn.Conv2d(13, 16, 1), nn.Conv2d(16, 2, 1)
    )
    return net, channel_groups(net, torch.zeros(1, 4, 5, 5))


def slow_bundles(
    graph: ChannelGraph,
    tensors: dict[str, Tensor],
    limits: dict[str, float],
    share: float,
    min_filters: int,
    steps: dict[str, int],
    balance: float,
) -> tuple[float, dict[str, list[int]]]:
    """Take the cheapest bundle that there is, and then the next, until all limits hold.

    ``share`` is that of parameters in what a channel saves. Gives the losses' sum, and what stays.
    """
    sizes = {name: graph.groups[name].channels for name in steps}
    whole = dict(zip(("params", "macs"), graph.cost(), strict=True))
    stay = {name: list(range(count)) for name, count in sizes.items()}
    lost = 0.0
    while True:
        left = {name: len(some) for name, some in stay.items()}
        cost = dict(zip(("params", "macs"), graph.cost(left), strict=True))
        if all(cost[what] <= limit for what, limit in limits.items()):
            return lost, stay
        offers = []
        for name, step in steps.items():
            count = left[name] % step or step
            least = min(-(-min_filters // step) * step, sizes[name])
            if left[name] - count < least:
                continue
            F, G = tensors[f"{name}.weight"], tensors[f"{int(name) + 1}.weight"]
            made = [float(F[i].double().abs().sum()) for i in range(sizes[name])]
            read = [float(G[:, i].double().abs().sum()) for i in range(sizes[name])]
            importance = [
                ((m * sizes[name] / sum(made)) * (r * sizes[name] / sum(read))) ** 0.5
                for m, r in zip(made, read, strict=True)
            ]
            there, loss = list(stay[name]), 0.0
            for _ in range(count):
                least_worth = min(there, key=importance.__getitem__)
                remaining = sum(importance[i] for i in there)
                loss += (
                    importance[least_worth] / remaining * (sum(importance) / remaining) ** balance
                )
                there.remove(least_worth)
            params, macs = graph.cost({name: sizes[name] - 1})
            saved = share * (1 - params / whole["params"]) + (1 - share) * (
                1 - macs / whole["macs"]
            )
            offers.append((loss / (count * saved), loss, name, there))
        _, loss, name, there = min(offers)
        lost, stay[name] = lost + loss, there


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    chosen=st.tuples(*[st.sampled_from([1, 2, 3, 4, 8, 16])] * 3),
    shares=st.tuples(*[st.none() | st.floats(0.02, 1)] * 2).filter(any),
    min_filters=st.integers(1, 5),
    balance=st.sampled_from([0.0, 2.0]),
)
def test_bundles_against_a_slow_loop(
    seed: int,
    chosen: tuple[int, ...],
    shares: tuple[float | None, float | None],
    min_filters: int,
    balance: float,
) -> None:
    net, graph = traced()
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.rand(parameter.shape) + 0.01)
    tensors = {name: parameter.detach() for name, parameter in net.named_parameters()}
    limits = {
        what: share * whole
        for what, share, whole in zip(("params", "macs"), shares, graph.cost(), strict=True)
        if share is not None
    }
    groups = ["0", "1", "2"]
    steps = dict(zip(groups, chosen, strict=True))
    least = {
        name: min(-(-min_filters // step) * step, channels)
        for (name, step), channels in zip(steps.items(), WIDTHS, strict=True)
    }
    costs = dict(zip(("params", "macs"), graph.cost(least), strict=True))
    if any(costs[what] > limit for what, limit in limits.items()):
        with pytest.raises(BudgetError):
            choose_by_budget(
                graph, groups, tensors, Budget(**limits), min_filters=min_filters, round_to=steps
            )
        return
    choice = choose_by_budget(
        graph,
        groups,
        tensors,
        Budget(**limits),
        min_filters=min_filters,
        round_to=steps,
        balance=balance,
    )
    mixes = [n / 20 for n in range(21)] if len(limits) == 2 else [float("params" in limits)]
    slow = [slow_bundles(graph, tensors, limits, mix, min_filters, steps, balance) for mix in mixes]
    best = min(loss for loss, _ in slow)
    kept = {name: some.tolist() for name, some in choice.kept.items()}
    assert kept in [some for loss, some in slow if loss <= best + 1e-9]

    left = {name: len(some) for name, some in kept.items()}
    costs = dict(zip(("params", "macs"), graph.cost(left), strict=True))
    assert all(costs[what] <= limit for what, limit in limits.items())
    for (name, step), channels in zip(steps.items(), WIDTHS, strict=True):
        assert left[name] % step == 0 or left[name] == channels
        assert left[name] >= least[name]
    slim = remove_filters(net, graph, choice.kept)
    assert verify_removal(net, slim, graph, choice.kept, torch.randn(1, 4, 5, 5)) < 1e-10


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), step=st.sampled_from([1, 2, 3, 4, 8, 32]))
def test_rounding_never_removes_what_the_levels_keep(seed: int, step: int) -> None:
    net, graph = traced()
    torch.manual_seed(seed)
    tensors = {name: (torch.rand(p.shape) < 0.4).float() for name, p in net.named_parameters()}
    levels = {"s_F": 0.65, "s_F_both": 0.55, "s_G": 0.5}
    # One group at a time, because the next reads what one keeps.
    for name, channels in zip("012", WIDTHS, strict=True):
        plain = choose_by_sparsity(graph, [name], tensors, **levels).kept[name].tolist()
        kept = choose_by_sparsity(graph, [name], tensors, **levels, round_to=step).kept[name]
        assert set(plain) <= set(kept.tolist())
        assert len(kept) == min(-(-len(plain) // step) * step, channels)


def test_later_phases_reach_is_that_of_rounded_widths() -> None:
    _, graph, _ = chain(16, 16)
    phases = [["0"], ["1"]]
    rounded = {"min_filters": [3, 3], "round_to": [8, 8]}
    first, last = within_reach(graph, phases, divide_budget(graph, phases, 0.5, None), **rounded)
    assert [reach.fewest for reach in first.later] == [{"1": 8}]
    assert last.later == ()
    least, _ = graph.cost({"0": 8, "1": 8})
    within_reach(graph, phases, [Budget(None, None), Budget(least, None)], **rounded)
    with pytest.raises(BudgetError, match=r"with 3 filters \(rounded up .* or round_to"):
        within_reach(graph, phases, [Budget(None, None), Budget(least - 1, None)], **rounded)
    assert size_between(graph, ["0", "1"], 0.0, 3, 8) == Budget(*graph.cost({"0": 8, "1": 8}))
    assert size_between(graph, ["0", "1"], 1.0, 3, {"0": 32}) == Budget(*graph.cost())
    assert size_between(graph, ["0", "1"], 0.0, 3, {"0": 32}) == Budget(
        *graph.cost({"0": 16, "1": 3})
    )


# ---- the one door ------------------------------------------------------------------------------


class Blocks(nn.Module):
    """Layers of nested paths: stem, layer1.0, layer1.1, layer2.0, head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.layer1 = nn.Sequential(nn.Conv2d(4, 5, 1), nn.Conv2d(5, 6, 1))
        self.layer2 = nn.Sequential(nn.Conv2d(6, 7, 1))
        self.head = nn.Conv2d(7, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer2(self.layer1(self.stem(x))))


def test_patterns_of_layers() -> None:
    graph = channel_groups(Blocks(), torch.zeros(1, 3, 2, 2))
    everything = ["stem", "layer1.0", "layer1.1", "layer2.0"]
    assert match_groups(graph) == match_groups(graph, ["*"]) == everything
    assert match_groups(graph, ["layer1.*"]) == ["layer1.0", "layer1.1"]
    assert match_groups(graph, ["layer1"]) == ["layer1.0", "layer1.1"]
    assert match_groups(graph, ["layer2.0", "*1.0", "stem"]) == ["stem", "layer1.0", "layer2.0"]
    assert match_groups(graph, "layer2.*") == ["layer2.0"]
    assert match_groups(graph, []) == []
    with pytest.raises(PruningError, match=r"'layer3.0' matches no layer .* did you mean 'layer"):
        match_groups(graph, ["stem", "layer3.0"])
    with pytest.raises(PruningError, match=r"'he.d' matches no layer"):
        match_groups(graph, ["he.d"])
    with pytest.raises(PruningError, match=r"'he.d' cannot be pruned: the network's output"):
        match_groups(graph, ["head"])


def test_nothing_to_prune() -> None:
    graph = channel_groups(nn.Conv2d(3, 2, 1), torch.zeros(1, 3, 2, 2))
    with pytest.raises(PruningError, match=r"no channel of this network can be pruned: .*output"):
        match_groups(graph)


def test_the_door_leads_to_both_ways() -> None:
    torch.manual_seed(0)
    net, graph, tensors = chain(8, 9)
    params, macs = graph.cost()

    def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
        return {n: k.tolist() for n, k in a.items()} == {n: k.tolist() for n, k in b.items()}

    by_params = choose_by_budget(
        graph, ["0", "1"], tensors, Budget(params=params // 2), min_filters=2
    )
    assert same(
        select_filters(graph, net, Goal(keep_params=0.5), min_filters=2).kept, by_params.kept
    )
    by_macs = choose_by_budget(graph, ["1"], tensors, Budget(macs=0.8 * macs), min_filters=4)
    assert same(
        select_filters(graph, tensors, Goal(keep_macs=0.8), groups=["1"]).kept, by_macs.kept
    )
    rounded = choose_by_budget(
        graph, ["0", "1"], tensors, Budget(params=0.7 * params), min_filters=1, round_to={"1": 4}
    )
    by_door = select_filters(graph, net, Goal(keep_params=0.7), min_filters=1, round_to={"1": 4})
    assert same(by_door.kept, rounded.kept)
    assert len(rounded.kept["1"]) in (4, 8)
    tensors["0.weight"][:3] = 0
    levels = Goal(s_F=0.9, s_F_both=0.5, s_G=0.5)
    by_levels = select_filters(graph, net, levels)
    assert by_levels.kept["0"].tolist() == [3, 4, 5, 6, 7]
    assert by_levels.kept["1"].tolist() == list(range(9))
    by_levels = select_filters(graph, net, levels, round_to=3)
    assert by_levels.kept["0"].tolist() == [0, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("goal", "message"),
    [
        ({}, "state one goal"),
        ({"keep_params": 0.5, "s_F": 0.5}, "state one goal"),
        ({"keep_params": 0.5, "max_drop": 0.5}, "state one goal"),
        ({"s_F": 0.5}, "go together"),
        ({"s_F": 0.5, "s_F_both": 0.6, "s_G": 0.5}, "s_F_both .0.6. is above s_F .0.5."),
        ({"keep_params": 1.5}, "keep_params is 1.5; give a share between 0 and 1"),
        ({"keep_macs": 0.0}, "keep_macs is 0"),
        ({"keep_macs": float("nan")}, "keep_macs is nan"),
        ({"max_drop": -0.1}, "max_drop is -0.1"),
        ({"max_drop": float("inf")}, "max_drop is inf"),
        ({"max_drop": 1.0, "attempts": 0}, "attempts is 0"),
    ],
)
def test_goals_that_are_refused(goal: dict[str, Any], message: str) -> None:
    with pytest.raises(PruningError, match=message):
        Goal(**goal)


def test_selection_that_is_refused() -> None:
    net, graph, _ = chain(8)
    with pytest.raises(PruningError, match="min_filters is 0"):
        select_filters(graph, net, Goal(keep_macs=0.5), min_filters=0)
    with pytest.raises(PruningError, match="max_drop needs training"):
        select_filters(graph, net, Goal(max_drop=1.0))


def test_floor_of_a_drop_is_spread_over_the_phases() -> None:
    goal = Goal(max_drop=2.0)
    assert [goal.floor(90.0, phase, 4) for phase in (1, 2, 3, 4)] == [89.5, 89.0, 88.5, 88.0]


def test_one_form_of_every_selection() -> None:
    net, graph, tensors = chain(8, 8)
    goal = Goal(keep_params=0.5)
    given: dict[str, Any] = {"min_filters": 2, "round_to": 2}
    choice = select_filters(graph, net, goal, **given)
    same = select_by_budget(graph, tensors, goal, **given)
    params, _ = graph.cost()
    absolute = select_filters(graph, net, Budget(params=int(0.5 * params)), **given)
    for other in (same, absolute):
        assert {n: k.tolist() for n, k in other.kept.items()} == {
            n: k.tolist() for n, k in choice.kept.items()
        }
    levels = Goal(s_F=1.0, s_F_both=1.0, s_G=1.0)
    for select in (select_filters, select_by_sparsity):
        found = select(graph, net, levels, groups="0", min_filters=2)
        assert found.kept["0"].tolist() == list(range(8))
    with pytest.raises(PruningError, match="the goal has no levels; state s_F, s_F_both and s_G"):
        select_by_sparsity(graph, net, goal)
    with pytest.raises(PruningError, match="the goal has no budget; state keep_params or"):
        select_by_budget(graph, net, levels)
    with pytest.raises(PruningError, match="max_drop needs training"):
        select_by_budget(graph, net, Goal(max_drop=1.0))
    with pytest.raises(PruningError, match="a criterion needs a budget"):
        select_filters(graph, net, levels, criterion="l1")


def test_layers_that_are_ignored() -> None:
    net, graph, _ = chain(8, 8, 8)
    assert match_groups(graph, ignore="1") == ["0", "2"]
    assert match_groups(graph, ["0", "1"], ["1", "3"]) == ["0"]
    assert list(select_filters(graph, net, Goal(keep_params=0.9), ignore=["0", "2"]).kept) == ["1"]
    with pytest.raises(PruningError, match="'9' matches no layer that produces channels"):
        match_groups(graph, ignore="9")
    with pytest.raises(PruningError, match="every layer that could lose filters is ignored"):
        match_groups(graph, ["0"], ["0", "1"])


def test_selection_by_a_criterion() -> None:
    net, graph, tensors = chain(4)
    matrix(tensors, 0, [[5, 0, 0, 0], [1, 1, 1, 1], [0, 1.5, 0, 2], [1, 0, 0, 0]])
    matrix(tensors, 1, [[1, 1, 1, 1], [1, 1, 1, 1]])
    budget = Budget(params=graph.cost({"0": 2})[0])
    for criterion, kept in (("l1", [0, 1]), ("l2", [0, 2])):  # 5 4 3.5 1; 5 2 2.5 1
        for select in (select_filters, select_by_budget):
            found = select(graph, net, budget, criterion=criterion, min_filters=1)
            assert found.kept["0"].tolist() == kept
    own = {"0": torch.tensor([1, 2, 3, 4])}
    for select in (select_filters, select_by_budget):
        assert select(graph, tensors, budget, criterion=own, min_filters=1).kept["0"].tolist() == [
            2,
            3,
        ]
    wrong: tuple[tuple[Any, Any, str], ...] = (
        (net, "l3", "there is no criterion 'l3'; take sparsity, "),
        (net, "taylor", "the criterion taylor runs the network; use compress, or give"),
        (net, "group_norm", "the criterion group_norm runs the network"),
        (tensors, "l1", "needs the network; give the module, not its tensors"),
        (net, {"1": own["0"]}, "criterion: 0 has 4 units, but no importance; give one number"),
        (net, {"0": torch.ones(3)}, r"0 has 4 units, but importance of shape \(3,\)"),
    )
    for network, criterion, words in wrong:
        with pytest.raises(PruningError, match=words):
            select_filters(graph, network, budget, criterion=criterion, min_filters=1)


def test_share_out_of_reach() -> None:
    net, graph, _ = chain(8)
    with pytest.raises(BudgetError, match=r"met: 30 parameters \(51.8 %\) are left even with 4"):
        select_filters(graph, net, Goal(keep_params=0.01))


def test_a_phase_leaves_the_end_within_reach_of_later_ones() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 8, 1),
        nn.ReLU(),
        nn.Conv2d(8, 2, 1),
    )
    x = torch.zeros(1, 3, 4, 4)
    graph = channel_groups(net, x)
    phases = [["0"], ["2"]]
    _, macs = graph.cost()
    budgets = within_reach(graph, phases, divide_budget(graph, phases, None, 0.3), [2, 2], [1, 1])
    for budget, names in zip(budgets, phases, strict=True):
        graph = channel_groups(net, x)
        choice = choose_by_budget(
            graph,
            names,
            dict(net.named_parameters()),
            Budget(macs=budget.macs, later=tuple(budget.later)),
            min_filters=2,
        )
        net = remove_filters(net, graph, choice.kept)  # type: ignore[assignment]
    assert channel_groups(net, x).cost()[1] <= 0.3 * macs


def test_neither_limit_takes_what_the_other_leaves_free() -> None:
    torch.manual_seed(0)
    # Most MACs are in front, on the large map, and most parameters after it.
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.MaxPool2d(8),
        nn.Conv2d(16, 64, 3, padding=1),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.Conv2d(64, 2, 1),
    )
    graph = channel_groups(net, torch.zeros(1, 3, 16, 16))
    params, macs = graph.cost()
    groups = list(graph.prunable())
    choice = choose_by_budget(
        graph, groups, dict(net.named_parameters()), Budget(params=0.3 * params, macs=0.6 * macs)
    )
    left_params, left_macs = graph.cost({name: len(kept) for name, kept in choice.kept.items()})
    assert 0.27 * params < left_params <= 0.3 * params
    assert 0.55 * macs < left_macs <= 0.6 * macs


@pytest.mark.parametrize("balance", [0.0, 0.5, 2.0, 8.0])
@pytest.mark.parametrize("share", [0.7, 0.4, 0.2])
def test_evenness_against_a_slow_loop(balance: float, share: float) -> None:
    net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.Conv2d(6, 12, 3), nn.Conv2d(12, 2, 3))
    graph = channel_groups(net, torch.zeros(1, 1, 12, 12))
    generator = torch.Generator().manual_seed(0)
    importance = {n: torch.rand(c, generator=generator).double() for n, c in (("0", 6), ("1", 12))}
    macs = share * graph.cost()[1]
    choice = choose_by_budget(
        graph,
        ["0", "1"],
        dict(net.named_parameters()),
        Budget(macs=macs),
        importance=importance,
        balance=balance,
    )
    priced = []
    for name, each in importance.items():
        left, price = sorted(each.tolist()), 0.0
        saved = graph.cost()[1] - graph.cost({name: len(left) - 1})[1]
        while len(left) > 1:
            least = left[0]
            loss = least / sum(left) * (float(each.sum()) / sum(left)) ** balance
            price = max(price, loss / saved)
            priced.append((price, name, each.tolist().index(least)))
            left = left[1:]
    kept = {name: set(range(len(each))) for name, each in importance.items()}
    for _, name, channel in sorted(priced):
        if graph.cost({n: len(k) for n, k in kept.items()})[1] <= macs:
            break
        kept[name].discard(channel)
    assert {name: set(k.tolist()) for name, k in choice.kept.items()} == kept


def test_evenness_keeps_costly_layers_from_emptying() -> None:
    net = nn.Sequential(nn.Conv2d(1, 16, 3), nn.Conv2d(16, 16, 3, 4), nn.Conv2d(16, 16, 3))
    net.append(nn.Conv2d(16, 2, 1))
    graph = channel_groups(net, torch.zeros(1, 1, 40, 40))
    importance = {name: torch.ones(16).double() for name in ("0", "1", "2")}
    least = []
    for balance in (0.0, 1.0, 4.0, 16.0):
        choice = choose_by_budget(
            graph,
            [*importance],
            dict(net.named_parameters()),
            Budget(macs=0.2 * graph.cost()[1]),
            importance=importance,
            balance=balance,
        )
        shares = [len(kept) / 16 for kept in choice.kept.values()]
        least.append(max(shares) / min(shares))
    assert least == sorted(least, reverse=True)
    assert least[0] > 2 > least[-1]


def test_phases_without_a_budget_ask_nothing_of_those_before() -> None:
    _, graph, _ = chain(16, 16)
    budgets = [Budget(1000, None), Budget(None, None), Budget(None, 500_000)]
    for least in (2, 3):
        first, *_ = within_reach(graph, [["0"], ["1"], ["0"]], budgets, [2, least, 2], [1, 1, 1])
        assert [(reach.params, reach.macs) for reach in first.later] == [(None, 500_000)]


def test_a_later_phase_puts_no_filter_back() -> None:
    _, graph, _ = chain(16, 16)
    params, _ = graph.cost({"0": 2})
    reach = Reach(params, None, {"0": 64})
    assert Budget(later=(reach,)).is_met(graph, {"0": 2})
    whole, _ = graph.cost()
    assert Budget(later=(Reach(whole, None, {"0": 64}),)).is_met(graph, {})
