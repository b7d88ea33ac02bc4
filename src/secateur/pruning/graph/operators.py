"""Rules for operators that do more to channels than move values or work element by element.

An operator that is in none of these tables fixes the channels that it reads.
"""

import itertools
import operator
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

import torch
import torchvision.ops  # noqa: F401 # registers its operators
from torch import Tensor, fx, nn

from secateur.pruning.graph.labels import NONE, along, compact, varying
from secateur.pruning.graph.layers import (
    convolve,
    deform,
    einsum,
    embed,
    multiply,
    normalise,
    normalise_groups,
    normalise_within,
    prelu,
    recur,
)
from secateur.pruning.graph.nodes import argument

if TYPE_CHECKING:
    from secateur.pruning.graph.flow import Flow

aten = torch.ops.aten


def _pool(flow: "Flow", node: fx.Node) -> Any:
    """Pooling and resizing treat each channel separately."""
    x = cast(fx.Node, node.args[0])
    (rank,) = re.findall(r"([123])d", str(node.target))
    dim = x.meta["val"].dim() - int(rank) - 1
    into = flow.channels(flow.read(x, dim), dim)
    if into is None:
        return flow.unknown(node, f"{node.name}: its channels are mixed with positions")
    values = node.meta["val"]
    if isinstance(values, Tensor):
        return along(into, dim, values.shape)
    return [along(into, dim, value.shape) for value in values]


def _sample(flow: "Flow", node: fx.Node) -> Any:
    """Values at places that the other inputs name, for each channel separately."""
    x, *places = node.all_input_nodes
    into = flow.channels(flow.read(x), 1)
    for place in places:
        flow.forest.fix(flow.read(place), f"{node.name} reads places, not channels")
    if into is None:
        return flow.unknown(node, f"{node.name}: its channels are mixed with positions")
    return along(into, 1, node.meta["val"].shape)


def _take(flow: "Flow", node: fx.Node) -> Any:
    """A permutation in a buffer is cut with the channels that it names, and renumbered."""
    x, places = node.all_input_nodes
    labels = flow.read(x)
    dim = node.args[1]
    if isinstance(dim, list | tuple):  # x[:, places]
        dim = next(i for i, each in enumerate(dim) if each is not None)
    dim = cast(int, dim) % labels.dim()
    shape = node.meta["val"].shape
    if dim not in varying(labels):
        flow.forest.fix(flow.read(places), f"{node.name} reads places, not channels")
        return (
            _expand(labels, shape)
            if len(shape) == labels.dim()
            else flow.unknown(node, f"{node.name} cannot be followed")
        )
    into, name = flow.channels(labels, dim), flow.sources.get(places)
    if into is None or name is None or not _is_permutation(flow.tensors[name], len(into)):
        return flow.unknown(node, f"{node.name} takes channels by their positions")
    out = into[flow.tensors[name].cpu()]
    flow.read_by(out, flow.dimension(name, 0, "follower"))
    flow.permutations.add(name)
    return along(out, dim, shape)


def _index(flow: "Flow", node: fx.Node) -> Any:
    """``x[:, places]``, with one tensor of places."""
    places = [each for each in cast(list[Any], node.args[1]) if each is not None]
    values = [each.meta["val"] for each in places]
    if len(values) == 1 and values[0].dim() == 1 and values[0].dtype != torch.bool:
        return _take(flow, node)
    return flow.unknown(node, f"the operator {node.target} is not known to keep channels apart")


def _is_permutation(values: Tensor, size: int) -> bool:
    return (
        not (values.is_meta or values.is_floating_point())
        and values.shape == (size,)
        and torch.equal(values.sort()[0].cpu(), torch.arange(size).to(values.dtype))
    )


