"""The baseline's order by hand and against Torch-Pruning's own cuts, and its penalty by hand."""

import copy
import warnings
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from secateur.errors import MissingExtraError, PruningError
from secateur.files import optional as extras
from secateur.models.ssd import RawSSD, build_ssd, ssd_architecture
from secateur.models.vgg import build_vgg, vgg_architecture
from secateur.pruning.baselines.torch_pruning import (
    CUTS,
    group_norm,
    load_torch_pruning,
    penalize_group_norms,
)
from secateur.pruning.criteria.importance import Scored
from secateur.pruning.graph.trace import channel_groups
from secateur.pruning.removal import remove_filters

torch.set_num_threads(1)

PIXELS = torch.zeros(1, 1, 2, 2)


@torch.no_grad()
def chain(*weights: Sequence[Sequence[float]]) -> nn.Sequential:
    """1×1 convolutions in sequence, (filters, channels) each."""
    net = nn.Sequential(*(nn.Conv2d(len(rows[0]), len(rows), 1) for rows in weights))
    for layer, rows in zip(net, weights, strict=True):
        layer.weight.copy_(torch.tensor(rows).view_as(layer.weight))
        layer.bias.fill_(100)  # no part of any norm
    return net


def order(net: nn.Module, x: Tensor = PIXELS, min_filters: int = 1) -> dict[str, list[float]]:
    graph = channel_groups(net, x)
    found = group_norm(Scored(net, graph, list(graph.prunable()), x, min_filters))
    assert all(each.dtype == torch.float64 for each in found.values())
    return {name: each.tolist() for name, each in found.items()}


# ---- the order in which channels go --------------------------------------------------------------


def test_what_is_gone_counts_no_more() -> None:
    net = chain([[3], [0], [2]], [[1, 2, 1], [2, 0, 1]], [[1, 3]])
    # Squared norms of filter and slice are 9 + 5, 0 + 4, 4 + 2, and 6 + 1, 5 + 9: as shares of the
    # group's largest 1, 2/7, 3/7, and 1/2, 1. The channel of 2/7 goes, and takes 4 off the 7, which
    # makes 1/2 into 3/14: that comes next, and not 3/7.
    assert order(net) == {"0": [3, 0, 2], "1": [1, 4]}


def test_some_of_each_group_stay() -> None:
    net = chain([[1], [2], [3], [4]], [[1, 1, 1, 1], [3, 3, 3, 3]], [[1, 1]])
    # 11, 14, 19, 26, and 5, 37: the one of 5/37 is first. Without it 10, 13, 18, 25 are left.
    assert order(net) == {"0": [1, 2, 3, 4], "1": [0, 5]}
    # Where 3 must stay only that of 11/26 goes; the others follow by what they are importance then:
    # 14/26, 19/26, 26/26, and 4/28, 28/28.
    assert order(net, min_filters=3) == {"0": [0, 2, 3, 4], "1": [1, 5]}


@torch.no_grad()
def test_a_norms_scale_counts_and_its_shift_does_not() -> None:
    net = nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 1, 1))
    for layer in (net[0], net[3]):
        layer.weight.fill_(1)
    net[1].weight.copy_(torch.tensor([0.5, -2.0, 0.25]))
    net[1].bias.copy_(torch.tensor([9.0, 0.0, 99.0]))
    assert order(net) == {"0": [1, 2, 0]}


@torch.no_grad()
def test_linear_layer_behind_a_flattened_map() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(4, 2), nn.Linear(2, 1))
    net[0].weight.copy_(torch.tensor([1.0, 2.0]).view(2, 1, 1, 1))
    net[2].weight.copy_(torch.tensor([[3.0, 3.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]]))
    net[3].weight.copy_(torch.tensor([[1.0, 1.0]]))
    # 1 + 18 and 4 + 4; 20 + 1 and 2 + 1. A channel is read in two columns of the linear layer.
    assert order(net, torch.zeros(1, 1, 1, 2)) == {"0": [2, 1], "2": [3, 0]}


def test_groups_that_are_not_named_are_left_out() -> None:
    net = chain([[3], [0], [2]], [[1, 2, 1], [2, 0, 1]], [[1, 3]])
    found = group_norm(Scored(net, channel_groups(net, PIXELS), ["1"], PIXELS))
    assert {name: each.tolist() for name, each in found.items()} == {"1": [0, 1]}


