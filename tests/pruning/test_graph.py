"""Channel groups of hand-made networks, against predictions written by hand."""

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 # torch's habit
from torch import Tensor, nn

from secateur.errors import PruningError, WrongTypeError
from secateur.models.cost import count_macs, count_params
from secateur.models.ssd import RawSSD, build_ssd, convolutions, ssd_architecture
from secateur.pruning.graph.groups import ChannelGraph
from secateur.pruning.graph.trace import channel_groups
from secateur.pruning.removal import mask_filters, remove_filters
from secateur.pruning.verification import fix_unverified, verify_removal

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
    # The heads' maps are concatenated in the output.
    assert graph.groups["b"].producers == ("b", "c")
    assert reasons(graph)["b"] == "the network's output"


def test_l2_norm_and_its_scale() -> None:
    def forward(net: Net, x: Tensor) -> object:
        return net.b(net.scale.view(1, -1, 1, 1) * F.normalize(net.a(x).relu()))

    net = Net(forward, a=conv(3, 4), b=conv(4, 2), scale=nn.Parameter(torch.ones(4)))
    (members,) = (members for _, members in table(channel_groups(net, PICTURE)).values())
    assert ("scale", 0, "follower") in members


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
    sizes = {name: (group.channels, group.units) for name, group in graph.prunable().items()}
    assert sizes == {"0": (4, 2), "1": (6, 3)}
    assert graph.groups["0"].of_role("producer")[0].index.tolist() == [[0, 2], [1, 3]]
    assert graph.groups["1"].unit_of.tolist() == [0, 1, 2, 0, 1, 2]
    slim = remove_filters(net, graph, {"1": torch.tensor([0, 2, 3, 5])})
    assert slim[1].weight.tolist() == net[1].weight[[0, 2, 3, 5]].tolist()


def test_transposed_grouped_convolution_has_filters_of_every_group() -> None:
    net = nn.Sequential(conv(3, 8), nn.ConvTranspose2d(8, 16, 2, groups=4), conv(16, 2))
    group = channel_groups(net, PICTURE).groups["1"]
    assert (group.channels, group.units) == (16, 4)
    assert group.of_role("producer")[0].index.tolist() == [[0], [1], [2], [3]]
    assert group.unit_of.tolist() == [0, 1, 2, 3] * 4


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


def width_asserted(net: Net, x: Tensor) -> object:
    x = net.a(x)
    assert x.shape[1] == 4
    return net.b(x)


