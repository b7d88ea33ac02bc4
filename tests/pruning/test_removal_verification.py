"""What runs with fewer channels and gives something else is found before a training."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from secateur.errors import PruningError
from secateur.pruning.graph.trace import channel_groups
from secateur.pruning.verification import fix_unverified


class Net(nn.Module):
    """Two layers, and between them whatever a case does."""

    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 8, 1)
        self.c = nn.Conv2d(8, 2, 1)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.between(self.a(x))).relu())


X = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "between",
    [
        lambda h: h / h.shape[1] ** 0.5,
        lambda h: h * (h.sum(1, keepdim=True) / h.shape[1]).sigmoid(),
        lambda h: h.relu() if h.shape[1] >= 16 else h,
    ],
)
def test_a_width_that_is_read_fixes_its_group_and_no_other(
    between: Callable[[Tensor], Tensor],
) -> None:
    net = Net(between).eval()
    graph = channel_groups(net, X)
    fixed = fix_unverified(net, graph, X)
    assert graph.groups["a"].fixed is None
    assert "computes with the number" in str(fixed.groups["a"].fixed)
    assert fixed.groups["b"].fixed is None


def test_what_is_proved_is_left_free() -> None:
    net = Net(torch.relu).eval()
    graph = channel_groups(net, X)
    assert fix_unverified(net, graph, X) == graph


@pytest.mark.parametrize(
    ("between", "message"),
    [
        (lambda h: nn.functional.dropout(h, 0.5, training=True), "gives other outputs each time"),
        (lambda h: h.float(), "does not run in double precision"),
    ],
)
def test_networks_that_nothing_can_be_proved_of(
    between: Callable[[Tensor], Tensor], message: str
) -> None:
    net = Net(between).eval()
    graph = channel_groups(net, X)
    with pytest.raises(PruningError, match=message):
        fix_unverified(net, graph, X)


def test_infinities_are_no_difference() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = Net(torch.relu)

        def forward(self, x: Tensor) -> Tensor:
            scores = self.net(x)
            return torch.cat([scores, torch.full_like(scores, -torch.inf)])

    net = Masked().eval()
    graph = channel_groups(net, X)
    assert fix_unverified(net, graph, X) == graph
