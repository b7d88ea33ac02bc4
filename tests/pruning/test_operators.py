"""Operators one by one: each network is cut, verified, trained, and loaded from its tensors."""

import copy
import warnings
from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 # torch's habit
from test_graph import Net, conv, reasons
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize
from torchvision.ops import DeformConv2d, roi_align

from secateur.models.shapes import shrink_to_state
from secateur.pruning.graph.groups import ChannelGraph
from secateur.pruning.graph.trace import channel_groups
from secateur.pruning.removal import mask_filters, remove_filters
from secateur.pruning.sparsity import prunable_weights
from secateur.pruning.verification import verify_removal

torch.set_num_threads(1)
PICTURES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))

Layers = dict[str, nn.Module | nn.Parameter]
Forward = Callable[[Net, Tensor], object]


def parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape))


def rows(x: Tensor) -> Tensor:
    """Features of the first picture's sign, by position: whole numbers below 5."""
    return (x[:, 0] > 0).long()


def features(net: Net, x: Tensor) -> Tensor:
    return net.a(x).mean((2, 3))


def last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


def steps(x: Tensor) -> Tensor:
    """Positions as steps of a sequence, (S, N, C)."""
    return x.flatten(2).permute(2, 0, 1)


def mixer(net: Net, x: Tensor) -> Tensor:
    """As in MLP-Mixer, (N, positions, channels)."""
    x = x + net.f(net.e(net.norm(x).transpose(1, 2)).relu()).transpose(1, 2)
    return x / (x.sum(2, keepdim=True).abs() + 1)


def boxes(x: Tensor) -> Tensor:
    return torch.tensor([[0, 0, 0, 4, 4.0], [1, 1, 1, 7, 7]], dtype=x.dtype, device=x.device)


