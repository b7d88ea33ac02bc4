"""Channel groups of hand-made networks, against answers written by hand."""

import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 # torch's habit
from torch import Tensor, nn

from secateur.errors import PruningError
from secateur.measuring import count_macs, count_params
from secateur.models.ssd import RawSSD, build_ssd, convolutions, ssd_architecture
from secateur.pruning.graph import ChannelGraph, channel_groups
from secateur.pruning.removal import prove_removal, remove_filters

torch.set_num_threads(1)
PICTURE = torch.zeros(1, 3, 8, 8)


class Net(nn.Module):
    """Layers by name, and a forward pass given as a function."""

    def __init__(self, forward: Callable[..., object], **layers: nn.Module | nn.Parameter) -> None:
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.run = forward

    def forward(self, *x: Tensor) -> object:
        return self.run(self, *x)


def conv(channels: int, filters: int, kernel: int = 1, **options: int) -> nn.Conv2d:
    return nn.Conv2d(channels, filters, kernel, padding=kernel // 2, **options)


def table(graph: ChannelGraph) -> dict[str, tuple[int, set[tuple[str, int, str]]]]:
    """Channels and members of each group that may be pruned."""
    return {
        name: (group.channels, {(m.name, m.dim, m.role) for m in group.members})
        for name, group in graph.prunable().items()
    }


def reasons(graph: ChannelGraph) -> dict[str, str]:
    return {name: group.fixed for name, group in graph.groups.items() if group.fixed}


def test_chain_with_batch_norm() -> None:
    net = nn.Sequential(conv(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), conv(4, 5))
    graph = channel_groups(net, PICTURE)
    norm = {("weight"), ("bias"), ("running_mean"), ("running_var")}
    assert table(graph) == {
        "0": (
            4,
            {("0.weight", 0, "producer"), ("0.bias", 0, "follower"), ("3.weight", 1, "consumer")}
            | {(f"1.{entry}", 0, "follower") for entry in norm},
        )
    }
    assert list(graph.groups) == ["0", "0.weight", "3"]
    assert graph.groups["0"].producers == ("0",)
    assert graph.groups["0"].consumers == ("3",)
    assert reasons(graph) == {"0.weight": "the network's input input", "3": "the network's output"}


def test_two_heads_behind_permute_reshape_and_cat() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.a(x).relu()
        heads = [net.b(x), net.c(x)]
        flat = [h.view(1, 2, -1, 8, 8).permute(0, 3, 4, 1, 2).reshape(1, 128, -1) for h in heads]
        return torch.cat(flat, dim=1)

    graph = channel_groups(Net(forward, a=conv(3, 4), b=conv(4, 6), c=conv(4, 6)), PICTURE)
    assert table(graph) == {
        "a": (
            4,
            {
                ("a.weight", 0, "producer"),
                ("a.bias", 0, "follower"),
                ("b.weight", 1, "consumer"),
                ("c.weight", 1, "consumer"),
            },
        )
    }
    assert graph.groups["a"].consumers == ("b", "c")
    assert {"b", "c"} <= reasons(graph).keys()


def test_l2_norm_and_its_scale() -> None:
    def forward(net: Net, x: Tensor) -> object:
        return net.b(net.scale.view(1, -1, 1, 1) * F.normalize(net.a(x).relu()))

    net = Net(forward, a=conv(3, 4), b=conv(4, 2), scale=nn.Parameter(torch.ones(4)))
    (members,) = (members for _, members in table(channel_groups(net, PICTURE)).values())
    assert ("scale", 0, "follower") in members


def test_l2_norm_of_what_is_not_zero_when_masked_is_fixed() -> None:
    net = Net(lambda n, x: n.b(F.normalize(n.a(x).sigmoid())), a=conv(3, 4), b=conv(4, 2))
    assert "reduces over channels" in reasons(channel_groups(net, PICTURE))["a"]


def test_residual_sum_is_one_group() -> None:
    def forward(net: Net, x: Tensor) -> object:
        x = net.a(x)
        y = net.b(x.relu())
        y += x
        return net.c(y)

    graph = channel_groups(Net(forward, a=conv(3, 4), b=conv(4, 4), c=conv(4, 2)), PICTURE)
    assert graph.prunable().keys() == {"a"}
    assert graph.groups["a"].producers == ("a", "b")
    assert graph.groups["a"].consumers == ("b", "c")


def test_flattened_map_gives_a_channel_a_block() -> None:
    net = nn.Sequential(conv(3, 2), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(8, 3))
    (group,) = channel_groups(net, PICTURE).prunable().values()
    (consumer,) = group.of_role("consumer")
    assert consumer.index.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_depthwise_filters_follow() -> None:
    net = nn.Sequential(conv(3, 4), nn.Conv2d(4, 8, 3, groups=4), conv(8, 2))
    (group,) = channel_groups(net, PICTURE).prunable().values()
    assert (group.name, group.channels, group.producers, group.consumers) == (
        "0",
        4,
        ("0",),
        ("2",),
    )
    by_name = {m.name: m for m in group.of_role("follower")}
    assert by_name["1.weight"].index.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_grouped_convolution_loses_the_same_channels_in_every_group() -> None:
    net = nn.Sequential(conv(3, 4), nn.Conv2d(4, 6, 1, groups=2), conv(6, 2))
    graph = channel_groups(net, PICTURE)
    assert {name: group.channels for name, group in graph.prunable().items()} == {"0": 2, "1": 3}
    assert graph.groups["0"].of_role("producer")[0].index.tolist() == [[0, 2], [1, 3]]


def test_concatenation_keeps_positions() -> None:
    net = Net(
        lambda n, x: n.c(torch.cat([n.a(x), n.b(x)], dim=1)),
        a=conv(3, 2),
        b=conv(3, 3),
        c=conv(5, 2),
    )
    graph = channel_groups(net, PICTURE)
    assert [group.of_role("consumer")[0].index.flatten().tolist() for group in
            graph.prunable().values()] == [[0, 1], [2, 3, 4]]  # fmt: skip


def constant_in_forward(net: Net, x: Tensor) -> object:
    return net.b(net.a(x) * torch.ones(1, 4, 1, 1))


def constant_held(net: Net, x: Tensor) -> object:
    return net.b(net.a(x) + HELD)


HELD = torch.arange(4.0).view(1, 4, 1, 1)


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (lambda n, x: n.b(n.a(x).softmax(1)), "aten.softmax.int is not known"),
        (lambda n, x: n.b(n.a(x) + n.a(x).softmax(1)), "aten.softmax.int is not known"),
        (lambda n, x: n.b(F.group_norm(n.a(x), 2)), "aten.group_norm.default is not known"),
        (lambda n, x: n.b(n.a(x).cumsum(1)), "aten.cumsum.default is not known"),
        (lambda n, x: n.b(n.a(x) - n.a(x).mean(1, keepdim=True)), "mean reduces over channels"),
        (lambda n, x: n.b(n.a(x)[:, [1, 0, 3, 2]]), "aten.index.Tensor is not known"),
        (lambda n, x: n.b(n.a(x)[:, :2].repeat(1, 2, 1, 1)), "takes channels by their positions"),
        (lambda n, x: n.b(torch.cat(n.a(x).chunk(2, 1)[::-1], 1)), "by their positions"),
        (lambda n, x: n.b(n.a(x).roll(1, 1)), "by their positions"),
        (
            lambda n, x: n.b(n.a(x).view(1, 2, 2, 8, 8).transpose(1, 2).reshape(1, 4, 8, 8)),
            "mixed with positions",
        ),
        (lambda n, x: n.b(torch.stack([n.a(x), n.c(x)], 2).sum(2)), "reduces over"),
        (
            lambda n, x: n.b(F.conv2d(n.a(x), n.c.weight[:, :1] * 2, groups=4)),
            "weights are computed",
        ),
        (
            lambda n, x: n.b(torch.zeros(1, 4, 8, 8).copy_(n.a(x))),
            "aten.copy_.default is not known",
        ),
        (constant_in_forward, "values that belong to no channel"),
        (constant_held, "is a constant of the forward pass"),
        (lambda n, x: n.b(n.a(x) * x[:, :1]), "the network's input"),
    ],
)
def test_what_is_not_known_is_fixed_and_named(forward: Callable[..., object], reason: str) -> None:
    net = Net(forward, a=conv(3, 4), b=conv(4, 2), c=conv(3, 4))
    assert reason in reasons(channel_groups(net, PICTURE))["a"]


