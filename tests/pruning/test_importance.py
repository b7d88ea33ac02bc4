"""Importance by other criteria, by hand and against slow loops and real gates."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from secateur.errors import PruningError
from secateur.models.ssd import RawSSD, build_ssd, convolutions, ssd_architecture
from secateur.pruning.criteria.importance import Scored
from secateur.pruning.criteria.norms import filter_norm, geometric_median, norm_scale, norm_scales
from secateur.pruning.criteria.random import random_importance
from secateur.pruning.criteria.taylor import layer_normalized, taylor
from secateur.pruning.graph.groups import ChannelGraph
from secateur.pruning.graph.trace import channel_groups

torch.set_num_threads(1)

Gate = Callable[[nn.Module, object, Tensor], Tensor]


def tensors_of(net: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in net.named_parameters()}


def scored(
    net: nn.Module, graph: ChannelGraph, groups: list[str], losses: Iterable[Tensor]
) -> Scored:
    return Scored(net, graph, groups, (), losses=lambda: iter(losses))


def matrix(tensors: dict[str, Tensor], layer: str, rows: list[list[float]]) -> None:
    weight = tensors[f"{layer}.weight"]
    weight.copy_(torch.tensor(rows).view_as(weight))


class Residual(nn.Module):
    """Two layers whose outputs are added, each after a batch norm, and a layer that reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm_a = nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)
        self.b, self.norm_b = nn.Conv2d(2, 2, 1, bias=False), nn.BatchNorm2d(2)
        self.c = nn.Conv2d(2, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm_a(self.a(x)).relu()
        return self.c(x + self.norm_b(self.b(x)))


def residual() -> tuple[Residual, ChannelGraph]:
    net = Residual()
    return net, channel_groups(net, torch.zeros(1, 1, 3, 3))


# ---- norms of filters --------------------------------------------------------------------------


def test_filter_norm_by_hand() -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Conv2d(2, 1, 1))
    graph, tensors = channel_groups(net, torch.zeros(1, 3, 2, 2)), tensors_of(net)
    matrix(tensors, "0", [[1, -2, 2], [0, -4, 0]])
    tensors["0.bias"].fill_(100)  # no part of a filter
    assert filter_norm(Scored(net, graph, ["0"], ()), 1)["0"].tolist() == [5, 4]
    assert filter_norm(Scored(net, graph, ["0"], ()), 2)["0"].tolist() == [3, 4]
    assert filter_norm(Scored(net, graph, ["0"], ()), 1)["0"].dtype == torch.float64
    assert filter_norm(Scored(net, graph, [], ()), 1) == {}


def test_layers_under_a_sum_are_one_block() -> None:
    net, graph = residual()
    tensors = tensors_of(net)
    assert graph.groups["a"].producers == ("a", "b")
    matrix(tensors, "a", [[3], [-1]])
    matrix(tensors, "b", [[0, 4], [-2, 2]])
    assert filter_norm(Scored(net, graph, ["a"], ()), 1)["a"].tolist() == [7, 5]
    assert filter_norm(Scored(net, graph, ["a"], ()), 2)["a"].tolist() == [5, 3]
    # (3, 0, 4) and (-1, -2, 2) lie √(4² + 2² + 2²) apart.
    assert geometric_median(Scored(net, graph, ["a"], ()))["a"].tolist() == pytest.approx(
        [24**0.5] * 2
    )


def test_linear_layer_behind_a_flattened_map() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(4, 2), nn.Linear(2, 1))
    graph, tensors = channel_groups(net, torch.zeros(1, 1, 1, 2)), tensors_of(net)
    matrix(tensors, "0", [[2], [-3]])
    matrix(tensors, "2", [[1, 1, -1, 1], [2, 0, 0, 2]])
    # What reads the channels, two columns each, is no part of what makes them.
    assert filter_norm(Scored(net, graph, ["0"], ()), 1)["0"].tolist() == [2, 3]
    assert filter_norm(Scored(net, graph, ["2"], ()), 1)["2"].tolist() == [4, 4]
    assert filter_norm(Scored(net, graph, ["2"], ()), 2)["2"].tolist() == pytest.approx([2, 8**0.5])