# Layers, a forward pass of them, and each prunable group's producers with its units. a and c
# make 8 channels of the picture, b reads 8.
OPERATORS: dict[str, tuple[Layers, Forward, dict[tuple[str, ...], int]]] = {
    "grid sample": (
        {"grid": conv(8, 2)},
        lambda n, x: n.b(F.grid_sample(n.a(x), last(n.grid(n.c(x)).tanh()), align_corners=False)),
        {("a",): 8, ("c",): 8},
    ),
    "region of interest": (
        {},
        lambda n, x: n.b(roi_align(n.a(x), boxes(x), (3, 3))),
        {("a",): 8},
    ),
    "deformable convolution": (
        {"offset": conv(8, 18, 3), "d": DeformConv2d(8, 6, 3, padding=1), "e": conv(6, 2)},
        lambda n, x: n.e(n.d(n.a(x), n.offset(n.c(x)))),
        {("a",): 8, ("c",): 8, ("d",): 6},
    ),
    "deformable convolution of two offset groups": (
        {"offset": conv(8, 36, 3), "mask": conv(8, 18, 3), "e": conv(6, 2),
         "d": DeformConv2d(8, 6, 3, padding=1)},
        lambda n, x: n.e(n.d(n.a(x), n.offset(n.c(x)), n.mask(n.c(x)).sigmoid())),
        {("a",): 4, ("c",): 8, ("d",): 6},
    ),
    "deformable convolution between norms": (
        {"offset": conv(8, 18, 3), "d": DeformConv2d(8, 6, 3, padding=1), "e": conv(6, 2),
         "before": nn.GroupNorm(1, 8), "after": nn.GroupNorm(1, 6)},
        lambda n, x: n.e(n.after(n.d(n.before(n.a(x)), n.offset(n.c(x))))),
        {("a",): 8, ("c",): 8, ("d",): 6},
    ),
    "embedding": (
        {"e": nn.Embedding(5, 6), "d": nn.Linear(6, 2)},
        lambda n, x: n.d(n.e(rows(x)).tanh()),
        {("e",): 6},
    ),
    "embedding added to a map": (
        {"e": nn.Embedding(5, 8)},
        lambda n, x: n.b(n.a(x) + n.e(rows(x)[:, 0, 0])[:, :, None, None]),
        {("a", "e"): 8},
    ),
    "embedding of positions": (
        {"e": nn.Embedding(8, 8), "at": nn.Parameter(torch.arange(8), requires_grad=False)},
        lambda n, x: n.b(n.a(x) + n.e(n.at).t()[None, :, :, None]),
        {("a", "e"): 8},
    ),
    "embedding before a layer norm": (
        {"e": nn.Embedding(5, 6), "norm": nn.LayerNorm(6), "d": nn.Linear(6, 2)},
        lambda n, x: n.d(n.norm(n.e(rows(x)))),
        {("e",): 6},
    ),
    "bag of embeddings": (
        {"e": nn.EmbeddingBag(5, 6), "d": nn.Linear(6, 2)},
        lambda n, x: n.d(n.e(rows(x)[:, 0]).tanh()),
        {("e",): 6},
    ),
    "LSTM": (
        {"r": nn.LSTM(8, 5, 2, bidirectional=True), "d": nn.Linear(10, 2)},
        lambda n, x: n.d(n.r(steps(n.a(x)))[0]),
        {("a",): 8},
    ),
    "LSTM that reads columns of maps": (
        {"r": nn.LSTM(64, 5), "d": nn.Linear(5, 2)},
        lambda n, x: n.d(n.r(n.a(x).flatten(1, 2).permute(2, 0, 1))[0]),
        {("a",): 8},
    ),
    "LSTM after a layer norm": (
        {"norm": nn.LayerNorm(8), "r": nn.LSTM(8, 5), "d": nn.Linear(5, 2)},
        lambda n, x: n.d(n.r(n.norm(steps(n.a(x))))[0]),
        {("a",): 8},
    ),
    "GRU": (
        {"r": nn.GRU(8, 5, batch_first=True), "e": nn.Linear(5, 4), "d": nn.Linear(4, 2)},
        lambda n, x: n.d(n.e(n.r(n.a(x).flatten(2).transpose(1, 2))[0])),
        {("a",): 8, ("e",): 4},
    ),
    "RNN": (
        {"r": nn.RNN(8, 5), "d": nn.Linear(5, 2)},
        lambda n, x: n.d(n.r(steps(n.a(x)))[0]),
        {("a",): 8},
    ),
    "LSTM cell": (
        {"r": nn.LSTMCell(8, 5), "d": nn.Linear(5, 2)},
        lambda n, x: n.d(n.r(features(n, x))[0]),
        {("a",): 8},
    ),
    "GRU cell": (
        {"r": nn.GRUCell(8, 5), "state": nn.Linear(8, 5), "d": nn.Linear(5, 2)},
        lambda n, x: n.d(n.r(features(n, x), n.state(n.c(x).mean((2, 3))))),
        {("a",): 8, ("c",): 8},
    ),
    "matrix product": (
        {"w": parameter(8, 6), "d": nn.Linear(6, 2)},
        lambda n, x: n.d((last(n.a(x)) @ n.w).relu()),
        {("a",): 8, ("w",): 6},
    ),
    "matrix product between layer norms": (
        {"w": parameter(8, 6), "d": nn.Linear(6, 2), "before": nn.LayerNorm(8),
         "after": nn.LayerNorm(6)},
        lambda n, x: n.d(n.after(n.before(last(n.a(x))) @ n.w)),
        {("a",): 8, ("w",): 6},
    ),
    "transposed weights": (
        {"w": parameter(6, 8), "v": parameter(6, 4), "u": parameter(4), "d": nn.Linear(4, 2)},
        lambda n, x: n.d(F.linear(last(n.a(x)) @ n.w.t(), n.v.t(), n.u).relu()),
        {("a",): 8, ("w",): 6, ("v",): 4},
    ),
    "matrix on the left": (
        {"w": parameter(6, 8), "d": nn.Conv1d(6, 2, 1)},
        lambda n, x: n.d((n.w @ n.a(x).flatten(2)).relu()),
        {("a",): 8, ("w",): 6},
    ),
    "matrix that mixes positions": (
        {"w": parameter(64, 5), "d": nn.Conv1d(8, 2, 1)},
        lambda n, x: n.d((n.a(x).flatten(2) @ n.w).relu()),
        {("a",): 8},
    ),
    "linear layers over positions": (
        {"norm": nn.LayerNorm(8), "e": nn.Linear(64, 5), "f": nn.Linear(5, 64),
         "d": nn.Linear(8, 2)},
        lambda n, x: n.d(mixer(n, n.a(x).flatten(2).transpose(1, 2))),
        {("a",): 8},
    ),
    "product of the input": (
        {"w": parameter(3, 6), "d": nn.Linear(6, 2)},
        lambda n, x: n.d((last(x) @ n.w).relu()),
        {("w",): 6},
    ),
    "product of features": (
        {"w": parameter(8, 6), "d": nn.Linear(6, 2)},
        lambda n, x: n.d(torch.mm(features(n, x), n.w)),
        {("a",): 8, ("w",): 6},
    ),
    "einsum": (
        {"w": parameter(6, 8), "d": conv(6, 2)},
        lambda n, x: n.d(torch.einsum("nchw, oc -> nohw", n.a(x), n.w).relu()),
        {("a",): 8, ("w",): 6},
    ),
    "einsum of scales": (
        {"w": parameter(8)},
        lambda n, x: n.b(torch.einsum("c,nchw->nchw", n.w, n.a(x)).relu()),
        {("a",): 8},
    ),
    "einsum that mixes positions": (
        {"w": parameter(8, 8)},
        lambda n, x: n.b(torch.einsum("nchw,wv->nchv", n.a(x), n.w).relu()),
        {("a",): 8},
    ),
    "einsum of channels and positions": (
        {"w": parameter(8, 2, 3)},
        lambda n, x: torch.einsum("nchw,cdw->ndh", n.a(x)[..., :3], n.w).relu(),
        {("a",): 8},
    ),
    "einsum to one number": (
        {"w": parameter(8)},
        lambda n, x: torch.einsum("nchw,c->nhw", n.a(x), n.w).relu(),
        {("a",): 8},
    ),
    "transposed convolution of features": (
        {"e": nn.Linear(8, 64), "up": nn.ConvTranspose2d(4, 6, 4, 2, 1), "d": conv(6, 2)},
        lambda n, x: n.d(n.up(n.e(features(n, x)).view(len(x), -1, 4, 4))),
        {("a",): 8, ("e",): 4, ("up",): 6},
    ),
    "embedding of positions that is resized": (
        {"p": parameter(1, 8, 4, 4)},
        lambda n, x: n.b(n.a(x) + F.interpolate(n.p, (8, 8))),
        {("a",): 8},
    ),
    "embedding of positions that is scaled": (
        {"p": parameter(1, 8, 8, 8), "s": parameter(1)},
        lambda n, x: n.b(n.a(x) + n.p.flatten(2).view(1, -1, 8, 8) * n.s),
        {("a",): 8},
    ),
    "class token": (
        {"t": parameter(1, 1, 8), "p": parameter(1, 65, 8), "d": nn.Linear(8, 2)},
        lambda n, x: n.d(
            torch.cat([n.t.expand(len(x), -1, -1), n.a(x).flatten(2).transpose(1, 2)], 1) + n.p
        ),
        {("a",): 8},
    ),
}  # fmt: skip