def test_depthwise_behind_what_is_not_known_is_fixed() -> None:
    def forward(net: Net, x: Tensor) -> object:
        x = net.depthwise(net.a(x).softmax(1))
        return net.b(x * net.gate(x.mean((2, 3), keepdim=True)).sigmoid())

    layers = {"a": conv(3, 4), "depthwise": conv(4, 4, groups=4), "gate": conv(4, 4)}
    graph = channel_groups(Net(forward, **layers, b=conv(4, 2)), PICTURE)
    assert graph.prunable() == {}


def test_layer_that_also_reads_what_is_not_known_is_fixed() -> None:
    net = Net(
        lambda n, x: n.b(n.a(x)) + n.b(n.c(x).softmax(1)), a=conv(3, 4), b=conv(4, 2), c=conv(3, 4)
    )
    assert channel_groups(net, PICTURE).prunable() == {}


def test_slicing_positions_is_no_slicing_of_channels() -> None:
    net = Net(lambda n, x: n.b(n.a(x)[:, :, 1:, ::2]), a=conv(3, 4), b=conv(4, 2))
    assert channel_groups(net, PICTURE).prunable().keys() == {"a"}


def test_squeeze_and_excitation_is_one_group() -> None:
    def forward(net: Net, x: Tensor) -> object:
        x = net.a(x)
        return net.d(x * net.c(net.b(x.mean((2, 3), keepdim=True)).relu()).sigmoid())

    layers = {"a": conv(3, 4), "b": conv(4, 2), "c": conv(2, 4), "d": conv(4, 2)}
    net = Net(forward, **layers)
    graph = channel_groups(net, PICTURE)
    assert graph.prunable().keys() == {"a", "b"}
    assert graph.groups["a"].producers == ("a", "c")
    selection = {"a": torch.tensor([0, 2]), "b": torch.tensor([1])}
    slim = remove_filters(net, graph, selection)
    assert prove_removal(net, slim, graph, selection, torch.randn(1, 3, 8, 8)) < 1e-12