HELD = torch.arange(4.0).view(1, 4, 1, 1)


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (lambda n, x: n.b(n.a(x).softmax(1)), "softmax works on all its channels together"),
        (lambda n, x: n.b(n.a(x) + n.a(x).softmax(1)), "softmax works on all its channels"),
        (lambda n, x: n.b(n.a(x).cumsum(1)), "cumsum works on all its channels"),
        (lambda n, x: n.b(F.layer_norm(n.a(x), (4, 8, 8))), "has no entries that tell how many"),
        (lambda n, x: n.b(F.group_norm(n.a(x), 2)), "its number of groups stands in forward"),
        (lambda n, x: n.b(n.a(x).logcumsumexp(1)), "aten.logcumsumexp.default is not known"),
        (lambda n, x: n.b(n.a(x) @ n.a(x)), "aten.matmul.default is not known"),
        (lambda n, x: n.b(n.a(x) * n.a(x).prod(1, keepdim=True)), "prod reduces over channels"),
        (lambda n, x: n.b(n.a(x) * n.a(x).argmax(1, keepdim=True)), "argmax reduces over channels"),
        (lambda n, x: n.b(n.a(x) + n.a(x).max(1, True)[1]), "max_1 reduces over channels"),
        (lambda n, x: n.b(n.a(x)[:, [1, 0, 3, 2]]), "index takes channels by their positions"),
        (lambda n, x: n.b(n.a(x)[:, torch.arange(4)]), "index takes channels by their positions"),
        (lambda n, x: n.b(n.a(x)[:, :2].repeat(1, 2, 1, 1)), "counts on all of these channels"),
        (lambda n, x: n.b(torch.cat(n.a(x).split(2, 1)[::-1], 1)), "by their positions"),
        (lambda n, x: n.b(n.a(x)[:, 1:].repeat(1, 4, 1, 1)[:, :4]), "by their positions"),
        (lambda n, x: n.b(n.a(x).roll(1, 1)), "by their positions"),
        (
            lambda n, x: n.b(n.a(x).view(1, 2, 2, 8, 8).transpose(1, 2).reshape(1, 4, 8, 8)),
            "counts on all of these channels",
        ),
        (lambda n, x: n.b(n.a(x).unflatten(1, (2, 2)).sum(1).repeat(1, 2, 1, 1)), "counts on all"),
        (
            lambda n, x: n.b(F.conv2d(n.a(x), n.c.weight[:, :1] * 2, groups=4)),
            "weights are computed",
        ),
        (
            lambda n, x: n.b(torch.zeros(1, 4, 8, 8).copy_(n.a(x))),
            "aten.copy_.default is not known",
        ),
        (lambda n, x: n.b(n.a(x) * torch.arange(4).view(1, 4, 1, 1)), "belong to no channel"),
        (constant_held, "is a constant of the forward pass"),
        (lambda n, x: n.b(n.a(x) + torch.cat([x, x[:, :1]], 1)), "the network's input"),
        # Counts that stand in the code.
        (constant_in_forward, "the forward pass counts on all of these channels"),
        (lambda n, x: n.b(n.a(x).view(1, 4, -1).view(1, 4, 8, 8)), "counts on all of these"),
        (lambda n, x: n.b(n.a(x).view(-1, 4, 16, 4).view(1, -1, 8, 8)), "counts on all of these"),
        (width_asserted, "counts on all of these"),
        (lambda n, x: n.b(n.a(x) + torch.zeros(1, 4, 8, 8)), "counts on all of these"),
    ],
)
def test_what_is_not_known_is_fixed_and_named(forward: Callable[..., object], reason: str) -> None:
    net = Net(forward, a=conv(3, 4), b=conv(4, 2), c=conv(3, 4))
    assert reason in reasons(channel_groups(net, PICTURE))["a"]


