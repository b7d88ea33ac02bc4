"""How a budget is shared out without regard to cost, by hand and against slow loops."""

import random
from fractions import Fraction
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from secateur.errors import BudgetError
from secateur.pruning.graph.groups import ChannelGraph
from secateur.pruning.graph.trace import channel_groups
from secateur.pruning.removal import remove_filters
from secateur.pruning.selection.allocation import keep_most_important, keep_same_share
from secateur.pruning.selection.budget import Budget, Reach
from secateur.pruning.verification import verify_removal

torch.set_num_threads(1)

Counts = dict[str, int]


@cache
def chain(*widths: int) -> tuple[nn.Sequential, ChannelGraph]:
    """1×1 convolutions of these widths, from 4 inputs to 2 outputs, named 0, 1, 2, …"""
    net = nn.Sequential(*(nn.Conv2d(a, b, 1) for a, b in pairwise([4, *widths, 2])))
    return net, channel_groups(net, torch.zeros(1, 4, 3, 3))


class Sum(nn.Module):
    """A strided layer, two whose outputs are added, and a flattened map that a linear one reads."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(4, 6, 3, stride=2)
        self.b, self.c = nn.Conv2d(6, 11, 1), nn.Conv2d(6, 11, 1)
        self.norm, self.d, self.e = nn.BatchNorm2d(11), nn.Linear(44, 7), nn.Linear(7, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x).relu()
        return self.e(self.d(self.norm(self.b(x) + self.c(x)).flatten(1)))


@cache
def residual() -> tuple[nn.Module, ChannelGraph]:
    net = Sum().eval()
    return net, channel_groups(net, torch.zeros(1, 4, 5, 5))


def listed(kept: dict[str, Tensor]) -> dict[str, list[int]]:
    assert all(some.dtype == torch.int64 for some in kept.values())
    return {name: some.tolist() for name, some in kept.items()}


def worth_of(**groups: list[float]) -> dict[str, Tensor]:
    return {name[1:]: torch.tensor(each).double() for name, each in groups.items()}


# ---- by hand -----------------------------------------------------------------------------------

WORTH = worth_of(_0=[5, 1, 4, 2, 3, 0], _1=[0.3, 0.1, 0.2, 0.0])


@pytest.mark.parametrize(
    ("counts", "first", "second"),
    [
        ((6, 4), [0, 1, 2, 3, 4, 5], [0, 1, 2, 3]),
        # Below one, every layer loses some: 5/6 of 4 are 3.
        ((5, 4), [0, 1, 2, 3, 4], [0, 1, 2]),
        ((5, 3), [0, 1, 2, 3, 4], [0, 1, 2]),
        # 3/4 of 6 are 4, and 4/6 of 4 are 2.
        ((4, 3), [0, 2, 3, 4], [0, 1, 2]),
        ((4, 2), [0, 2, 3, 4], [0, 2]),
        ((3, 2), [0, 2, 4], [0, 2]),
        ((2, 1), [0, 2], [0]),
        ((1, 1), [0], [0]),
    ],
)
def test_same_share_by_hand(counts: tuple[int, int], first: list[int], second: list[int]) -> None:
    _, graph = chain(6, 4)
    params, macs = graph.cost(dict(zip("01", counts, strict=True)))
    for budget in ({"params": params}, {"macs": macs}, {"params": params, "macs": macs}):
        kept = keep_same_share(graph, WORTH, Budget(**budget))
        assert listed(kept) == {"0": first, "1": second}


@pytest.mark.parametrize(
    ("counts", "first", "second"),
    [
        ((6, 4), [0, 1, 2, 3, 4, 5], [0, 1, 2, 3]),
        (
            (5, 4),
            [0, 1, 2, 3, 4],
            [0, 1, 2, 3],
        ),  # of two of importance 0 the first layer's is removed first
        ((5, 3), [0, 1, 2, 3, 4], [0, 1, 2]),
        ((5, 2), [0, 1, 2, 3, 4], [0, 2]),
        ((5, 1), [0, 1, 2, 3, 4], [0]),
        # The last of a layer is kept; others of higher importance are removed.
        ((4, 1), [0, 2, 3, 4], [0]),
        ((1, 1), [0], [0]),
    ],
)
def test_one_worth_by_hand(counts: tuple[int, int], first: list[int], second: list[int]) -> None:
    _, graph = chain(6, 4)
    params, macs = graph.cost(dict(zip("01", counts, strict=True)))
    for budget in ({"params": params}, {"macs": macs}, {"params": params, "macs": macs}):
        kept = keep_most_important(graph, WORTH, Budget(**budget))
        assert listed(kept) == {"0": first, "1": second}


def test_equal_worth() -> None:
    _, graph = chain(6, 4)
    importance = worth_of(_0=[1, 1, 1, 1, 1, 1], _1=[1, 1, 1, 1])
    params, _ = graph.cost({"0": 3, "1": 2})
    assert listed(keep_same_share(graph, importance, Budget(params=params))) == {
        "0": [0, 1, 2],
        "1": [0, 1],
    }
    kept = keep_most_important(graph, importance, Budget(params=params))
    # All alike, the first group goes down to its last before the second is touched.
    assert len(kept["0"]) == 1
    assert len(kept["1"]) == 4


@pytest.mark.parametrize("keep", [keep_same_share, keep_most_important])
def test_groups_that_are_not_named_keep_all(keep: Any) -> None:
    _, graph = chain(6, 4)
    importance = {"1": WORTH["1"]}
    params, _ = graph.cost({"1": 2})
    assert listed(keep(graph, importance, Budget(params=params))) == {"1": [0, 2]}


@pytest.mark.parametrize("keep", [keep_same_share, keep_most_important])
def test_least_filters_and_a_budget_out_of_reach(keep: Any) -> None:
    _, graph = chain(6, 4)
    params, macs = graph.cost({"0": 3, "1": 3})
    kept = listed(keep(graph, WORTH, Budget(params=params), min_filters=3))
    assert kept == {"0": [0, 2, 4], "1": [0, 1, 2]}
    assert (graph.cost(), (params, macs)) == ((68, 56 * 9), (35, 27 * 9))
    for budget, least in (
        ({"params": params - 1}, r"35 parameters \(51.5 %\)"),
        ({"macs": macs - 1}, r"243 MACs \(48.3 %\)"),
        ({"params": 20, "macs": 9}, r"35 parameters \(51.5 %\) and 243 MACs \(48.3 %\)"),
    ):
        words = f"cannot be met: {least} are left even with 3 filters in every layer"
        with pytest.raises(BudgetError, match=words):
            keep(graph, WORTH, Budget(**budget), min_filters=3)
    # A layer that has no more than that keeps what it has.
    least, _ = graph.cost({"0": 5, "1": 4})
    kept = listed(keep(graph, WORTH, Budget(params=least), min_filters=5))
    assert kept == {"0": [0, 1, 2, 3, 4], "1": [0, 1, 2, 3]}


@pytest.mark.parametrize("keep", [keep_same_share, keep_most_important])
def test_more_goes_where_later_phases_could_not_reach_their_end(keep: Any) -> None:
    _, graph = chain(4, 4)
    importance = worth_of(_0=[1, 3, 0, 2])
    # With k and m channels there are 5k + km + 3m + 2 parameters; at m = 2 they are 7k + 8.
    assert graph.cost({"0": 3, "1": 2})[0] == 29
    whole, _ = graph.cost()
    for limit, kept in ((36, [0, 1, 2, 3]), (35, [0, 1, 3]), (29, [0, 1, 3]), (22, [1, 3])):
        later = [Reach(limit, None, {"1": 2})]
        assert listed(keep(graph, importance, Budget(whole, later=tuple(later)))) == {"0": kept}
    with pytest.raises(BudgetError, match="the budget cannot be met"):
        keep(graph, importance, Budget(whole, later=(Reach(14, None, {"1": 2}),)))
    # What this phase leaves in a group, no later one brings back.
    later = [Reach(15, None, {"0": 3, "1": 2})]
    assert listed(keep(graph, importance, Budget(whole, later=tuple(later)))) == {"0": [1]}


# ---- against slow loops ------------------------------------------------------------------------


def fits(graph: ChannelGraph, left: Counts, budget: dict[str, Any]) -> bool:
    checks = [(graph.cost(left), budget.get("params"), budget.get("macs"))]
    for reach in budget.get("later", ()):
        late = dict(left)
        for name, count in reach.fewest.items():
            late[name] = min(count, left.get(name, count))
        checks.append((graph.cost(late), reach.params, reach.macs))
    for (params, macs), most_params, most_macs in checks:
        if most_params is not None and params > most_params:
            return False
        if most_macs is not None and macs > most_macs:
            return False
    return True


def slow_same_share(
    graph: ChannelGraph, importance: dict[str, list[float]], least: int, budget: dict[str, Any]
) -> dict[str, list[int]] | None:
    """Try every share at which a layer's count changes, the largest first."""
    shares = {Fraction(k, len(each)) for each in importance.values() for k in range(len(each) + 1)}
    for share in sorted(shares, reverse=True):
        left = {}
        for name, each in importance.items():
            floor = (share * len(each)).__floor__()
            left[name] = max(floor, min(least, len(each)))
        if fits(graph, left, budget):
            kept = {}
            for name, each in importance.items():
                best = sorted(range(len(each)), key=lambda i: (-each[i], i))
                kept[name] = sorted(best[: left[name]])
            return kept
    return None