def test_one_tensor_under_two_names_is_fixed() -> None:
    net = nn.Sequential(conv(3, 4), conv(4, 4), conv(4, 4), conv(4, 2))
    net[2].weight = net[1].weight
    graph = channel_groups(net, PICTURE)
    assert graph.prunable() == {}
    assert "are one tensor" in reasons(graph)["0"]
    assert graph.cost()[0] == count_params(net)


def test_layer_used_twice_is_counted_twice() -> None:
    net = Net(lambda n, x: n.c(n.b(n.b(n.a(x)))), a=conv(3, 4), b=conv(4, 4), c=conv(4, 2))
    graph = channel_groups(net, PICTURE)
    assert graph.cost() == (count_params(net), count_macs(net, PICTURE))
    assert graph.prunable().keys() == {"a"}
    slim = remove_filters(net, graph, {"a": torch.tensor([1, 3])})
    assert slim.get_parameter("b.weight").shape == (2, 2, 1, 1)
    assert graph.cost({"a": 2}) == (count_params(slim), count_macs(slim, PICTURE))


def test_untraceable_network_is_an_error() -> None:
    net = Net(lambda n, x: n.a(x) if x.sum() > 0 else n.a(-x), a=conv(3, 4))
    with pytest.raises(PruningError, match="cannot be traced"):
        channel_groups(net, PICTURE)


def test_modes_are_put_back_and_frozen_layers_stay_in_the_graph() -> None:
    net = nn.Sequential(conv(3, 4), nn.BatchNorm2d(4), nn.ReLU(), conv(4, 2)).train()
    net[1].eval()
    net[0].requires_grad_(requires_grad=False)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    graph = channel_groups(net, PICTURE)
    assert [module.training for module in net] == [True, False, True, True]
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert graph.groups["0"].producers == ("0",)
    assert graph.cost()[0] == count_params(net)


# ---- SSD ---------------------------------------------------------------------------------------


def small_ssd(batch_norm: bool) -> tuple[RawSSD, Tensor]:
    torch.manual_seed(0)
    architecture = ssd_architecture(
        "ssd300", ("a", "b"), size=64, widths=1 / 16, batch_norm=batch_norm, detection_layers=4
    )
    raw = RawSSD(build_ssd(architecture))
    for layer in list(raw.backbone.features)[:4]:  # as torchvision freezes them
        layer.requires_grad_(requires_grad=False)
    return raw, torch.zeros(1, 3, 64, 64)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_every_trunk_layer_of_ssd_is_one_group(batch_norm: bool) -> None:
    raw, x = small_ssd(batch_norm)
    graph = channel_groups(raw, x)
    paths = convolutions(raw)
    assert list(graph.prunable()) == list(paths.values())
    assert all(group.producers == (name,) for name, group in graph.prunable().items())
    conv4_3 = graph.groups[paths["conv4_3"]]
    assert conv4_3.consumers == (
        paths["conv5_1"],
        "head.regression_head.module_list.0",
        "head.classification_head.module_list.0",
    )
    norm = paths["conv4_3"].replace("30", "31")
    entries = [f"{norm}.{e}" for e in ("weight", "bias", "running_mean", "running_var")]
    assert [m.name for m in conv4_3.of_role("follower")] == [
        f"{paths['conv4_3']}.bias",
        *(entries if batch_norm else []),
        "backbone.scale_weight",
    ]
    assert graph.cost() == (count_params(raw), count_macs(raw, x))
    kept = {name: torch.arange(1 + group.channels // 3) for name, group in graph.prunable().items()}
    slim = remove_filters(raw, graph, kept)
    wanted = graph.cost({name: len(indices) for name, indices in kept.items()})
    assert wanted == (count_params(slim), count_macs(slim, x))


def test_agrees_with_torch_pruning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its imports and of its use of old torch names
        import torch_pruning  # noqa: PLC0415

    raw, x = small_ssd(batch_norm=True)
    raw.requires_grad_()  # frozen layers vanish from its graph
    graph = channel_groups(raw, x)
    layers = (nn.Conv2d, nn.BatchNorm2d)
    names = {module: name for name, module in raw.named_modules()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = torch_pruning.DependencyGraph().build_dependency(raw.eval(), x)
        for name, group in graph.prunable().items():
            cut = torch_pruning.prune_conv_out_channels
            dependencies = theirs.get_pruning_group(raw.get_submodule(name), cut, [0])
            coupled = {
                names[d.target.module]
                for d, _ in dependencies
                if isinstance(d.target.module, layers)
            }
            ours = {m.name.rpartition(".")[0] for m in group.members} - {"backbone"}
            assert coupled == ours, name