# Layers, a forward pass of them, and each prunable group's producers and channels. a and c make 8
# channels of the picture, b reads 8.
PRUNABLE: dict[str, tuple[dict[str, nn.Module | nn.Parameter], Callable[..., object], object]] = {
    "instance norm": (
        {"norm": nn.InstanceNorm2d(8)},
        lambda n, x: n.b(n.norm(n.a(x))),
        {("a",): 8},
    ),
    "instance norm with entries": (
        {"norm": nn.InstanceNorm2d(8, affine=True, track_running_stats=True)},
        lambda n, x: n.b(n.norm(n.a(x))),
        {("a",): 8},
    ),
    "batch norm without entries": (
        {"norm": nn.BatchNorm2d(8, affine=False, track_running_stats=False)},
        lambda n, x: n.b(n.norm(n.a(x))),
        {("a",): 8},
    ),
    "group norm loses whole groups": (
        {"norm": nn.GroupNorm(4, 8)},
        lambda n, x: n.b(n.norm(n.a(x))),
        {("a",): 4},
    ),
    "layer norm over positions": (
        {"norm": nn.LayerNorm([8, 8])},
        lambda n, x: n.b(n.norm(n.a(x))),
        {("a",): 8},
    ),
    "layer norm over channels": (
        {"norm": nn.LayerNorm(8)},
        lambda n, x: n.b(n.norm(n.a(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)),
        {("a",): 8},
    ),
    "layer norm over channels and positions": (
        {"norm": nn.LayerNorm([8, 8, 8])},
        lambda n, x: n.b(n.norm(n.a(x).sigmoid())),
        {("a",): 8},
    ),
    "layer norm by hand": (
        {"scale": nn.Parameter(torch.rand(8)), "shift": nn.Parameter(torch.rand(8))},
        lambda n, x: n.b(layer_norm_by_hand(n, n.a(x))),
        {("a",): 8},
    ),
    "root mean square norm": (
        {"norm": nn.RMSNorm(8, eps=1e-6)},
        lambda n, x: n.b(n.norm(n.a(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)),
        {("a",): 8},
    ),
    "group norm of one group": (
        {"norm": nn.GroupNorm(1, 8)},
        lambda n, x: n.b(n.norm(n.a(x))),
        {("a",): 8},
    ),
    "global response normalisation": (
        {"gamma": nn.Parameter(torch.rand(1, 1, 1, 8)), "d": nn.Linear(8, 4)},
        lambda n, x: n.d(response_norm(n, n.a(x).permute(0, 2, 3, 1).relu())),
        {("a",): 8},
    ),
    "spatial attention": (
        {"gate": conv(2, 1, 3)},
        lambda n, x: n.b(n.a(x) * n.gate(mean_and_maximum(n.a(x).sigmoid()))),
        {("a",): 8, ("gate",): 1},
    ),
    "extremes and deviations of channels": (
        {},
        lambda n, x: n.b(
            (n.a(x) - n.a(x).amin(1, keepdim=True)) / (n.a(x).std(1, keepdim=True) + n.a(x).max())
            - torch.var_mean(n.c(x), (1, 2, 3), keepdim=True)[0]
        ),
        {("a",): 8, ("c",): 8},
    ),
    "l2 norm of what is not zero when masked": (
        {},
        lambda n, x: n.b(F.normalize(n.a(x).sigmoid())),
        {("a",): 8},
    ),
    "transposed convolution": (
        {"up": nn.ConvTranspose2d(8, 8, 2, stride=2)},
        lambda n, x: n.b(n.up(n.a(x))),
        {("a",): 8, ("up",): 8},
    ),
    "depthwise transposed convolution": (
        {"up": nn.ConvTranspose2d(8, 8, 2, groups=8)},
        lambda n, x: n.b(n.up(n.a(x))),
        {("a",): 8},
    ),
    "grouped transposed convolution": (
        {"up": nn.ConvTranspose2d(8, 8, 2, groups=2)},
        lambda n, x: n.b(n.up(n.a(x))),
        {("a",): 4, ("up",): 4},
    ),
    "slopes of a PReLU": (
        {"prelu": nn.PReLU(8)},
        lambda n, x: n.b(n.prelu(n.a(x))),
        {("a",): 8},
    ),
    "gated linear unit": (
        {"d": conv(4, 2)},
        lambda n, x: n.d(F.glu(n.a(x), 1)),
        {("a",): 4},
    ),
    "halves": (
        {"d": conv(12, 2), "e": conv(4, 4)},
        lambda n, x: n.d(torch.cat([*n.a(x).chunk(2, 1), n.e(n.a(x).chunk(2, 1)[1])], 1)),
        {("a",): 4, ("e",): 4},
    ),
    "pixel shuffle": (
        {"d": conv(2, 2)},
        lambda n, x: n.d(F.pixel_shuffle(n.a(x), 2)),
        {("a",): 2},
    ),
    "pixel unshuffle": (
        {"d": conv(32, 2)},
        lambda n, x: n.d(F.pixel_unshuffle(n.a(x), 2)),
        {("a",): 8},
    ),
    "channel shuffle": (
        {"shuffle": nn.ChannelShuffle(2)},
        lambda n, x: n.b(n.shuffle(n.a(x))),
        {("a",): 4},
    ),
    "layer scale and position embedding": (
        {"p": nn.Parameter(torch.rand(8, 1, 1)), "q": nn.Parameter(torch.rand(1, 8, 8, 8))},
        lambda n, x: n.b(n.a(x) * n.p + n.q),
        {("a",): 8},
    ),
    "positions learned along one side": (
        {"p": nn.Parameter(torch.rand(8))},
        lambda n, x: n.b(n.a(x) + n.p),
        {("a",): 8},
    ),
    "spatial gate": (
        {"gate": conv(8, 1)},
        lambda n, x: n.b(n.a(x) * n.gate(n.c(x)).sigmoid()),
        {("a",): 8, ("c",): 8, ("gate",): 1},
    ),
    "mask from the input": ({}, lambda n, x: n.b(n.a(x) * x[:, :1]), {("a",): 8}),
    "stack": ({}, lambda n, x: n.b(torch.stack([n.a(x), n.c(x)]).amax(0)), {("a", "c"): 8}),
    "cat of positions": ({}, lambda n, x: n.b(torch.cat([n.a(x), n.c(x)], 2)), {("a", "c"): 8}),
    "zeros of a shape": ({}, lambda n, x: n.b(n.a(x) + torch.zeros_like(n.c(x))), {("a", "c"): 8}),
    "running sum": (
        {},
        lambda n, x: n.b(torch.zeros(len(x), n.a.out_channels, 8, 8).add_(n.a(x)).add_(n.c(x))),
        {("a", "c"): 8},
    ),
    "padded positions": (
        {},
        lambda n, x: n.b(F.pad(F.pad(n.a(x), (1, 1, 2, 0), value=2.0), (1, 1, 1, 1), "reflect")),
        {("a",): 8},
    ),
    "zero channels beside": (
        {"d": conv(10, 2)},
        lambda n, x: n.d(F.pad(n.a(x), (0, 0, 0, 0, 1, 1))),
        {("a",): 8},
    ),
    # ResNet's shortcut without weights: the middle eight of e's filters go with c's.
    "shortcut padded with channels": (
        {"e": conv(8, 12), "d": conv(12, 2)},
        lambda n, x: n.d(n.e(n.a(x)) + F.pad(n.c(x), (0, 0, 0, 0, 2, 2))),
        {("a",): 8, ("e", "c"): 8},
    ),
    "features laid out as maps": (
        {"linear": nn.Linear(8, 64), "d": conv(4, 2)},
        lambda n, x: n.d(n.linear(n.a(x).mean((2, 3))).view(len(x), -1, 4, 4)),
        {("a",): 8, ("linear",): 4},
    ),
    "unfold": (
        {"linear": nn.Linear(32, 2)},
        lambda n, x: n.linear(F.unfold(n.a(x), 2).transpose(1, 2)),
        {("a",): 8},
    ),
    "l2 norm by hand": (
        {},
        lambda n, x: n.b(
            n.a(x).relu() / (n.a(x).relu().pow(2).sum(1, keepdim=True).sqrt() + 1e-6)
        ),
        {("a",): 8},
    ),
    "gradients and autocast off and on": (
        {},
        lambda n, x: n.b(in_regions(n.a(x))),
        {("a",): 8},
    ),
    "resizing": (
        {},
        lambda n, x: n.b(F.interpolate(F.interpolate(n.a(x), (5, 5), mode="area"), scale_factor=2,
                                       mode="bicubic")),
        {("a",): 8},
    ),
    "one dimension": (
        {"d": nn.Conv1d(8, 4, 3), "linear": nn.Linear(28, 2)},
        lambda n, x: n.linear(
            F.adaptive_max_pool1d(F.avg_pool1d(n.d(n.a(x).flatten(2)), 2), 7).flatten(1)
        ),
        {("a",): 8, ("d",): 4},
    ),
    "three dimensions": (
        {"d": nn.Conv3d(8, 4, 3), "linear": nn.Linear(4, 2)},
        lambda n, x: n.linear(
            F.max_pool3d(n.d(n.a(x).unsqueeze(2).repeat(1, 1, 3, 1, 1)), (1, 2, 2)).mean((2, 3, 4))
        ),
        {("a",): 8, ("d",): 4},
    ),
}  # fmt: skip


def layer_norm_by_hand(net: Net, x: Tensor) -> Tensor:
    """As in ConvNeXt's published code."""
    mean = x.mean(1, keepdim=True)
    variance = (x - mean).pow(2).mean(1, keepdim=True)
    x = (x - mean) / torch.sqrt(variance + 1e-6)
    return net.scale[:, None, None] * x + net.shift[:, None, None]


def response_norm(net: Net, x: Tensor) -> Tensor:
    """As in ConvNeXt V2."""
    size = x.norm(p=2, dim=(1, 2), keepdim=True)
    return net.gamma * x * size / (size.mean(-1, keepdim=True) + 1e-6) + x


def mean_and_maximum(x: Tensor) -> Tensor:
    return torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True)[0]], 1)