def _pad(flow: "Flow", node: fx.Node) -> Any:
    """Padding of positions does not affect channels; padded zero channels belong to no group."""
    labels = flow.read(cast(fx.Node, node.args[0]))
    pads = cast(list[int], node.args[1])
    padded = {labels.dim() - 1 - i // 2 for i, pad in enumerate(pads) if pad != 0}
    shape = node.meta["val"].shape
    if not padded & set(varying(labels)):
        return _expand(labels, shape)
    if argument(node, "mode", "constant") != "constant":
        return flow.unknown(node, f"{node.name} pads channels with others")
    (small,) = compact(labels)
    inner = [
        pad if labels.dim() - 1 - i // 2 in varying(labels) else 0 for i, pad in enumerate(pads)
    ]
    return _expand(nn.functional.pad(small, inner, value=NONE), shape)


def _concatenate(flow: "Flow", node: fx.Node) -> Any:
    """Labels are concatenated along channels and united along positions."""
    shape = node.meta["val"].shape
    parts = [flow.read(n) for n in cast(list[fx.Node], node.args[0])]
    dim = cast(int, argument(node, "dim", 0)) % len(shape)
    if node.target == aten.stack.default:
        parts = [part.unsqueeze(dim) for part in parts]
    parts = [part for part in parts if part.dim() == len(shape)]  # empty ones may be flat
    spans = {d for part in parts for d in varying(part)}
    if spans <= {dim}:
        one = tuple(slice(None if d == dim else 1) for d in range(len(shape)))
        return _expand(torch.cat([part[one] for part in parts], dim), shape)
    if dim in spans:
        return flow.unknown(node, f"{node.name}: its channels are mixed with positions")
    slices = [part.narrow(dim, 0, 1) for part in parts]
    result = slices[0]
    for each in slices[1:]:
        result = flow.join(node, result, each)
    return _expand(result, shape)


def _chunk(flow: "Flow", node: fx.Node) -> Any:
    """Equal parts remain equal if each loses the same channels."""
    if not isinstance(node.args[1], int):  # their bounds
        return flow.move(node)
    labels = flow.read(cast(fx.Node, node.args[0]))
    count, dim = node.args[1], cast(int, argument(node, "dim", 0)) % labels.dim()
    if dim not in varying(labels):
        return [_expand(labels.narrow(dim, 0, 1), value.shape) for value in node.meta["val"]]
    if labels.shape[dim] % count:
        return flow.unknown(node, f"{node.name} takes channels by their positions")
    parts = labels.chunk(count, dim)
    for part in parts[1:]:
        flow.forest.unite(parts[0], part)
    return list(parts)


def _gate(flow: "Flow", node: fx.Node) -> Any:
    """A gated linear unit multiplies two halves."""
    labels = flow.read(cast(fx.Node, node.args[0]))
    first, second = labels.chunk(2, cast(int, argument(node, "dim", -1)))
    flow.forest.unite(first, second)
    return first


def _shuffle_channels(flow: "Flow", node: fx.Node) -> Any:
    """Every group loses the same channels, which preserves the order of the kept ones."""
    into = flow.channels(flow.read(cast(fx.Node, node.args[0])), 1)
    if into is None:
        return flow.unknown(node, f"{node.name}: its channels are mixed with positions")
    rows = into.reshape(cast(int, node.args[1]), -1)
    flow.forest.unite(rows, rows[0])
    return along(rows.t().flatten(), 1, node.meta["val"].shape)


def _shuffle_pixels(flow: "Flow", node: fx.Node) -> Any:
    """Channels that become one map are removed together."""
    labels = flow.read(cast(fx.Node, node.args[0]))
    dim = labels.dim() - 3
    into = flow.channels(labels, dim)
    if into is None:
        return flow.unknown(node, f"{node.name}: its channels are mixed with positions")
    maps = into.reshape(-1, cast(int, node.args[1]) ** 2)
    flow.forest.unite(maps, maps[:, :1])
    return along(maps[:, 0], dim, node.meta["val"].shape)


def _unfold(flow: "Flow", node: fx.Node) -> Any:
    """Each channel becomes one row for each position of the kernel."""
    labels = flow.read(cast(fx.Node, node.args[0]))
    into = flow.channels(labels, 1) if labels.dim() == 4 else None
    if into is None:
        return flow.unknown(node, f"{node.name}: its channels are mixed with positions")
    shape = node.meta["val"].shape
    return along(into.repeat_interleave(shape[1] // len(into)), 1, shape)


def _within(flow: "Flow", node: fx.Node) -> Any:
    """Softmax and running sums mix values along one dimension."""
    labels = flow.read(cast(fx.Node, node.args[0]))
    if not labels.dim():
        return labels
    dim = argument(node, "dim", -1) % labels.dim()
    labels = flow.level(labels, {dim})
    if dim in varying(labels):
        flow.forest.fix(labels, f"{node.name} works on all its channels together")
    return labels


def _reduce(flow: "Flow", node: fx.Node) -> Any:
    """Reductions over positions keep channels apart; those over channels omit what is removed.

    The removal of a channel that is zero does not change a sum or a norm. It changes a mean, which
    divides by the number of channels.
    """
    source = cast(fx.Node, node.args[0])
    labels = flow.read(source)
    value = node.meta["val"]
    results = [value] if isinstance(value, Tensor) else list(value)
    dims = argument(node, "dim", None)
    dims = [dims] if isinstance(dims, int) else dims or range(labels.dim())
    dims = {d % labels.dim() for d in dims if labels.dim()}
    labels = flow.level(labels, dims)
    left = [d for d in varying(labels) if d not in dims]
    if not dims & set(varying(labels)):
        kept = labels[tuple(slice(0, 1) if d in dims else slice(None) for d in range(labels.dim()))]
        if results[0].dim() < labels.dim():
            kept = kept[tuple(0 if d in dims else slice(None) for d in range(labels.dim()))]
        return kept if isinstance(value, Tensor) else [kept for _ in results]
    is_sum = node.target in (aten.sum.dim_IntList, aten.sum.default)
    is_norm = node.target == aten.linalg_vector_norm.default
    blind = is_sum or (is_norm and argument(node, "ord", 2) in (1, 2))
    # Two dimensions of different channels are none that a sum over one of them leaves whole.
    if left or not (blind or node.target in STATISTICS) or _takes_indices(node):
        return flow.unknown(node, f"{node.name} reduces over channels")
    if not blind or source not in flow.zero:
        flow.omit(labels)
    return flow.foreign(node, f"{node.name} is a statistic over channels")


def _takes_indices(node: fx.Node) -> bool:
    """Say whether the positions of a maximum are used, which change with the channels."""
    return node.target in _WITH_INDICES and any(
        user.target != operator.getitem or (user.args[1] != 0 and user.users) for user in node.users
    )


def _spread(flow: "Flow", node: fx.Node) -> Any:
    """Copies along a dimension are the same for all channels."""
    labels = flow.read(cast(fx.Node, node.args[0]))
    shape = node.meta["val"].shape
    flow.note_copies(node, labels.shape)
    return labels.expand(shape)


def _pass(flow: "Flow", node: fx.Node) -> Any:
    """Copies, casts, new values of the same shape, and operators that are random in training."""
    return flow.read(cast(fx.Node, node.args[0]))


def _expand(labels: Tensor, shape: torch.Size) -> Tensor:
    """Expand labels to a shape, whose size may differ where the labels do not vary."""
    spans = varying(labels)
    small = labels[tuple(slice(None) if d in spans else slice(0, 1) for d in range(labels.dim()))]
    return small.expand(shape)


def stays_zero(flow: "Flow", node: fx.Node) -> bool:
    """Say whether this value is zero for every channel that is masked where it is produced."""
    rule = RULES.get(node.target)
    if rule in (convolve, deform, embed):
        return True
    if rule is multiply:
        return any(n in flow.zero or n in flow.sources for n in node.all_input_nodes)
    if rule in (normalise, normalise_groups) and isinstance(
        argument(node, "weight", None), fx.Node
    ):
        return True
    tensors = node.all_input_nodes
    if node.target in _SUMS:
        return all(n in flow.zero for n in tensors) and isinstance(node.args[1], fx.Node)
    if node.target == aten.pow.Tensor_Scalar and not cast(float, node.args[1]) > 0:
        return False
    if node.target == aten.pad.default and argument(node, "value", None):
        return False
    if node.target in MOVING or rule is _concatenate:
        return all(n in flow.zero for n in tensors)
    if node.target in _PRODUCTS:
        return any(n in flow.zero for n in tensors)
    if node.target in (aten.ones_like.default, aten.full_like.default):
        return False
    if node.target in _KEEPS_ZERO or rule in _KEEP_ZERO:
        return tensors[0] in flow.zero
    return False


def _overloads(*names: str) -> Iterator[Any]:
    for name in names:
        packet = getattr(aten, name, None)
        yield from () if packet is None else (getattr(packet, o) for o in packet.overloads())


def _rules() -> Iterator[tuple[Callable[["Flow", fx.Node], Any], tuple[str, ...]]]:
    ranks = (1, 2, 3)
    yield convolve, ("linear", *(f"conv{t}{n}d" for t in ("", "_transpose") for n in ranks))
    yield normalise, ("batch_norm", "instance_norm")
    yield normalise_groups, ("group_norm",)
    yield normalise_within, ("layer_norm", "rms_norm")
    yield _within, ("softmax", "log_softmax", "cumsum", "cumprod")
    yield prelu, ("prelu",)
    yield multiply, ("matmul", "mm", "bmm")
    yield einsum, ("einsum",)
    yield embed, ("embedding", "embedding_bag")
    yield recur, ("lstm", "gru", "rnn_tanh", "rnn_relu")
    yield recur, ("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
    yield _sample, ("grid_sampler",)
    yield _take, ("index_select",)
    yield (
        _pool,
        tuple(
            f"{kind}{n}d{tail}"
            for n in ranks
            for kind, tail in (
                *(("max_pool", tail) for tail in ("", "_with_indices")),
                *((f"adaptive_{kind}_pool", "") for kind in ("avg", "max")),
                ("avg_pool", ""),
                *((f"upsample_{kind}", "") for kind in ("nearest", "bicubic", "bilinear")),
                *((f"upsample_{kind}", "") for kind in ("linear", "trilinear")),
                ("_upsample_nearest_exact", ""),
                *((f"_upsample_{kind}", "_aa") for kind in ("bilinear", "bicubic")),
                *((f"{kind}_pad", "") for kind in ("reflection", "replication")),
            )
        ),
    )
    yield _pad, ("pad", "constant_pad_nd")
    yield _concatenate, ("cat", "stack")
    yield _chunk, ("chunk", "tensor_split")
    yield _gate, ("glu",)
    yield _shuffle_channels, ("channel_shuffle",)
    yield _shuffle_pixels, ("pixel_shuffle",)
    yield _unfold, ("im2col",)
    yield _spread, ("expand", "expand_as")
    yield _reduce, ("amax", "amin", "linalg_vector_norm", "logsumexp", "argmax", "argmin")
    yield (
        _pass,
        (
            *(f"{kind}{tail}" for kind in ("dropout", "alpha_dropout", "feature_dropout",
              "feature_alpha_dropout", "rrelu") for tail in ("", "_")),
            *("clone", "contiguous", "to", "_to_copy", "type_as", "detach", "alias"),
            *("lift_fresh_copy", "zeros_like", "ones_like", "full_like"),
        ),
    )  # fmt: skip


RULES: dict[Any, Callable[["Flow", fx.Node], Any]] = {
    **{overload: rule for rule, names in _rules() for overload in _overloads(*names)},
    **{
        getattr(packet, overload): _reduce
        for packet, overloads in {
            aten.mean: ("dim", "default"),
            aten.sum: ("dim_IntList", "default"),
            aten.prod: ("dim_int", "default"),
            aten.max: ("dim", "default"),
            aten.min: ("dim", "default"),
            aten.var: ("dim", "correction", "default"),
            aten.std: ("dim", "correction", "default"),
            aten.var_mean: ("dim", "correction", "default"),
            aten.std_mean: ("dim", "correction", "default"),
        }.items()
        for overload in overloads
    },
    aten.index.Tensor: _index,
    torch.ops.torchvision.deform_conv2d.default: deform,
    torch.ops.torchvision.roi_align.default: _sample,
    aten._assert_tensor_metadata.default: lambda flow, node: None,  # noqa: ARG005
}

# Views that name the sizes of their result.
VIEWS = {aten.view.default, aten._unsafe_view.default, aten.reshape.default}

# Movers that index channels by position, and so take others after a removal.
AT_POSITIONS = set(
    _overloads(
        *("slice", "select", "narrow", "split", "split_with_sizes", "unbind", "roll", "unfold"),
        *("tensor_split",),
    )
)

# Movers that take one index of a dimension, or each one.
ONE_INDEX = {aten.select.int, aten.unbind.int}


def _bounds(node: fx.Node) -> tuple[fx.Node, int, list[int]]:
    """Return what is cut into parts, the dimension, and the positions of the cuts."""
    x = cast(fx.Node, node.args[0])
    shape = x.meta["val"].shape
    dim = cast(int, argument(node, "dim", 0)) % len(shape)
    size = shape[dim]
    if node.target in (aten.slice.Tensor, aten.narrow.default):
        start = cast(int, argument(node, "start", 0) or 0)
        end = argument(node, "end", None)
        end = start + argument(node, "length", size) if end is None else end
        stepped = argument(node, "step", 1) != 1
        return x, dim, [1] if stepped else [_at(start, size), _at(end, size)]
    if node.target == aten.tensor_split.indices:
        return x, dim, [_at(index, size) for index in cast(list[int], node.args[1])]
    return x, dim, list(itertools.accumulate(part.shape[dim] for part in node.meta["val"]))


def _at(index: int, size: int) -> int:
    return max(0, index + size) if index < 0 else min(index, size)


# Operators that cut a dimension into parts whose sizes are numbers in the trace.
BOUNDS = dict.fromkeys(
    (
        *(aten.slice.Tensor, aten.narrow.default, aten.tensor_split.indices),
        *_overloads("split", "split_with_sizes"),
    ),
    _bounds,
)

UNFLATTEN = aten.unflatten.int

MOVING = {
    *VIEWS,
    *AT_POSITIONS,
    UNFLATTEN,
    *_overloads("permute", "transpose", "t", "flatten", "squeeze", "unsqueeze", "movedim"),
    *_overloads("repeat", "tile", "flip", "pixel_unshuffle", "repeat_interleave", "swapaxes"),
}

# Element-wise operators that torch does not tag as pointwise.
ELEMENTWISE = set(_overloads("hardswish", "hardswish_", "mish_", "log_sigmoid"))

# Values that are the same everywhere.
UNIFORM = set(
    _overloads(
        *("zeros", "ones", "full", "new_zeros", "new_ones", "new_full", "scalar_tensor"),
    )
)

# Element-wise operators that map zero to zero.
_KEEPS_ZERO = set(
    _overloads(
        *(f"{kind}{tail}" for kind in ("relu", "leaky_relu", "silu", "gelu", "hardswish", "mish",
          "elu", "selu", "celu", "tanh", "abs", "neg", "sqrt", "square") for tail in ("", "_")),
        *("prelu", "expand", "expand_as"),
    )
) | {aten.pow.Tensor_Scalar, aten.div.Tensor}  # fmt: skip
_WITH_INDICES = {aten.max.dim, aten.min.dim}
# Reductions that verification can compute without the removed channels.
STATISTICS = _WITH_INDICES | set(
    _overloads("mean", "sum", "var", "std", "var_mean", "amax", "amin", "linalg_vector_norm")
) | {aten.max.default, aten.min.default}  # fmt: skip
_KEEP_ZERO = (_sample, _take, _index, _pool, _pad, _pass, normalise, normalise_groups)
_PRODUCTS = {aten.mul.Tensor, aten.mul_.Tensor}
_SUMS = {aten.add.Tensor, aten.add_.Tensor, aten.sub.Tensor, aten.sub_.Tensor}