def test_filters_of_a_channel_that_has_several() -> None:
    net = nn.Sequential(nn.Conv2d(1, 8, 1), nn.PixelShuffle(2), nn.Conv2d(2, 1, 1))
    graph, tensors = channel_groups(net, torch.zeros(1, 1, 2, 2)), tensors_of(net)
    matrix(tensors, "0", [[1], [2], [3], [-4], [0], [0], [3], [4]])
    assert (graph.groups["0"].channels, graph.groups["0"].units) == (8, 2)
    assert filter_norm(Scored(net, graph, ["0"], ()), 1)["0"].tolist() == [10, 7]
    assert filter_norm(Scored(net, graph, ["0"], ()), 2)["0"].tolist() == pytest.approx(
        [30**0.5, 5]
    )


# ---- geometric median --------------------------------------------------------------------------


def test_geometric_median_by_hand() -> None:
    net = nn.Sequential(nn.Conv2d(2, 3, 1), nn.Conv2d(3, 1, 1))
    graph, tensors = channel_groups(net, torch.zeros(1, 2, 2, 2)), tensors_of(net)
    matrix(tensors, "0", [[0, 0], [3, 4], [6, 8]])
    assert geometric_median(Scored(net, graph, ["0"], ()))["0"].tolist() == [15, 10, 15]


# Of more than 25 filters torch multiplies matrices instead of taking differences.
@pytest.mark.parametrize("filters", [5, 40])
def test_geometric_median_against_a_slow_loop(filters: int) -> None:
    torch.manual_seed(filters)
    net = nn.Sequential(nn.Conv2d(2, filters, 3), nn.Conv2d(filters, 1, 1))
    graph, tensors = channel_groups(net, torch.zeros(1, 2, 4, 4)), tensors_of(net)
    tensors["0.weight"][1] = tensors["0.weight"][0]
    rows = [filter_.flatten().tolist() for filter_ in tensors["0.weight"]]
    slow = [sum(math.dist(one, other) for other in rows) for one in rows]
    assert geometric_median(Scored(net, graph, ["0"], ()))["0"].tolist() == pytest.approx(
        slow, rel=1e-6
    )


# ---- scales of batch norms ---------------------------------------------------------------------


def test_norm_scale_by_hand() -> None:
    layers = (nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1), nn.Conv2d(2, 1, 1))
    net = nn.Sequential(*layers)
    graph, tensors = channel_groups(net, torch.zeros(1, 1, 2, 2)), tensors_of(net)
    tensors["1.weight"].copy_(torch.tensor([0.5, -2.0, 0.0]))
    importance = norm_scale(Scored(net, graph, ["0", "2"], ()))
    # Where there is no batch norm, nothing is to go.
    assert {name: each.tolist() for name, each in importance.items()} == {
        "0": [0.5, 2.0, 0.0],
        "2": [math.inf, math.inf],
    }


def test_scales_of_two_norms_under_a_sum_are_added() -> None:
    net, graph = residual()
    tensors = tensors_of(net)
    tensors["norm_a.weight"].copy_(torch.tensor([1.0, -2.0]))
    tensors["norm_b.weight"].copy_(torch.tensor([-0.5, 0.25]))
    assert norm_scales(graph, graph.groups["a"]) == ["norm_a.weight", "norm_b.weight"]
    assert norm_scale(Scored(net, graph, ["a"], ()))["a"].tolist() == [1.5, 2.25]