def in_regions(x: Tensor) -> Tensor:
    with torch.enable_grad():
        x = x * 2
    with torch.autocast("cpu", enabled=False):
        x = x + 1
    return torch.utils.checkpoint.checkpoint(torch.tanh, x, use_reentrant=False)


@pytest.mark.parametrize("case", PRUNABLE)
def test_what_keeps_channels_apart_is_pruned(case: str) -> None:
    torch.manual_seed(0)
    layers, forward, groups = PRUNABLE[case]
    net = Net(forward, a=conv(3, 8), b=conv(8, 2), c=conv(3, 8), **copy.deepcopy(layers))
    graph = channel_groups(net, PICTURE)
    assert {g.producers: g.units for g in graph.prunable().values()} == groups
    # Every other channel is removed.
    kept = {
        name: g.channels_of(torch.arange(0, g.units, 2)) for name, g in graph.prunable().items()
    }
    slim = remove_filters(net, graph, kept)
    assert verify_removal(net, slim, graph, kept, torch.randn(2, 3, 8, 8)) < 1e-12
    left = {name: len(indices) for name, indices in kept.items()}
    assert graph.cost(left) == (count_params(slim), count_macs(slim, PICTURE))


ACTIVATIONS = [
    *(nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(), nn.ELU(), nn.SELU(), nn.CELU(), nn.GELU(), nn.SiLU()),
    *(nn.Mish(), nn.Hardswish(), nn.Hardsigmoid(), nn.Sigmoid(), nn.Tanh(), nn.Softplus()),
    *(nn.Softsign(), nn.Tanhshrink(), nn.Softshrink(), nn.Hardshrink(), nn.LogSigmoid()),
    *(nn.Threshold(0.1, 0.0), nn.RReLU(), nn.PReLU(), nn.Hardtanh(), nn.Dropout(), nn.Dropout2d()),
    *(nn.AlphaDropout(), nn.FeatureAlphaDropout()),
    *(nn.Mish(inplace=True), nn.Hardswish(inplace=True), nn.SiLU(inplace=True)),
]


