"""Rules for layers: they read channels, produce new ones, or hold an entry for each."""

import math
import re
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, fx, nn

from secateur.pruning.graph.groups import Role
from secateur.pruning.graph.labels import along, varying
from secateur.pruning.graph.nodes import argument, module_of

if TYPE_CHECKING:
    from secateur.pruning.graph.flow import Flow


def convolve(flow: "Flow", node: fx.Node) -> Any:
    """Convolutions and linear layers read channels and produce new ones."""
    x, weight, bias = (argument(node, n, None) for n in ("input", "weight", "bias"))
    flow.layers += 1
    packet = str(node.target)
    linear, transposed = "linear" in packet, "transpose" in packet
    # A transposed convolution's weight has its input channels in dimension 0.
    reads, produces = (0, 1) if transposed else (1, 0)
    name = flow.weight_name(weight)
    if name is None or not flow.can_follow(weight):
        return flow.unknown(node, f"{node.name}: its weights are computed")
    shape = node.meta["val"].shape
    dim = len(shape) - 1 if linear else len(shape) - weight.meta["val"].dim() + 1
    labels = flow.read(x)
    into = flow.channels(labels, dim)
    # A layer that is called twice counts twice.
    read = labels.shape if transposed else shape
    pictures = read[0] if linear and len(read) > 1 else math.prod(read[: 0 if linear else dim])
    positions = math.prod(read) // read[dim] // pictures if flow.counting else 0
    flow.positions[name] = flow.positions.get(name, 0) + positions
    held = x in flow.sources or x in flow.lazy  # its other dimensions are no channels of a map
    if into is None and linear and dim not in varying(labels) and not held:
        flow.zero.discard(node)  # it adds its bias to all channels
        if bias in flow.sources:
            flow.forest.fix(entries_of(flow, bias, 0, "follower"), f"{node.name} mixes positions")
        return _mix(flow, node, weight, labels[..., :1].expand(shape))
    if into is None:
        reason = f"{node.name}: its channels are mixed with positions"
        flow.forest.fix(labels, reason)
        into = flow.foreign(node, reason, labels).flatten()[: labels.shape[dim]]
    groups = 1 if linear else argument(node, "groups", 1)
    if groups == 1:
        out = entries_of(flow, weight, produces, "producer")
        flow.read_by(into, entries_of(flow, weight, reads, "consumer"))
    elif len(into) == groups:
        # Depthwise: each input channel has filters of its own, which are removed with it.
        entries = entries_of(flow, weight, 0, "follower")
        flow.read_by(into.repeat_interleave(len(entries) // groups), entries)
        out = entries.repeat_interleave(shape[dim] // len(entries))
    else:
        # Grouped: every group of the convolution loses the same channels; sizes remain equal.
        out = entries_of(flow, weight, produces, "producer")
        entries = entries_of(flow, weight, reads, "consumer")
        flow.grouped.add((name, reads))
        rows = into.reshape(groups, -1)
        flow.read_by(rows, entries.view(groups if transposed else 1, -1).expand_as(rows))
        out = out.repeat(groups if transposed else 1)
        for each in (rows, out.view(groups, -1)):
            flow.forest.unite(each, each[0])
    if isinstance(bias, fx.Node):
        flow.forest.unite(out, entries_of(flow, bias, 0, "follower"))
    flow.outputs[flow.lead(weight, produces)] = out
    return along(out, dim, shape)


def entries_of(flow: "Flow", node: fx.Node, dim: int, role: Role) -> Tensor:
    """Labels along one dimension of a weight or bias; fixed if they cannot be followed."""
    entries = flow.axis(node, dim, role)
    if entries is None:
        labels = cast(Tensor, flow.read(node))
        return labels.movedim(dim, 0).flatten(1)[:, 0] if labels.dim() > 1 else labels
    return entries


def deform(flow: "Flow", node: fx.Node) -> Any:
    """A deformable convolution reads offsets, and each of its offset groups equal parts."""
    for name in ("offset", "mask"):
        labels = flow.read(cast(fx.Node, argument(node, name, None)))
        flow.forest.fix(labels, f"{node.name}: its {name} has one channel for each position")
    into = flow.channels(flow.read(cast(fx.Node, node.args[0])), 1)
    groups = cast(int, argument(node, "offset_groups", 1))
    if into is not None and groups > 1:
        rows = into.reshape(groups, -1)
        flow.forest.unite(rows, rows[0])
    return convolve(flow, node)


def embed(flow: "Flow", node: fx.Node) -> Any:
    """An embedding makes channels of its entries; the number of entries does not change."""
    weight = cast(fx.Node, node.args[0])
    out = entries_of(flow, weight, 1, "producer")
    value = node.meta["val"]
    if isinstance(value, Tensor):
        return along(out, value.dim() - 1, value.shape)
    first, *rest = value  # of an embedding bag, which also says which entries it took
    others = flow.foreign(node, f"{node.name} counts its entries", rest)
    return [along(out, first.dim() - 1, first.shape), *others]


def recur(flow: "Flow", node: fx.Node) -> Any:
    """A recurrent layer reads channels in its first layer; its own units are not removed."""
    reason = f"{node.name}: its units are those of its gates"
    x = cast(fx.Node, node.args[0])
    labels = flow.read(x)
    into = flow.channels(labels, labels.dim() - 1)
    first = [n for n in node.all_input_nodes if "weight_ih" in flow.sources.get(n, "")]
    first = [n for n in first if not re.search(r"_l[1-9]", flow.sources[n])]
    if into is None or not first:
        return flow.unknown(node, f"{node.name}: its channels are mixed with positions")
    for weight in first:
        flow.read_by(into, flow.dimension(flow.sources[weight], 1, "consumer"))
    for n in node.all_input_nodes:
        if n is not x and n not in flow.sources:
            flow.forest.fix(flow.read(n), reason)
    return flow.foreign(node, reason)


def multiply(flow: "Flow", node: fx.Node) -> Any:
    """A product with a parameter reads channels and produces new ones, as a linear layer does."""
    rank = {n: n.meta["val"].dim() for n in node.all_input_nodes}
    *bias, a, b = (n for n in node.args if isinstance(n, fx.Node))
    if bias or min(rank.values()) < 2:
        return flow.unknown(node, f"the operator {node.target} is not known to keep channels apart")
    letters = "".join(chr(ord("a") + i) for i in range(max(rank.values()) - 2))
    terms = [f"{letters[len(letters) - rank[n] + 2 :]}{ends}" for n, ends in ((a, "yz"), (b, "zx"))]
    return _contract(flow, node, [a, b], terms, f"{letters}yx")


def einsum(flow: "Flow", node: fx.Node) -> Any:
    """A sum of products of an activation and a parameter."""
    equation = cast(str, node.args[0]).replace(" ", "")
    inputs, arrow, output = equation.partition("->")
    operands = cast(list[fx.Node], node.args[1])
    terms = inputs.split(",")
    if not arrow or "." in equation or len(operands) != 2:
        return flow.unknown(node, f"the operator {node.target} is not known to keep channels apart")
    return _contract(flow, node, operands, terms, output)


def _contract(
    flow: "Flow", node: fx.Node, operands: list[fx.Node], terms: list[str], output: str
) -> Any:
    """Sum over the letters that the output lacks; one operand is a parameter."""
    reason = f"the operator {node.target} is not known to keep channels apart"
    static = [n in flow.sources or n in flow.lazy for n in operands]
    lost = set(terms[0] + terms[1]) - set(output)
    if (
        sum(static) != 1
        or any(len(set(term)) < len(term) for term in terms)
        or lost - (set(terms[0]) & set(terms[1]))
    ):
        return flow.unknown(node, reason)
    x, weight = operands if static[1] else operands[::-1]
    read, held = terms if static[1] else terms[::-1]
    labels = flow.read(x)
    shape, sizes = node.meta["val"].shape, weight.meta["val"].shape
    summed = [d for d, c in enumerate(read) if c in held and c not in output]
    spans = varying(labels) or summed
    if len(spans) != 1:
        return flow.unknown(node, f"{node.name}: its channels are mixed with positions")
    letter, into = read[spans[0]], labels.movedim(spans[0], 0).flatten(1)[:, 0]
    if letter not in held:
        return _mix(flow, node, weight, along(into, output.index(letter), shape))
    made = [c for c in held if c not in read and sizes[held.index(c)] > 1]
    kept = letter in output
    entries = flow.axis(weight, held.index(letter), "follower" if kept else "consumer")
    out = flow.axis(weight, held.index(made[0]), "producer") if made else entries
    if entries is None or out is None or len(made) > (0 if kept else 1):
        return flow.unknown(node, reason)
    flow.layers += 1
    flow.read_by(into, entries)
    if not made and not kept:
        return flow.foreign(node, f"{node.name} is a sum over channels")
    return along(out, output.index(letter if kept else made[0]), shape)


def _mix(flow: "Flow", node: fx.Node, weight: fx.Node, labels: Tensor) -> Tensor:
    """A weight that mixes positions is the same for every channel, and is not cut."""
    sizes = weight.meta["val"].shape
    for dim in (d for d, size in enumerate(sizes) if size > 1 and weight in flow.sources):
        entries = flow.dimension(flow.sources[weight], dim, "follower")
        flow.forest.fix(entries, f"{node.name} mixes positions")
    return labels


def normalise(flow: "Flow", node: fx.Node) -> Any:
    """Batch norm in evaluation mode and instance norm treat each channel separately."""
    return _follow(flow, node, ("weight", "bias", "running_mean", "running_var"))


def _follow(
    flow: "Flow", node: fx.Node, entries: tuple[str, ...], dim: int = 1, entry_dim: int = 0
) -> Any:
    """Unite channels with the entries that a layer has for each of them."""
    labels = flow.read(cast(fx.Node, node.args[0]))
    into = flow.channels(labels, min(dim, labels.dim() - 1))
    nodes = [n for entry in entries if isinstance(n := argument(node, entry, None), fx.Node)]
    if into is None:
        return flow.unknown(node, f"{node.name}: its channels are mixed with positions")
    for n in nodes:
        flow.read_by(into, entries_of(flow, n, entry_dim, "follower"))
    path, module = module_of(flow, node)
    if not nodes and isinstance(module, nn.modules.batchnorm._NormBase):
        flow.forest.unite(into, flow.counts.setdefault(path, flow.forest.fresh(len(into))))
    return labels


def normalise_groups(flow: "Flow", node: fx.Node) -> Any:
    """Group norm loses whole groups, so the statistics of the kept groups do not change.

    A single group is normalised over the channels that are left.
    """
    labels = flow.read(cast(fx.Node, node.args[0]))
    into = flow.channels(labels, 1)
    groups = cast(int, node.args[1])
    if groups == 1:
        if into is not None:
            flow.omit(into)
        return _follow(flow, node, ("weight", "bias"))
    _, module = module_of(flow, node)
    # Only the layer's own count of groups can be lowered.
    if not isinstance(module, nn.GroupNorm) or module.num_groups != groups:
        return flow.unknown(node, f"{node.name}: its number of groups stands in forward")
    if not isinstance(argument(node, "weight", None), fx.Node):
        # The number of groups left could not be read off a file of tensors.
        return flow.unknown(node, f"{node.name} has no entries that tell how many groups it has")
    if into is not None:
        rows = into.reshape(groups, -1)
        flow.forest.unite(rows, rows[:, :1])
    return _follow(flow, node, ("weight", "bias"))


def prelu(flow: "Flow", node: fx.Node) -> Any:
    """One slope for all channels, or one for each."""
    weight = cast(fx.Node, node.args[1])
    single = weight in flow.sources and flow.tensors[flow.sources[weight]].numel() == 1
    return _follow(flow, node, () if single else ("weight",))


def normalise_within(flow: "Flow", node: fx.Node) -> Any:
    """Layer norm over channels is over those that are left."""
    labels = flow.read(cast(fx.Node, node.args[0]))
    first = labels.dim() - len(argument(node, "normalized_shape", ()))
    spans = [d for d in varying(labels) if d >= first]
    if not spans:
        return labels
    if not isinstance(argument(node, "weight", None), fx.Node):
        # The number of channels left could not be read off a file of tensors.
        return flow.unknown(node, f"{node.name} has no entries that tell how many channels it has")
    flow.omit(labels)
    return _follow(flow, node, ("weight", "bias"), spans[0], spans[0] - first)
