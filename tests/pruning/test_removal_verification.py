"""What runs with fewer channels and gives something else is found before a training."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import secateur
from secateur.errors import PruningError
from secateur.pruning.graph.trace import channel_groups
from secateur.pruning.removal import remove_filters
from secateur.pruning.verification import fix_unverified, verify_removal


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


def test_a_network_of_which_nothing_can_be_verified() -> None:
    net = Net(lambda h: nn.functional.dropout(h, 0.5, training=True)).eval()
    graph = channel_groups(net, X)
    with pytest.raises(PruningError, match="gives other outputs each time"):
        fix_unverified(net, graph, X)


class Casts(nn.Module):
    """A network that fixes a precision somewhere, so that it does not run in double."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.a, self.b, self.c = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "bytes":
            x = x.float() / 255
        x = self.a(x).relu()
        if self.kind in ("half", "bfloat16"):
            dtype = getattr(torch, self.kind)
            b = self.b
            x = nn.functional.conv2d(x.to(dtype), b.weight.to(dtype), b.bias.to(dtype)).float()
        else:
            x = self.b(x)
        if self.kind == "complex":
            x = torch.fft.ifft2(torch.fft.fft2(x).to(torch.complex64)).real
        return self.c(x.relu())


@pytest.mark.parametrize("kind", ["bytes", "half", "bfloat16", "complex"])
def test_a_network_that_casts_is_verified_in_its_own_precision(kind: str) -> None:
    torch.manual_seed(0)
    net = Casts(kind).eval()
    x = torch.randn(2, 3, 9, 9)
    if kind == "bytes":
        x = torch.randint(0, 256, x.shape, dtype=torch.uint8)
    graph = channel_groups(net, x)
    assert fix_unverified(net, graph, x) == graph
    kept = {name: torch.arange(1, group.channels, 2) for name, group in graph.prunable().items()}
    assert "a" in kept
    slim = remove_filters(net, graph, kept)
    difference = verify_removal(net, slim, graph, kept, x)
    assert difference.precision == "own"
    assert difference <= difference.allowed < 5e-3
    with torch.no_grad():
        slim.b.weight += 0.01
    with pytest.raises(PruningError, match="differs from the masked one"):
        verify_removal(net, slim, graph, kept, x)


def test_a_network_that_follows_its_inputs_is_verified_in_double_precision() -> None:
    net = Net(torch.relu).eval()
    difference = verify_removal(net, net, channel_groups(net, X), {}, X)
    for each in (difference, copy.deepcopy(difference)):
        assert (each, each.precision, each.allowed) == (0.0, "double", 1e-5)


def test_compression_says_which_precision_verified() -> None:
    lines: list[str] = []
    secateur.compress(
        Casts("half"),
        torch.randn(2, 3, 9, 9),
        secateur.Goal(keep_macs=0.5),
        train=None,
        evaluate=lambda _: 1.0,
        calibration=secateur.Calibration([torch.randn(4, 3, 9, 9)]),
        report=lines.append,
    )
    assert any("verified in the network's own precision" in line for line in lines)


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