def test_activations_and_dropouts_keep_channels_apart() -> None:
    layers = [each for activation in ACTIVATIONS for each in (conv(4, 4), activation)]
    net = nn.Sequential(conv(3, 4), *layers, conv(4, 2))
    graph = channel_groups(net, PICTURE)
    assert len(graph.prunable()) == len(ACTIVATIONS) + 1


def test_group_norm_by_hand() -> None:
    net = nn.Sequential(conv(3, 6), nn.GroupNorm(3, 6), conv(6, 2))
    graph = channel_groups(net, PICTURE)
    (group,) = graph.prunable().values()
    assert [m.index.tolist() for m in group.members] == [[[0, 1], [2, 3], [4, 5]]] * 5
    assert (group.channels, group.units) == (6, 3)
    slim = remove_filters(net, graph, {"0": torch.tensor([0, 1, 4, 5])})
    assert (slim[1].num_groups, slim[1].num_channels) == (2, 4)
    assert slim[0].weight.tolist() == net[0].weight[[0, 1, 4, 5]].tolist()


class OwnForward(nn.GroupNorm):
    """Group norm with a forward pass of its own, like timm's."""

    literal: int | None = None

    def forward(self, x: Tensor) -> Tensor:
        groups = self.literal or self.num_groups
        return F.group_norm(x, groups, self.weight, self.bias).relu()