def slow_one_worth(
    graph: ChannelGraph, importance: dict[str, list[float]], least: int, budget: dict[str, Any]
) -> dict[str, list[int]] | None:
    """Take out the channel that is worth least, and then the next."""
    stay = {name: list(range(len(each))) for name, each in importance.items()}
    while not fits(graph, {name: len(some) for name, some in stay.items()}, budget):
        offers = [
            (importance[name][i], place, i, name)
            for place, (name, some) in enumerate(stay.items())
            if len(some) > least
            for i in some
        ]
        if not offers:
            return None
        *_, i, name = min(offers)
        stay[name].remove(i)
    return stay


GRAPHS = {
    "chain": (lambda: chain(9, 13, 16), ["0", "1", "2"], (4, 3, 3)),
    "narrow": (lambda: chain(2, 30), ["0", "1"], (4, 3, 3)),
    "sum": (residual, ["a", "b", "d"], (4, 5, 5)),
}


@pytest.mark.parametrize("way", ["share", "importance"])
@settings(max_examples=60, deadline=None)
@given(
    which=st.sampled_from(sorted(GRAPHS)),
    seed=st.integers(0, 10**6),
    levels=st.sampled_from([2, 5, 10**6]),  # few: many channels are importance the same
    shares=st.tuples(*[st.none() | st.floats(0.02, 1)] * 2),
    late=st.none() | st.floats(0.02, 1),
    least=st.integers(1, 5),
)
def test_against_a_slow_loop(
    way: str,
    which: str,
    seed: int,
    levels: int,
    shares: tuple[float | None, float | None],
    late: float | None,
    least: int,
) -> None:
    make, names, shape = GRAPHS[which]
    net, graph = make()
    draw = random.Random(seed)  # noqa: S311 # no secret
    phase = names if late is None else names[:2]
    importance = {
        name: [float(draw.randrange(levels)) for _ in range(graph.groups[name].channels)]
        for name in phase
    }
    params, macs = graph.cost()
    budget: dict[str, Any] = {
        "params": None if shares[0] is None else shares[0] * params,
        "macs": None if shares[1] is None else shares[1] * macs,
        "later": [] if late is None else [Reach(int(late * params), None, {names[-1]: 2})],
    }
    keep, slow = {
        "share": (keep_same_share, slow_same_share),
        "importance": (keep_most_important, slow_one_worth),
    }[way]
    expected = slow(graph, importance, least, budget)
    tensors = {name: torch.tensor(each).double() for name, each in importance.items()}
    if expected is None:
        with pytest.raises(BudgetError):
            keep(graph, tensors, Budget(**budget), min_filters=least)
        return
    kept = keep(graph, tensors, Budget(**budget), min_filters=least)
    assert listed(kept) == expected
    slim = remove_filters(net, graph, kept)
    assert verify_removal(net, slim, graph, kept, torch.randn(1, *shape)) < 1e-10
