"""Removal: the slim network gives what the masked one gives."""

import random

import pytest
import torch
import torchvision
from torch import Tensor, nn

from secateur.errors import PruningError
from secateur.models.cost import count_macs, count_params
from secateur.models.ssd import RawSSD, build_ssd, ssd_architecture
from secateur.pruning.graph.groups import ChannelGraph
from secateur.pruning.graph.trace import channel_groups
from secateur.pruning.removal import mask_filters, remove_filters
from secateur.pruning.verification import verify_removal

torch.set_num_threads(1)


class Residual(nn.Module):
    """A stem, a depthwise step, a residual sum, a grouped convolution, a flattened map."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.back = nn.Conv2d(6, 6, 1, bias=False)
        self.grouped = nn.Conv2d(6, 8, 1, groups=2)
        self.after = nn.Conv2d(8, 5, 1)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.linear = nn.Linear(5 * 4, 7)
        self.last = nn.Linear(7, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        x = x + self.back(self.depthwise(x).sigmoid())
        x = self.after(self.grouped(x).relu())
        return self.last(self.linear(self.pool(x).flatten(1)).relu())


def ssd(batch_norm: bool) -> nn.Module:
    architecture = ssd_architecture(
        "ssd300", ("a", "b"), size=64, widths=1 / 16, batch_norm=batch_norm, detection_layers=4
    )
    raw = RawSSD(build_ssd(architecture))
    for layer in list(raw.backbone.features)[:4]:
        layer.requires_grad_(requires_grad=False)
    return raw


NETWORKS = {
    "residual": (Residual, 8),
    "ssd": (lambda: ssd(batch_norm=False), 64),
    "ssd_batch_norm": (lambda: ssd(batch_norm=True), 64),
}


def network(name: str) -> tuple[nn.Module, Tensor]:
    """Give a network with random weights, biases and statistics, and pictures."""
    torch.manual_seed(1)
    build, size = NETWORKS[name]
    model = build()
    make_alive(model)
    return model, torch.rand(2, 3, size, size)


def make_alive(model: nn.Module) -> None:
    """Set random weights, biases and statistics that leave no channel dead."""
    for key, tensor in model.state_dict().items():
        if tensor.dim() > 0:
            # All positive, so that no channel is dead after its ReLU.
            random_tensor = torch.rand_like(tensor) + 0.1
            inputs = tensor[0].numel() / 2 if tensor.dim() > 1 else 1
            tensor.copy_(-random_tensor if "running_mean" in key else random_tensor / inputs)


def random_selection(graph: ChannelGraph, seed: int) -> dict[str, Tensor]:
    draw = random.Random(seed)  # noqa: S311 # no secret
    return {
        name: group.channels_of(torch.tensor(draw.sample(range(n), draw.randint(1, n))))
        for name, group, n in ((name, g, g.units) for name, g in graph.prunable().items())
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_slim_is_masked(name: str) -> None:
    model, x = network(name)
    graph = channel_groups(model, x[:1])
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    for seed in range(3):
        selection = random_selection(graph, seed)
        slim = remove_filters(model, graph, selection)
        assert verify_removal(model, slim, graph, selection, x) < 1e-9
        for group, kept in selection.items():
            for member in graph.groups[group].of_role("producer"):
                lost = graph.groups[group].units - len(graph.groups[group].units_of(kept))
                lost *= member.index.shape[1]
                left = dict(slim.named_parameters())[member.name].shape[0]
                assert left == graph.shapes[member.name][0] - lost
        assert all(
            parameter.requires_grad == dict(model.named_parameters())[key].requires_grad
            for key, parameter in slim.named_parameters()
        )
        slim.train()
        outputs = slim(x)
        loss = sum(
            o.square().sum() for o in (outputs.values() if name != "residual" else [outputs])
        )
        loss.backward()
        assert all(p.grad is not None for p in slim.parameters() if p.requires_grad)
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "free"),
    # Of ShuffleNet's third stage, shuffles couple all channels that leave a block.
    [("resnet18", 12), ("mobilenet_v3_small", 27), ("shufflenet_v2_x0_5", 20)],
)
def test_classifiers(name: str, free: int) -> None:
    model = torchvision.models.get_model(name, weights=None, num_classes=10)
    make_alive(model)
    x = torch.rand(1, 3, 64, 64)
    graph = channel_groups(model, x)
    assert len(graph.prunable()) == free
    selection = random_selection(graph, 0)
    slim = remove_filters(model, graph, selection)
    assert verify_removal(model, slim, graph, selection, x) < 1e-9
    left = {group: len(kept) for group, kept in selection.items()}
    assert graph.cost(left) == (count_params(slim), count_macs(slim, x))


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_tell_channels_apart(name: str) -> None:
    """Without this the verification would verify nothing."""
    model, x = network(name)
    graph = channel_groups(model, x[:1])
    for group in graph.prunable().values():
        others = group.channels_of(torch.arange(1, group.units))
        masked = mask_filters(model, graph, {group.name: others}) if len(others) else None
        if masked is not None:
            a, b = (
                torch.cat([o.flatten() for o in out.values()]) if isinstance(out, dict) else out
                for out in (model.eval()(x), masked.eval()(x))
            )
            assert not torch.equal(a, b), group.name


def test_zeroed_filters_alone_are_the_same_where_zero_stays_zero() -> None:
    model, x = network("ssd")
    graph = channel_groups(model, x[:1])
    selection = random_selection(graph, 7)
    zeroed, _ = network("ssd")
    zeroed.load_state_dict(model.state_dict())
    for name, kept in selection.items():
        layer = zeroed.get_submodule(name)
        for i in range(layer.weight.shape[0]):
            if i not in kept.tolist():
                layer.weight.data[i] = 0
                layer.bias.data[i] = 0
    slim = remove_filters(model, graph, selection).double()
    wanted, given = zeroed.double()(x.double()), slim(x.double())
    for key, output in wanted.items():
        torch.testing.assert_close(given[key], output, rtol=1e-9, atol=1e-9)


def chain() -> tuple[nn.Sequential, ChannelGraph, Tensor]:
    """y = [[1, 2, 3]]·relu([[1], [10], [-1]]·x + [0, 1, 5]) + 7."""
    net = nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU(), nn.Conv2d(3, 1, 1))
    net[0].weight.data = torch.tensor([1.0, 10.0, -1.0]).view(3, 1, 1, 1)
    net[0].bias.data = torch.tensor([0.0, 1.0, 5.0])
    net[2].weight.data = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1)
    net[2].bias.data = torch.tensor([7.0])
    x = torch.tensor([2.0]).view(1, 1, 1, 1)
    return net, channel_groups(net, torch.zeros(1, 1, 2, 2)), x


def test_by_hand() -> None:
    net, graph, x = chain()
    assert net(x).item() == 2 + 2 * 21 + 3 * 3 + 7
    slim = remove_filters(net, graph, {"0": torch.tensor([0, 2])})
    assert slim[0].weight.flatten().tolist() == [1.0, -1.0]
    assert slim[0].bias.tolist() == [0.0, 5.0]
    assert slim[2].weight.flatten().tolist() == [1.0, 3.0]
    assert slim[2].bias.tolist() == [7.0]
    assert (slim[0].out_channels, slim[2].in_channels) == (2, 2)
    assert slim(x).item() == 2 + 3 * 3 + 7
    assert mask_filters(net, graph, {"0": torch.tensor([0, 2])})(x).item() == 2 + 3 * 3 + 7


def test_grouped_convolution_cut_to_one_input_a_group() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1, groups=4), nn.Conv2d(8, 2, 1))
    x = torch.randn(1, 3, 4, 4)
    graph = channel_groups(net, x)
    selection = {"0": torch.tensor([1, 3, 5, 7]), "1": torch.tensor([0, 2, 4, 6])}
    slim = remove_filters(net, graph, selection)
    assert (slim[1].groups, slim[1].in_channels, slim[1].out_channels) == (4, 4, 4)
    assert verify_removal(net, slim, graph, selection, x) < 1e-9


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ({"0": []}, "0 would lose all its filters; keep at least one"),
        ({"2": []}, "2 would lose all its filters"),
        ({"9": [0]}, "9: no such channel group"),
        ({"0": [1, 0]}, "must ascend"),
        ({"0": [0, 0, 1]}, "must ascend"),
        ({"0": [0, 3]}, "must ascend from 0 to 2"),
        ({"0": [-1, 0]}, "must ascend"),
    ],
)
def test_wrong_selections(selection: dict[str, list[int]], message: str) -> None:
    net, graph, _ = chain()
    with pytest.raises(PruningError, match=message):
        remove_filters(
            net, graph, {k: torch.tensor(v, dtype=torch.int64) for k, v in selection.items()}
        )


def test_fixed_group() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1))
    graph = channel_groups(net, torch.zeros(1, 3, 2, 2))
    with pytest.raises(PruningError, match="0 cannot be pruned: the network's output"):
        remove_filters(net, graph, {"0": torch.tensor([0])})
    assert remove_filters(net, graph, {"0": torch.arange(4)})[0].out_channels == 4


def test_proof_fails_for_a_tampered_network() -> None:
    net, graph, x = chain()
    selection = {"0": torch.tensor([0, 2])}
    slim = remove_filters(net, graph, selection)
    assert verify_removal(net, slim, graph, selection, x) == 0.0
    with pytest.raises(PruningError, match="differs from the masked one"):
        verify_removal(
            net, remove_filters(net, graph, {"0": torch.tensor([0, 1])}), graph, selection, x
        )
    wrong = remove_filters(net, graph, selection)
    wrong[2].weight.data = net[2].weight.data[:, [0, 1]]  # the right filter, another's slice
    with pytest.raises(PruningError, match="differs from the masked one"):
        verify_removal(net, wrong, graph, selection, x)
    slim[2].bias.data += 0.01
    with pytest.raises(PruningError, match="differs from the masked one"):
        verify_removal(net, slim, graph, selection, x)
    slim[2].weight.data = net[2].weight.data
    with pytest.raises(
        PruningError, match=r"its 2.weight is \(1, 3, 1, 1\) and not \(1, 2, 1, 1\)"
    ):
        verify_removal(net, slim, graph, selection, x)
    slim = remove_filters(net, graph, selection)
    slim[1] = nn.Conv2d(3, 2, 1)
    with pytest.raises(PruningError, match="does not run"):
        verify_removal(net, slim, graph, selection, x)


def test_proof_sees_what_is_no_number_in_any_output() -> None:
    class TwoOutputs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1), nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            x = self.a(x)
            return self.b(x), self.c(x)

    net, x = TwoOutputs(), torch.randn(1, 3, 2, 2)
    graph = channel_groups(net, x)
    selection = {"a": torch.tensor([0, 1])}
    slim = remove_filters(net, graph, selection)
    slim.c.bias.data[0] = float("nan")
    with pytest.raises(PruningError, match="differs from the masked one by nan"):
        verify_removal(net, slim, graph, selection, x)
    slim.c.stride = (2, 2)  # would broadcast
    with pytest.raises(PruningError, match="other shapes"):
        verify_removal(net, slim, graph, selection, x)


def test_a_small_error_in_small_outputs_is_seen() -> None:
    net, graph, x = chain()
    net[2].weight.data *= 1e-8
    net[2].bias.data *= 0
    slim = remove_filters(net, graph, {"0": torch.tensor([0, 1])})
    with pytest.raises(PruningError, match="differs"):
        verify_removal(net, slim, graph, {"0": torch.tensor([0, 2])}, x)


def test_zeros_of_the_forward_pass_are_proven_in_double_precision_too() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            return self.b(torch.zeros(x.shape).add_(x))

    net, x = Sum(), torch.randn(1, 3, 2, 2)
    graph = channel_groups(net, x)
    selection = {"a": torch.tensor([0, 1])}
    slim = remove_filters(net, graph, selection)
    assert verify_removal(net, slim, graph, selection, x) < 1e-12
    assert torch.get_default_dtype() == torch.float32