def test_a_kind_of_group_norm_with_its_own_forward_loses_groups() -> None:
    net = nn.Sequential(conv(3, 6), OwnForward(3, 6), conv(6, 2)).eval()
    graph = channel_groups(net, PICTURE)
    kept = {"0": torch.tensor([0, 1, 4, 5])}
    slim = remove_filters(net, graph, kept)
    assert (slim[1].num_groups, slim[1].num_channels) == (2, 4)
    assert verify_removal(net, slim, graph, kept, PICTURE) < 1e-12


@pytest.mark.parametrize("literal", [2, 4])
def test_a_number_of_groups_that_stands_in_forward_is_found(literal: int) -> None:
    net = nn.Sequential(conv(3, 16), OwnForward(4, 16), conv(16, 2)).eval()
    net[1].literal = literal
    graph = fix_unverified(net, channel_groups(net, PICTURE), PICTURE)
    assert graph.groups["0"].fixed is not None


@pytest.mark.parametrize(
    ("norm", "reason"),
    [
        (nn.LayerNorm([4, 8, 8], elementwise_affine=False), "entries that tell how many channels"),
        (nn.GroupNorm(2, 4, affine=False), "has no entries that tell how many groups it has"),
        (nn.LocalResponseNorm(2), "its channels are mixed with positions"),
    ],
)
def test_norms_that_see_several_channels_are_fixed(norm: nn.Module, reason: str) -> None:
    graph = channel_groups(nn.Sequential(conv(3, 4), norm, conv(4, 2)), PICTURE)
    assert reason in reasons(graph)["0"]


def test_norm_without_entries_counts_what_is_left() -> None:
    net = nn.Sequential(conv(3, 4), nn.InstanceNorm2d(4), conv(4, 2))
    graph = channel_groups(net, PICTURE)
    assert graph.groups["0"].counts == (("1", 1),)
    assert remove_filters(net, graph, {"0": torch.tensor([1])})[1].num_features == 1


@torch.library.custom_op("secateur_tests::mirror", mutates_args=())
def mirror(x: Tensor) -> Tensor:
    return x.flip(1)


mirror.register_fake(torch.empty_like)


def test_custom_operator_is_fixed_and_named() -> None:
    net = Net(lambda n, x: n.c(n.b(mirror(n.a(x)))), a=conv(3, 4), b=conv(4, 4), c=conv(4, 2))
    graph = channel_groups(net, PICTURE)
    assert "secateur_tests.mirror.default is not known" in reasons(graph)["a"]
    assert graph.prunable().keys() == {"b"}


def test_inputs_and_outputs_nested_and_named() -> None:
    class Nested(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = conv(3, 4), conv(3, 4), conv(4, 2)

        def forward(self, maps: dict[str, list[Tensor]], *, scale: float, last: Tensor) -> object:
            x, y = maps["pictures"]
            z = self.a(x) * scale + self.b(y)
            return {"out": [self.c(z), {"last": self.c(z.relu() + last)}]}

    net = Nested()
    inputs = {"maps": {"pictures": [PICTURE, PICTURE]}, "scale": 2.0, "last": PICTURE[:, :1]}
    graph = channel_groups(net, inputs)
    assert {g.producers for g in graph.prunable().values()} == {("a", "b")}
    kept = {"a": torch.tensor([0, 2])}
    slim = remove_filters(net, graph, kept)
    assert verify_removal(net, slim, graph, kept, inputs) < 1e-12


class Auxiliary(nn.Module):
    """A head that only training runs."""

    def __init__(self, width: int | None = None) -> None:
        super().__init__()
        self.width = width
        self.a, self.b, self.c = conv(3, 4), conv(4, 4), conv(4, 2)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv(4, 6), nn.BatchNorm2d(6))
        self.last = nn.Sequential(nn.ReLU(), nn.Dropout(), conv(6, 2))

    def forward(self, x: Tensor) -> object:
        x = self.a(x)
        y = self.c(self.b(x))
        if not self.training:
            return y
        z = self.last(self.head(x))
        return {"main": y, "head": z, "beside": x if self.width is None else x.view(-1, 4, 64)[0]}