def test_norms_that_keep_no_statistics_or_have_no_scale() -> None:
    for norm in (nn.GroupNorm(2, 4), nn.BatchNorm2d(4, affine=False)):
        net = nn.Sequential(nn.Conv2d(1, 4, 1), norm, nn.Conv2d(4, 1, 1))
        graph = channel_groups(net, torch.zeros(1, 1, 2, 2))
        assert norm_scales(graph, graph.groups["0"]) == []


def small_ssd(*, batch_norm: bool) -> tuple[RawSSD, ChannelGraph, str]:
    """A detector of two detection layers, its channel groups, and the path of conv4_3."""
    torch.manual_seed(0)
    architecture = ssd_architecture(
        "ssd300", ("a",), size=64, widths=0.03, batch_norm=batch_norm, detection_layers=2
    )
    net = RawSSD(build_ssd(architecture)).eval()
    return net, channel_groups(net, torch.zeros(1, 3, 64, 64)), convolutions(net)["conv4_3"]


def test_the_scale_behind_conv4_3_is_no_batch_norms() -> None:
    _, graph, conv4_3 = small_ssd(batch_norm=True)
    members = {member.name for member in graph.groups[conv4_3].members}
    assert "backbone.scale_weight" in members
    assert norm_scales(graph, graph.groups[conv4_3]) == ["backbone.features.31.weight"]
    _, graph, conv4_3 = small_ssd(batch_norm=False)
    assert norm_scales(graph, graph.groups[conv4_3]) == []


# ---- first-order Taylor ------------------------------------------------------------------------


def squared_gate_gradients(
    net: nn.Module, layers: Sequence[str], channels: int, losses: Callable[[], Iterator[Tensor]]
) -> list[float]:
    """Put a real gate of ones after layers: dL/dgate squared, averaged over the batches."""
    gate = torch.ones(channels, requires_grad=True)

    def multiply(_: nn.Module, __: object, output: Tensor) -> Tensor:
        return output * gate.view(-1, *[1] * (output.dim() - 2))

    hooks = [net.get_submodule(name).register_forward_hook(multiply) for name in layers]
    gradients = [torch.autograd.grad(loss, gate)[0].double() for loss in losses()]
    for hook in hooks:
        hook.remove()
    return torch.stack(gradients).square().mean(0).tolist()


def batches(net: nn.Module, *shape: int) -> Iterator[Tensor]:
    """Losses of three batches, whose gradients have no pattern."""
    for number in range(3):
        generator = torch.Generator().manual_seed(number)
        output = net(torch.randn(2, *shape, generator=generator))
        yield (output - torch.randn(output.shape, generator=generator)).square().mean()


def stirred(net: nn.Module) -> nn.Module:
    """Give parameters and statistics of norms values that cancel nowhere."""
    torch.manual_seed(1)
    with torch.no_grad():
        for tensor in net.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape) + 0.3)
    return net.eval()


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], dict[str, str]]] = {
    # A network, its input, and after which layer the gate of each group stands.
    "batch norm": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 1), nn.Conv2d(4, 1, 1)
        ),
        (2, 5, 5),
        {"0": "1", "3": "3"},
    ),
    "no bias": (
        lambda: nn.Sequential(nn.Conv2d(2, 3, 3, bias=False), nn.ReLU(), nn.Conv2d(3, 1, 1)),
        (2, 5, 5),
        {"0": "0"},
    ),
    "linear": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, 1), nn.Flatten(), nn.Linear(12, 5), nn.Tanh(), nn.Linear(5, 2)
        ),
        (2, 2, 2),
        {"0": "0", "2": "2"},
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_taylor_is_the_gradient_of_a_gate(name: str) -> None:
    make, shape, layers = NETS[name]
    net = stirred(make())
    graph = channel_groups(net, torch.zeros(1, *shape))
    losses = partial(batches, net, *shape)
    found = taylor(scored(net, graph, list(layers), losses()))
    for group, layer in layers.items():
        channels = graph.groups[group].units
        expected = squared_gate_gradients(net, [layer], channels, losses)
        assert min(expected) > 0
        assert found[group].tolist() == pytest.approx(expected, rel=1e-4)
        assert found[group].dtype == torch.float64