def test_a_layer_of_zeros_goes_first() -> None:
    net = chain([[0], [0], [0]], [[0, 0, 0], [0, 0, 0]], [[1, 2]])
    # The second filter of the other layer is worth most, and the first a quarter.
    assert order(net) == {"0": [0, 1, 3], "1": [2, 4]}


def test_the_network_is_left_as_it_is() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.Conv2d(6, 3, 1), nn.Conv2d(3, 1, 1)
    )
    net[2].eval()
    before = copy.deepcopy(net.state_dict())
    x = torch.zeros(1, 1, 5, 5)
    wanted = order(net, x)
    net[0].requires_grad_(False)
    # Frozen layers are missing from the package's own graph.
    assert order(net, x) == wanted
    assert [p.requires_grad for p in net.parameters()] == [False] * 2 + [True] * 6
    assert [layer.training for layer in net] == [True, True, False, True]
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name])


class Residual(nn.Module):
    """Two layers whose outputs are added, and one that reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm = nn.Conv2d(1, 20, 3, padding=1), nn.BatchNorm2d(20)
        self.b, self.c = nn.Conv2d(20, 20, 3, padding=1), nn.Conv2d(20, 30, 1)
        self.d = nn.Conv2d(30, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.a(x)).relu()
        return self.d(self.c(x + self.b(x)).relu())


def small_ssd() -> tuple[nn.Module, Tensor]:
    architecture = ssd_architecture(
        "ssd300", ("a", "b"), size=64, widths=1 / 8, batch_norm=True, detection_layers=3
    )
    return RawSSD(build_ssd(architecture)), torch.zeros(1, 3, 64, 64)


def small_vgg(pool: int) -> tuple[nn.Module, Tensor]:
    architecture = vgg_architecture(
        ("a", "b"), size=32, widths=0.2, hidden=(100,), pool=pool, batch_norm=pool > 1
    )
    return build_vgg(architecture), torch.zeros(1, 3, 32, 32)


@pytest.mark.parametrize("share", [0.2, 0.5])
@pytest.mark.parametrize("name", ["residual", "ssd", "vgg", "vgg of 2 x 2 cells"])
def test_agrees_with_the_packages_own_cuts(name: str, share: float) -> None:
    torch.manual_seed(3)
    if name == "residual":
        net, x = Residual(), torch.zeros(1, 1, 6, 6)
    else:
        net, x = small_ssd() if name == "ssd" else small_vgg(2 if "cells" in name else 1)
    with torch.no_grad():  # spread, or a whole layer would go before any of another
        for parameter in net.parameters():
            parameter.mul_(torch.rand(len(parameter), *[1] * (parameter.dim() - 1)))
    graph = channel_groups(net, x)
    found = group_norm(Scored(net, graph, list(graph.prunable()), x))
    total = sum(map(len, found.values()))

    theirs, package = copy.deepcopy(net), load_torch_pruning()
    producers = {p for group in graph.prunable().values() for p in group.producers}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pruner = package.pruner.GroupNormPruner(
            theirs,
            (x,),
            importance=package.importance.GroupMagnitudeImportance(p=2, normalizer="max"),
            global_pruning=True,
            pruning_ratio=1.0,
            iterative_steps=CUTS,
            ignored_layers=[
                layer
                for path, layer in theirs.named_modules()
                if isinstance(layer, nn.Conv2d | nn.Linear) and path not in producers
            ],
        )
        for _ in range(int(share * CUTS)):
            pruner.step()
    state = theirs.state_dict()
    removed = total - sum(len(state[f"{name}.weight"]) for name in graph.prunable())
    assert removed == total - int(total * (1 - int(share * CUTS) / CUTS))
    kept = {name: (each >= removed).nonzero().flatten() for name, each in found.items()}
    slim = remove_filters(net, graph, kept).state_dict()
    assert list(slim) == list(state)
    for entry, tensor in slim.items():
        assert torch.equal(tensor, state[entry]), entry


# ---- the penalty ---------------------------------------------------------------------------------


def zero_gradients(net: nn.Module) -> None:
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)


def gradient(layer: nn.Module) -> list[float]:
    weight = layer.get_parameter("weight").grad
    assert weight is not None
    return weight.flatten().tolist()


def test_penalty_by_hand() -> None:
    net = chain([[3], [1], [3]], [[4, 0, 0]], [[5]])
    graph = channel_groups(net, PIXELS)
    penalty = penalize_group_norms(net, graph, ["0"], PIXELS, 0.5)
    zero_gradients(net)
    penalty.before_step()
    # The norms are √(9 + 16), 1 and 3; 5 to 1 is the way from γ = 1 to 16, and 3 is midway.
    assert gradient(net[0]) == pytest.approx([0.5 * 3 * 1, 0.5 * 1 * 16, 0.5 * 3 * 4])
    assert gradient(net[1]) == pytest.approx([0.5 * 4, 0, 0])
    assert gradient(net[2]) == [0]
    assert all(layer.bias.grad.tolist() == [0] * len(layer.bias) for layer in net)
    assert list(penalty.weights) == ["0.weight", "1.weight"]


def test_penalty_acts_at_every_step() -> None:
    net = chain([[3], [1], [3]], [[4, 0, 0]])
    penalty = penalize_group_norms(net, channel_groups(net, PIXELS), ["0"], PIXELS, 0.5)
    optimizer = SGD(net.parameters(), 0.01)
    penalty.attach(optimizer)
    zero_gradients(net)
    optimizer.step()
    assert net[0].weight.flatten().tolist() == pytest.approx([2.985, 0.92, 2.94])
    assert net[1].weight.flatten().tolist() == pytest.approx([3.98, 0, 0])
    assert penalty.unreached == ()
    optimizer.step()
    assert net[0].weight[1].item() < 0.85


@torch.no_grad()
def test_penalty_of_a_linear_layer_behind_a_flattened_map() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(4, 1))
    x = torch.zeros(1, 1, 1, 2)
    for layer, weight in ((net[0], [1.0, 2.0]), (net[1], [2.0, 0.5]), (net[3], [3.0, 3, 1, 1])):
        layer.weight.copy_(torch.tensor(weight).view_as(layer.weight))
    penalty = penalize_group_norms(net, channel_groups(net, x), ["0"], x, 0.5)
    zero_gradients(net)
    penalty.before_step()
    # The second channel is the lesser, and what reads it are two columns.
    assert gradient(net[0]) == pytest.approx([0.5 * 1, 0.5 * 2 * 16])
    assert gradient(net[1]) == pytest.approx([0.5 * 2, 0.5 * 0.5 * 16])
    assert gradient(net[3]) == pytest.approx([1.5, 1.5, 8, 8])


def test_a_group_of_one_channel_is_no_trouble() -> None:
    net = chain([[3]], [[1], [2]], [[1, 1]])
    penalty = penalize_group_norms(net, channel_groups(net, PIXELS), ["0", "1"], PIXELS, 0.5)
    zero_gradients(net)
    penalty.before_step()
    assert gradient(net[0]) == [0]
    assert gradient(net[1]) == pytest.approx([0.5 * 16, 0.5 * 2])


def test_frozen_layers_stay_and_their_neighbours_learn() -> None:
    net, x = small_ssd()
    layers = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    for layer in layers[:2]:  # as torchvision freezes them
        layer.requires_grad_(False)
    graph = channel_groups(net, x)
    penalty = penalize_group_norms(net, graph, list(graph.prunable())[:4], x, 0.5)
    for parameter in net.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    penalty.before_step()
    touched = [layer.weight.grad is not None and bool(layer.weight.grad.any()) for layer in layers]
    # The fifth reads channels of the fourth.
    assert touched == [False, False, True, True, True] + [False] * (len(layers) - 5)
    assert not layers[0].weight.requires_grad
    assert net.training


def test_all_frozen() -> None:
    net = chain([[3], [1]], [[1, 2]]).requires_grad_(False)
    with pytest.raises(PruningError, match=r"every weight .* is frozen"):
        penalize_group_norms(net, channel_groups(net, PIXELS), ["0"], PIXELS, 0.5)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(extras.importlib, "import_module", missing)
    with pytest.raises(MissingExtraError, match=r"needs torch_pruning.*'secateur\[dev\]'"):
        order(chain([[3], [1]], [[1, 2]]))