def test_head_that_only_training_runs_is_pruned() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.z = Auxiliary(), conv(4, 3)

        def forward(self, x: Tensor) -> object:
            given = self.inner(x)
            if isinstance(given, Tensor):
                return given
            return given["main"], given["head"], self.z(given["beside"])

    torch.manual_seed(0)
    net = Outer()
    graph = channel_groups(net, PICTURE)
    assert graph.prunable().keys() == {"inner.a", "inner.b", "inner.head.1"}
    assert graph.groups["inner.a"].consumers == ("inner.b", "inner.head.1", "z")
    assert graph.cost() == (count_params(net), count_macs(net, PICTURE))
    kept = {name: torch.tensor([0, 2]) for name in graph.prunable()}
    slim = remove_filters(net, graph, kept)
    x = torch.randn(2, 3, 8, 8)
    assert verify_removal(net, slim, graph, kept, x) < 1e-12
    masked = mask_filters(net, graph, kept)
    for given, wanted in zip(
        outputs_in_training(slim, x), outputs_in_training(masked, x), strict=True
    ):
        torch.testing.assert_close(given, wanted)
    assert all(module.training for module in net.modules())


def outputs_in_training(net: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    net.train()
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    outputs: tuple[Tensor, ...] = net(x)
    return outputs


def test_head_that_training_cannot_do_without_is_fixed() -> None:
    graph = channel_groups(Auxiliary(4), PICTURE)
    assert graph.prunable().keys() == {"b", "head.1"}
    assert reasons(graph)["a"] == "the network's output"


def test_one_module_under_two_names_is_pruned() -> None:
    net = nn.Sequential(conv(3, 4), conv(4, 4), conv(4, 2))
    net.add_module("again", net[1])
    model = Net(lambda n, x: n.s[2](n.s.again(n.s[1](n.s[0](x)))), s=net)
    graph = channel_groups(model, PICTURE)
    assert graph.groups["s.0"].producers == ("s.0", "s.1")
    kept = {"s.0": torch.tensor([1, 2])}
    slim = remove_filters(model, graph, kept)
    assert slim.s.again is slim.s[1]
    assert verify_removal(model, slim, graph, kept, torch.randn(1, 3, 8, 8)) < 1e-12


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            (PICTURE, PICTURE),
            r"do not fit Sequential.forward\(input\) \(too many positional arguments\); give a",
        ),
        ({"x": PICTURE}, "missing a required argument: 'input'"),
        (torch.zeros(1, 2, 8, 8), "does not run on the example inputs .*; give inputs that its"),
        (PICTURE.to("meta"), "is on cpu and the example inputs are on meta; move them to one"),
    ],
)
def test_wrong_inputs(inputs: object, message: str) -> None:
    with pytest.raises(PruningError, match=message) as caught:
        channel_groups(nn.Sequential(conv(3, 4), conv(4, 2)), inputs)
    assert "\n" not in str(caught.value)


def test_inputs_in_a_list() -> None:
    with pytest.raises(WrongTypeError, match="is a list; give a tensor, a tuple or a mapping"):
        channel_groups(nn.Sequential(conv(3, 4), conv(4, 2)), [PICTURE])