def halves(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[:, : x.shape[1] // 2], x[:, x.shape[1] // 2 :]


def gate(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] * parts[1].sigmoid()


def first_quarter(net: Net, x: Tensor) -> Tensor:
    """As in FasterNet, whose partial convolutions read a part of the channels."""
    size = x.shape[1] // 4
    part, rest = x.split([size, x.shape[1] - size], 1)
    return torch.cat([net.d(part), rest], 1)


def shuffle(x: Tensor, groups: int) -> Tensor:
    """As in ShuffleNet."""
    n, channels, h, w = x.shape
    return x.view(n, groups, channels // groups, h, w).transpose(1, 2).reshape(n, -1, h, w)


def shuffle_back(x: Tensor, groups: int) -> Tensor:
    n, channels, h, w = x.shape
    return x.view(n, channels // groups, groups, h, w).transpose(1, 2).reshape(n, -1, h, w)


def split_attention(net: Net, x: Tensor) -> Tensor:
    """As in ResNeSt: a softmax over two parts, by which they are added."""
    x = net.a(x).relu()
    parts = x.view(len(x), 2, x.shape[1] // 2, 8, 8)
    means = net.e(net.d(parts.sum(1).mean((2, 3), keepdim=True)).relu())
    weights = means.view(len(x), 2, -1, 1, 1).softmax(1)
    return net.f((weights * parts).sum(1))


def maps_of_features(net: Net, x: Tensor) -> Tensor:
    """As in DCGAN."""
    x = net.norm(net.e(features(net, x)))
    x = net.norm2(x.reshape(len(x), x.shape[1] // 16, 4, 4))
    return net.d(net.up(x.relu()))


def attend(net: Net, x: Tensor) -> Tensor:
    """One of three parts of a linear layer's features, as queries, keys and values are."""
    x = net.qkv(last(net.a(x)).flatten(1, 2))
    q, k, v = x.reshape(len(x), 64, 3, 2, x.shape[2] // 6).permute(2, 0, 3, 1, 4).unbind(0)
    return net.d((q * k.sigmoid() + v).transpose(1, 2).flatten(2))


# As OPERATORS; sizes are read off a tensor.
SIZES: dict[str, tuple[Layers, Forward, dict[tuple[str, ...], int]]] = {
    "halves": ({"d": conv(4, 2)}, lambda n, x: n.d(gate(halves(n.a(x)))), {("a",): 4}),
    "split": (
        {"d": conv(4, 2)},
        lambda n, x: n.d(gate(n.a(x).split(n.a(x).shape[1] // 2, 1))),
        {("a",): 4},
    ),
    "parts in another order": (
        {},
        lambda n, x: n.b(torch.cat(halves(n.a(x))[::-1], 1)),
        {("a",): 4},
    ),
    "last half": (
        {"d": conv(4, 2)},
        lambda n, x: n.d(n.a(x)[:, -(n.a(x).shape[1] // 2) :]),
        {("a",): 4},
    ),
    "narrow": (
        {"d": conv(4, 2)},
        lambda n, x: n.d(n.a(x).narrow(1, n.a(x).shape[1] // 2, n.a(x).shape[1] // 2)),
        {("a",): 4},
    ),
    "a quarter and the rest": (
        {"d": conv(2, 2)},
        lambda n, x: n.b(first_quarter(n, n.a(x))),
        {("a",): 2, ("d",): 2},
    ),
    "tensor split": ({"d": conv(4, 2)}, lambda n, x: n.d(gate(n.a(x).tensor_split(2, 1))),
                     {("a",): 4}),
    "tensor split at bounds": (
        {"d": conv(4, 2)},
        lambda n, x: n.d(gate(n.a(x).tensor_split([n.a(x).shape[1] // 2], 1))),
        {("a",): 4},
    ),
    "shuffle": ({}, lambda n, x: n.b(shuffle(n.a(x), 2)), {("a",): 4}),
    "shuffle between grouped convolutions": (
        {"d": conv(8, 8, groups=2)},
        lambda n, x: n.b(n.d(shuffle(n.a(x), 2))),
        {("a",): 2, ("d",): 4},
    ),
    "split attention": (
        {"d": conv(4, 6), "e": conv(6, 8), "f": conv(4, 2)},
        split_attention,
        {("a", "e"): 4, ("d",): 6},
    ),
    "transposed convolution of features": (
        {"e": nn.Linear(8, 64), "norm": nn.BatchNorm1d(64), "norm2": nn.BatchNorm2d(4),
         "up": nn.ConvTranspose2d(4, 6, 4, 2, 1), "d": conv(6, 2)},
        maps_of_features,
        {("a",): 8, ("e",): 4, ("up",): 6},
    ),
    "maps that a layer lays out": (
        {"e": nn.Linear(8, 64), "unflatten": nn.Unflatten(1, (-1, 4, 4)),
         "up": nn.ConvTranspose2d(4, 6, 4, 2, 1), "d": conv(6, 2)},
        lambda n, x: n.d(n.up(n.unflatten(n.e(features(n, x))))),
        {("a",): 8, ("e",): 4, ("up",): 6},
    ),
    "queries, keys and values": (
        {"qkv": nn.Linear(8, 24), "d": nn.Linear(8, 2)},
        attend,
        {("a",): 8, ("qkv",): 4},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_sizes_that_are_read_off_a_tensor(name: str) -> None:
    check_case(*SIZES[name])


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        # These run with fewer channels, and take others.
        (lambda n, x: n.b(torch.cat(n.a(x).split(4, 1)[::-1], 1)), "split takes channels by their"),
        (
            lambda n, x: n.b(torch.cat([n.a(x)[:, 4:], n.a(x)[:, :4]], 1)),
            "slice_1 takes channels by their positions",
        ),
        (lambda n, x: n.b(shuffle_back(n.a(x), 2)), "view takes channels by their positions"),
        # These do not.
        (lambda n, x: n.d(gate(n.a(x).split(4, 1))), "counts on all of these channels"),
        (lambda n, x: n.d(n.a(x)[:, 4:]), "counts on all of these channels"),
        # These are not parts of one size.
        (lambda n, x: n.d(n.a(x)[:, ::2]), "slice_1 takes channels by their positions"),
        (lambda n, x: n.d(n.a(x)[:, 1:5]), "slice_1 takes channels by their positions"),
        (lambda n, x: n.b(n.a(x).roll(1, 1)), "roll takes channels by their positions"),
    ],
)
def test_sizes_that_stand_in_the_code(forward: Forward, reason: str) -> None:
    net = Net(forward, a=conv(3, 8), b=conv(8, 2), d=conv(4, 2))
    assert reason in reasons(channel_groups(net, PICTURES))["a"]


def test_sizes_that_stand_in_the_code_of_training() -> None:
    class Auxiliary(nn.Module):
        def __init__(self, size: int | None) -> None:
            super().__init__()
            self.a, self.b, self.c = conv(3, 8), conv(8, 2), conv(8, 2)
            self.size = size

        def forward(self, x: Tensor) -> object:
            x = self.a(x)
            if not self.training:
                return self.b(x)
            size = self.size or x.shape[1] // 2
            return self.b(x), self.c(torch.cat([x[:, size:], x[:, :size]], 1))

    assert channel_groups(Auxiliary(None), PICTURES).prunable()["a"].units == 4
    fixed = reasons(channel_groups(Auxiliary(4), PICTURES))["a"]
    assert "takes channels by their positions" in fixed


def test_shuffles_that_leave_nothing_to_remove_are_named() -> None:
    """Parts of seven channels and of two have no common unit but all."""
    net = Net(lambda n, x: n.d(shuffle(shuffle(n.a(x), 2), 7)), a=conv(3, 14), d=conv(14, 2))
    graph = channel_groups(net, PICTURES)
    assert reasons(graph)["a"] == "its channels could only be removed all together"


class Shuffled(nn.Module):
    """Channels of two layers in an order that a buffer holds, or a list."""

    order: Tensor

    def __init__(self, order: list[int], *, persistent: bool = True) -> None:
        super().__init__()
        self.a, self.c, self.b = conv(3, 2), conv(3, 3), conv(5, 2)
        self.norm = nn.GroupNorm(1, 5)
        self.register_buffer("order", torch.tensor(order), persistent=persistent)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.a(x), self.c(x)], 1)
        return self.b(self.norm(x.index_select(1, self.order)) + x[:, self.order])


def test_permutation_in_a_buffer_is_renumbered() -> None:
    torch.manual_seed(0)
    net = Shuffled([4, 0, 3, 1, 2])
    graph = channel_groups(net, PICTURES)
    assert graph.prunable().keys() == {"a", "c"}
    kept = {"a": torch.tensor([1]), "c": torch.tensor([0, 2])}
    slim = remove_filters(net, graph, kept)
    # Of the channels 0 to 4, those of 1, 2 and 4 are left, in the order 4, 1, 2.
    assert slim.order.tolist() == [2, 0, 1]
    assert verify_removal(net, slim, graph, kept, PICTURES) < 1e-12
    loaded = shrink_to_state(Shuffled([0, 1, 2, 3, 4]), slim.state_dict())
    torch.testing.assert_close(loaded(PICTURES), slim(PICTURES))


@pytest.mark.parametrize(
    ("net", "reason"),
    [
        (Shuffled([4, 0, 3, 1, 2], persistent=False), "is a buffer that no file"),
        (Shuffled([4, 0, 3, 1, 1]), "takes channels by their positions"),
    ],
)
def test_other_orders_are_fixed_and_named(net: nn.Module, reason: str) -> None:
    graph = channel_groups(net, PICTURES)
    assert graph.prunable() == {}
    assert reason in reasons(graph)["a"]


class Standardised(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        w = self.weight
        w = w - w.mean((1, 2, 3), keepdim=True)
        return self._conv_forward(x, w / (w.std((1, 2, 3), keepdim=True) + 1e-5), self.bias)


class StandardisedByBatchNorm(nn.Conv2d):
    """As in timm."""

    def __init__(self, channels: int, filters: int) -> None:
        super().__init__(channels, filters, 3, padding=1)
        self.gain = nn.Parameter(torch.rand(filters, 1, 1, 1) + 0.5)
        self.scale = self.weight[0].numel() ** -0.5

    def forward(self, x: Tensor) -> Tensor:
        rows = self.weight.reshape(1, self.out_channels, -1)
        gain = (self.gain * self.scale).view(-1)
        w = F.batch_norm(rows, None, None, weight=gain, training=True, momentum=0.0, eps=1e-6)
        return self._conv_forward(x, w.reshape_as(self.weight), self.bias)


class UnitFilters(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        w = F.normalize(self.weight.flatten(1), dim=1)
        return self._conv_forward(x, w.view_as(self.weight), self.bias)


class LowRank(nn.Conv2d):
    def __init__(self, channels: int, filters: int) -> None:
        super().__init__(channels, filters, 1)
        self.down, self.up = parameter(3, channels), parameter(filters, 3)

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight + 0.5 * (self.up @ self.down)[:, :, None, None]
        return self._conv_forward(x, w, None if self.bias is None else self.bias * 2)


def up(channels: int, filters: int) -> nn.Module:
    return nn.ConvTranspose2d(channels, filters, 3, padding=1)


def old_weight_norm(channels: int, filters: int) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it is deprecated, and widely used
        return nn.utils.weight_norm(conv(channels, filters, 3))


COMPUTED: dict[str, Callable[[int, int], nn.Module]] = {
    "weight norm": lambda a, b: parametrizations.weight_norm(conv(a, b, 3)),
    "weight norm of all": lambda a, b: parametrizations.weight_norm(conv(a, b, 3), dim=None),
    "weight norm, transposed": lambda a, b: parametrizations.weight_norm(up(a, b)),
    "weight norm, transposed, of filters": lambda a, b: parametrizations.weight_norm(
        up(a, b), dim=1
    ),
    "old weight norm": old_weight_norm,
    "spectral norm": lambda a, b: parametrizations.spectral_norm(conv(a, b, 3)),
    "spectral norm, transposed": lambda a, b: parametrizations.spectral_norm(up(a, b)),
    "old spectral norm": lambda a, b: nn.utils.spectral_norm(conv(a, b, 3)),
    "standardised": lambda a, b: Standardised(a, b, 3, padding=1),
    "standardised by batch norm": StandardisedByBatchNorm,
    "filters of length one": lambda a, b: UnitFilters(a, b, 3, padding=1),
    "low rank": LowRank,
}


def half(graph: ChannelGraph) -> dict[str, Tensor]:
    """Keep every other unit."""
    return {
        name: g.channels_of(torch.arange(0, g.units, 2)) for name, g in graph.prunable().items()
    }


def check(net: nn.Module, graph: ChannelGraph, fresh: nn.Module) -> None:
    """Cut half of every group; verify, train, and load into a fresh network."""
    kept = half(graph)
    slim = remove_filters(net, graph, kept)
    assert verify_removal(net, slim, graph, kept, PICTURES) < 1e-12
    dense, given = net.eval()(PICTURES), slim.eval()(PICTURES)
    assert not torch.allclose(dense, given)
    loaded = shrink_to_state(fresh, slim.state_dict()).eval()
    torch.testing.assert_close(loaded(PICTURES), given)
    slim.train()(PICTURES).square().sum().backward()


@pytest.mark.parametrize("name", OPERATORS)
def test_operator_is_cut(name: str) -> None:
    check_case(*OPERATORS[name])


def check_case(layers: Layers, forward: Forward, groups: dict[tuple[str, ...], int]) -> None:
    torch.manual_seed(0)
    net = Net(forward, a=conv(3, 8), b=conv(8, 2), c=conv(3, 8), **copy.deepcopy(layers))
    for weight in net.parameters():
        if weight.is_floating_point():
            nn.init.normal_(weight)
    graph = channel_groups(net, PICTURES)
    assert {g.producers: g.units for g in graph.prunable().values()} == groups
    check(net, graph, copy.deepcopy(net))


@pytest.mark.parametrize("name", COMPUTED)
def test_computed_weights_are_cut(name: str) -> None:
    torch.manual_seed(0)

    def build() -> nn.Module:
        layer = COMPUTED[name]
        inner = (layer(8, 6), nn.ReLU(), layer(6, 4), nn.ReLU())
        return nn.Sequential(conv(3, 8), nn.ReLU(), *inner, conv(4, 2))

    net = build()
    net(PICTURES)  # so that a spectral norm has an estimate
    graph = channel_groups(net, PICTURES)
    assert [(g.name, g.producers, g.consumers) for g in graph.prunable().values()] == [
        ("0", ("0",), ("2",)),
        ("2", ("2",), ("4",)),
        ("4", ("4",), ("6",)),
    ]
    check(net, graph, build())


@pytest.mark.parametrize("name", ["weight norm", "spectral norm", "standardised by batch norm"])
def test_computed_weights_between_layer_norms(name: str) -> None:
    torch.manual_seed(0)

    def build() -> nn.Module:
        middle = (nn.GroupNorm(1, 8), COMPUTED[name](8, 6), nn.GroupNorm(1, 6))
        return nn.Sequential(conv(3, 8), *middle, conv(6, 2))

    net = build()
    graph = channel_groups(net, PICTURES)
    assert graph.prunable().keys() == {"0", "2"}
    assert all(group.statistics for group in graph.prunable().values())
    check(net, graph, build())


@pytest.mark.parametrize("options", [{"groups": 6}, {"groups": 2}])
def test_weight_norm_of_grouped_convolutions(options: dict[str, int]) -> None:
    torch.manual_seed(0)

    def build() -> nn.Module:
        grouped = parametrizations.weight_norm(conv(6, 6, 3, **options))
        return nn.Sequential(conv(3, 6), nn.ReLU(), grouped, nn.ReLU(), conv(6, 2))

    net = build()
    graph = channel_groups(net, PICTURES)
    assert len(graph.prunable()) == (1 if options["groups"] == 6 else 2)
    check(net, graph, build())


def test_weight_norm_is_made_sparse_by_its_lengths() -> None:
    """A direction has no magnitude: zeros in all of it would be no number."""
    layer = parametrizations.weight_norm(conv(8, 6))
    net = nn.Sequential(conv(3, 8), layer, conv(6, 2))
    graph = channel_groups(net, PICTURES)
    lengths, direction = (f"1.parametrizations.weight.original{i}" for i in (0, 1))
    assert graph.groups["1"].of_role("producer")[0].name == lengths
    assert graph.directions == {direction}
    weights = prunable_weights(net, graph)
    assert any(weight is net.get_parameter(lengths) for weight in weights)
    assert not any(weight is net.get_parameter(direction) for weight in weights)
    masked = mask_filters(net, graph, half(graph))
    assert masked(PICTURES).isfinite().all()


def test_look_at_a_spectral_norm_does_not_change_its_estimate() -> None:
    net = nn.Sequential(conv(3, 8), parametrizations.spectral_norm(conv(8, 6)), conv(6, 2)).train()
    net(PICTURES)
    graph = channel_groups(net, PICTURES)
    slim = remove_filters(net, graph, half(graph))
    names = ("1.parametrizations.weight.0._u", "1.parametrizations.weight.0._v")
    for name in names:
        assert slim.get_buffer(name).tolist() == net.get_buffer(name)[::2].tolist()


def test_weights_are_plain_after_the_norm_is_removed() -> None:
    net = nn.Sequential(conv(3, 8), parametrizations.weight_norm(conv(8, 6)), conv(6, 2)).eval()
    graph = channel_groups(net, PICTURES)
    slim = remove_filters(net, graph, half(graph))
    wanted = slim(PICTURES)
    parametrize.remove_parametrizations(slim[1], "weight")
    assert slim[1].weight.shape == (3, 4, 1, 1)
    torch.testing.assert_close(slim(PICTURES), wanted)


def modulated(net: Net, x: Tensor) -> object:
    style = net.style(x.mean((2, 3))).mean(0)
    return net.b(F.conv2d(net.a(x), net.w * style[None, :, None, None]))


@pytest.mark.parametrize(
    ("forward", "layers", "reason"),
    [
        (modulated, {"style": nn.Linear(3, 8), "w": parameter(8, 8, 1, 1)}, "weights are computed"),
        (
            lambda n, x: n.b(n.w(n.a(x))),
            {"w": parametrizations.orthogonal(conv(8, 8))},
            "weights are computed",
        ),
        (
            lambda n, x: n.b(F.conv2d(n.a(x), n.w[:8])),
            {"w": parameter(9, 8, 1, 1)},
            "weights are computed",
        ),
        (
            lambda n, x: torch.einsum("nchw,cdk->ndkhw", n.a(x), n.w),
            {"w": parameter(8, 2, 3)},
            "aten.einsum.default is not known",
        ),
        (
            lambda n, x: torch.einsum("...hw,cd->...h", n.a(x), n.w),
            {"w": parameter(8, 2)},
            "aten.einsum.default is not known",
        ),
        (lambda n, x: n.a(x) @ n.a(x), {}, "aten.matmul.default is not known"),
        (lambda n, x: n.b(roi_align(n.c(x), n.a(x).mean((2, 3))[:, :5], 3)), {}, "by their posi"),
        (
            lambda n, x: n.r(steps(n.c(x)), n.a(x).mean((2, 3))[None].expand(1, 2, 8))[0],
            {"r": nn.GRU(8, 8)},
            "its units are those of its gates",
        ),
    ],
)
def test_what_cannot_be_cut_is_fixed_and_named(
    forward: Forward, layers: Layers, reason: str
) -> None:
    net = Net(forward, a=conv(3, 8), b=conv(8, 2), c=conv(3, 8), **copy.deepcopy(layers))
    assert reason in reasons(channel_groups(net, PICTURES))["a"]