def test_taylor_of_layers_under_a_sum_is_that_of_one_gate_behind_all() -> None:
    net, graph = residual()
    stirred(net)
    losses = partial(batches, net, 1, 3, 3)
    found = taylor(scored(net, graph, ["a"], losses()))["a"].tolist()
    expected = squared_gate_gradients(net, ["norm_a", "norm_b"], 2, losses)
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_taylor_behind_conv4_3_has_one_gate(batch_norm: bool) -> None:
    net, graph, conv4_3 = small_ssd(batch_norm=batch_norm)
    place = "backbone.features.31" if batch_norm else conv4_3

    def losses() -> Iterator[Tensor]:
        for number in range(2):
            x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(number))
            yield torch.stack([output.square().mean() for output in net(x).values()]).sum()

    found = taylor(scored(net, graph, [conv4_3], losses()))[conv4_3].tolist()
    expected = squared_gate_gradients(net, [place], graph.groups[conv4_3].channels, losses)
    # The scale of 20 after conv4_3 is another gate, and is not counted.
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-4 * max(expected))


def test_taylor_by_hand() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 1, 1, bias=False))
    graph, tensors = channel_groups(net, torch.zeros(1, 1, 1, 1)), tensors_of(net)
    matrix(tensors, "0", [[2], [1]])
    tensors["0.bias"].copy_(torch.tensor([1.0, -1.0]))
    matrix(tensors, "1", [[1, 3]])
    # At x the channels are 2x + 1 and x - 1, of which the loss takes 1 and 3 times.
    losses = (net(torch.full((1, 1, 1, 1), x)).sum() for x in (1.0, 3.0))
    assert taylor(scored(net, graph, ["0"], losses))["0"].tolist() == [
        (3**2 + 7**2) / 2,
        (0 + 6**2) / 2,
    ]


def test_layers_are_normalized_each_by_its_own_norm() -> None:
    importance = {"a": torch.tensor([3.0, 4.0]).double(), "b": torch.zeros(2).double()}
    found = {name: each.tolist() for name, each in layer_normalized(importance).items()}
    assert found == {"a": [0.6, 0.8], "b": [0.0, 0.0]}


def test_taylor_leaves_gradients_empty_and_weights_alone() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1)).eval()
    graph = channel_groups(net, torch.zeros(1, 1, 2, 2))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net(torch.ones(1, 1, 2, 2)).sum().backward()  # what lies there beforehand does not count
    first = taylor(scored(net, graph, ["0"], batches(net, 1, 2, 2)))
    assert all(parameter.grad is None for parameter in net.parameters())
    assert torch.equal(taylor(scored(net, graph, ["0"], batches(net, 1, 2, 2)))["0"], first["0"])
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_taylor_without_batches() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 1, 1))
    graph = channel_groups(net, torch.zeros(1, 1, 2, 2))
    with pytest.raises(PruningError, match="needs the loss of at least one batch"):
        taylor(scored(net, graph, ["0"], []))


# ---- random ------------------------------------------------------------------------------------


def test_random_importance_depends_on_the_seed() -> None:
    net = nn.Sequential(nn.Conv2d(1, 5, 1), nn.Conv2d(5, 6, 1), nn.Conv2d(6, 1, 1))
    graph = channel_groups(net, torch.zeros(1, 1, 2, 2))
    first, again, other = (
        random_importance(Scored(net, graph, ["0", "1"], (), seed=seed)) for seed in (7, 7, 8)
    )
    assert {name: len(importance) for name, importance in first.items()} == {"0": 5, "1": 6}
    for name, importance in first.items():
        assert torch.equal(importance, again[name])
        assert not torch.equal(importance, other[name])
        assert len(set(importance.tolist())) == len(importance)
    assert not torch.equal(first["0"], first["1"][:5])