def test_network_and_inputs_on_another_device() -> None:
    net = nn.Sequential(conv(3, 4), conv(4, 2)).to("meta")
    with pytest.raises(PruningError, match="is on meta and the example inputs are on cpu"):
        channel_groups(net, PICTURE)
    assert channel_groups(net, PICTURE.to("meta")).prunable().keys() == {"0"}


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (nn.ReLU(), "ReLU runs no convolution and no linear layer"),
        (nn.BatchNorm2d(3), "nothing to prune; give the network itself"),
        (Net(lambda n, x: x * len(n.run.__name__), a=conv(3, 4)), "runs no convolution"),
        (Net(lambda n, x: n.a(x).shape[1], a=conv(3, 4)), "forward gives no tensor; return"),
    ],
)
def test_nothing_to_prune(net: nn.Module, message: str) -> None:
    with pytest.raises(PruningError, match=message):
        channel_groups(net, PICTURE)


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
    assert verify_removal(net, slim, graph, selection, torch.randn(1, 3, 8, 8)) < 1e-12


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


def test_width_that_only_training_counts_on_is_fixed() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x) + (torch.randn(1, 16, 1, 1) if self.training else 0))

    graph = channel_groups(Noisy(), torch.zeros(2, 3, 4, 4))
    assert "the forward pass in training counts on all" in reasons(graph)["a"]


def test_buffer_that_no_file_holds_is_not_cut() -> None:
    class Scaled(nn.Module):
        k: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 4, 1)
            self.register_buffer("k", torch.rand(1, 16, 1, 1), persistent=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x) * self.k)

    graph = channel_groups(Scaled(), torch.zeros(1, 3, 4, 4))
    assert reasons(graph)["a"] == "k is a buffer that no file of the network holds"


def test_positions_taken_by_a_buffer_are_no_error() -> None:
    class Taken(nn.Module):
        at: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 4, 1)
            self.register_buffer("at", torch.tensor([0, 2]))

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x).index_select(2, self.at))

    assert channel_groups(Taken(), torch.zeros(1, 3, 4, 4)).prunable().keys() == {"a"}


def test_no_picture_is_refused() -> None:
    with pytest.raises(PruningError, match="example input is empty; give one picture or more"):
        channel_groups(nn.Conv2d(3, 4, 1), torch.zeros(0, 3, 4, 4))


def test_groups_are_named_by_parameters_without_a_layer() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w, self.v = (nn.Parameter(torch.randn(8, n, 1, 1)) for n in (3, 8))
            self.head = nn.Conv2d(8, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = nn.functional.conv2d(x, self.w).relu()
            return self.head(nn.functional.conv2d(x, self.v).relu())

    graph = channel_groups(Bare(), torch.zeros(1, 3, 4, 4))
    assert [*graph.prunable()] == ["w", "v"]
    assert graph.groups["w"].consumers == ("v",)
    assert "w: 8 channels, read by v" in str(graph)


def test_layer_norm_is_over_the_channels_that_are_left() -> None:
    net = nn.Sequential(nn.Linear(1, 3, bias=False), nn.LayerNorm(3, eps=0), nn.Linear(3, 3))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0], [50.0], [3.0]]))
        net[2].weight.copy_(torch.eye(3))
        net[2].bias.zero_()
    one = torch.ones(1, 1)
    graph = channel_groups(net, one)
    assert graph.groups["0"].statistics
    kept = {"0": torch.tensor([0, 2])}
    slim = remove_filters(net, graph, kept)
    assert slim[1].normalized_shape == (2,)
    assert slim(one).tolist() == [[-1.0, 0.0, 1.0]]
    assert verify_removal(net, slim, graph, kept, one) == 0
    slim[1].bias.data += 1e-3
    with pytest.raises(PruningError, match="differs from the masked one"):
        verify_removal(net, slim, graph, kept, one)
