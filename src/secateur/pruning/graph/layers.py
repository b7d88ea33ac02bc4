"""Rules for layers: they read channels, produce new ones, or hold an entry for each."""

import math
from typing import TYPE_CHECKING, Any, cast

from torch import fx, nn

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
    name = flow.sources.get(weight)
    if name is None or (isinstance(bias, fx.Node) and bias not in flow.sources):
        return flow.unknown(node, f"{node.name}: its weights are computed")
    shape = node.meta["val"].shape
    tensor = flow.tensors[name]
    dim = len(shape) - 1 if linear else len(shape) - tensor.dim() + 1
    labels = flow.read(x)
    into = flow.channels(labels, dim)
    # A layer that is called twice counts twice.
    read = labels.shape if transposed else shape
    pictures = read[0] if linear and len(read) > 1 else math.prod(read[: 0 if linear else dim])
    positions = math.prod(read) // read[dim] // pictures if flow.counting else 0
    flow.positions[name] = flow.positions.get(name, 0) + positions
    if into is None:
        reason = f"{node.name}: its channels are mixed with positions"
        flow.forest.fix(labels, reason)
        into = flow.foreign(node, reason, labels).flatten()[: labels.shape[dim]]
    groups = 1 if linear else argument(node, "groups", 1)
    # A transposed convolution's weight has its input channels in dimension 0.
    reads, produces = (0, 1) if transposed else (1, 0)
    if groups == 1:
        out = flow.dimension(name, produces, "producer")
        flow.read_by(into, flow.dimension(name, reads, "consumer"))
    elif len(into) == groups:
        # Depthwise: each input channel has filters of its own, which are removed with it.
        entries = flow.dimension(name, 0, "follower")
        flow.read_by(into.repeat_interleave(len(entries) // groups), entries)
        out = entries.repeat_interleave(shape[dim] // len(entries))
    else:
        # Grouped: every group of the convolution loses the same channels; sizes remain equal.
        out = flow.dimension(name, produces, "producer")
        entries = flow.dimension(name, reads, "consumer")
        flow.grouped.add((name, reads))
        rows = into.reshape(groups, -1)
        flow.read_by(rows, entries.view(groups if transposed else 1, -1).expand_as(rows))
        out = out.repeat(groups if transposed else 1)
        for each in (rows, out.view(groups, -1)):
            flow.forest.unite(each, each[0])
    if isinstance(bias, fx.Node):
        flow.forest.unite(out, flow.dimension(flow.sources[bias], 0, "follower"))
    flow.outputs[name] = out
    return along(out, dim, shape)


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
    if any(n not in flow.sources for n in nodes):
        return flow.unknown(node, f"{node.name}: its entries are computed")
    for n in nodes:
        flow.read_by(into, flow.dimension(flow.sources[n], entry_dim, "follower"))
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
            flow.omitting.append(into)
        return _follow(flow, node, ("weight", "bias"))
    _, module = module_of(flow, node)
    # Only the layer's own count of groups can be lowered.
    if getattr(type(module), "forward", None) is not nn.GroupNorm.forward:
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
    flow.omitting.append(labels)
    return _follow(flow, node, ("weight", "bias"), spans[0], spans[0] - first)
