"""Other ways to tell what a channel is worth, to hold the sparsity of F and G against.

Each gives, by group, a number for every channel, (channels,) float64; those of the least go first.
Where several layers make a channel together, their filters are one block.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from secateur.errors import PruningError
from secateur.pruning.graph.groups import module_path
from secateur.pruning.graph.trace import ChannelGraph, ChannelGroup

Importance = dict[str, Tensor]


def filter_norm(
    graph: ChannelGraph, groups: Sequence[str], tensors: Mapping[str, Tensor], order: int
) -> Importance:
    """The norm of each filter (Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017).

    Args:
        graph: the network's channel groups.
        groups: names of those wanted.
        tensors: the network's parameters by path.
        order: 1 or 2.
    """
    return {
        name: torch.linalg.vector_norm(_filters(graph.groups[name], tensors), order, dim=1)
        for name in groups
    }


def geometric_median(
    graph: ChannelGraph, groups: Sequence[str], tensors: Mapping[str, Tensor]
) -> Importance:
    """The sum of each filter's distances to all others of its layer (He et al., FPGM, CVPR 2019).

    The least is next to the layer's geometric median, and the others can best stand in for it.
    """
    importance = {}
    for name in groups:
        filters = _filters(graph.groups[name], tensors)
        importance[name] = torch.cdist(filters, filters).sum(1)
    return importance


def norm_scale(
    graph: ChannelGraph, groups: Sequence[str], tensors: Mapping[str, Tensor]
) -> Importance:
    """The batch norm's scale, |γ| (Liu et al., network slimming, ICCV 2017).

    Channels without a batch norm are importance more than any other.
    """
    importance = {}
    for name in groups:
        scales = norm_scales(graph, graph.groups[name])
        if not scales:
            importance[name] = torch.full((graph.groups[name].channels,), torch.inf).double()
            continue
        importance[name] = torch.stack(
            [tensors[s].detach().double().cpu().abs() for s in scales]
        ).sum(0)
    return importance


def norm_scales(graph: ChannelGraph, group: ChannelGroup) -> list[str]:
    """Paths of the scales of the batch norms that follow a group's channels one to one."""
    return [
        member.name
        for member in group.of_role("follower")
        if member.name.endswith(".weight")
        and f"{module_path(member.name)}.running_var" in graph.shapes
        and graph.shapes[member.name] == (group.channels,)
    ]


def taylor(
    model: nn.Module, graph: ChannelGraph, groups: Sequence[str], losses: Iterable[Tensor]
) -> Importance:
    """How much the loss would change without a channel, to first order.

    Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019. For a gate of 1
    behind the layer, dL/dgate is Σ w·dL/dw over what makes the channel: scale and shift of its
    batch norm, or where there is none its filter and bias. Its square, averaged over the batches.

    Args:
        model: whose forward pass gave the losses; its gradients are left empty.
        graph: its channel groups.
        groups: names of those wanted.
        losses: of some batches, each made when it is asked for.
    """
    parameters = dict(model.named_parameters())
    importance = {name: torch.zeros(graph.groups[name].channels).double() for name in groups}
    model.zero_grad()
    batches = 0
    for loss in losses:
        loss.backward()  # type: ignore[no-untyped-call]
        batches += 1
        for name in groups:
            importance[name] += _gate_gradient(graph, graph.groups[name], parameters).square()
        model.zero_grad()
    if batches == 0:
        raise PruningError("the Taylor criterion needs the loss of at least one batch")
    return {name: each / batches for name, each in importance.items()}


def layer_normalized(importance: Importance) -> Importance:
    """Give each layer's worths as shares of their L2 norm, to cut layers at one of them.

    Molchanov et al., "Pruning Convolutional Neural Networks for Resource Efficient Inference", ICLR
    2017. Gradients differ by orders of magnitude between layers, and without it one cut empties
    whole layers.

    Args:
        importance: of every channel, (channels,) each; a layer whose are all 0 stays so.
    """
    return {name: each / each.norm().clamp_min(1e-300) for name, each in importance.items()}


def chance(graph: ChannelGraph, groups: Sequence[str], seed: int) -> Importance:
    """Random numbers, what any criterion must do better than."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(graph.groups[name].channels, generator=generator).double()
        for name in groups
    }


def _filters(group: ChannelGroup, tensors: Mapping[str, Tensor]) -> Tensor:
    """All that makes each channel, (channels, elements) float64."""
    blocks = []
    for member in group.of_role("producer"):
        slices = tensors[member.name].detach().cpu().double().movedim(member.dim, 0).flatten(1)
        blocks.append(slices[member.index].flatten(1))
    return torch.cat(blocks, 1)


def _gate_gradient(
    graph: ChannelGraph, group: ChannelGroup, parameters: Mapping[str, nn.Parameter]
) -> Tensor:
    # Of what follows the channels, a scale of another kind would be a second gate.
    layers = [module_path(scale) for scale in norm_scales(graph, group)] or group.producers
    gates = {f"{layer}.{entry}" for layer in layers for entry in ("weight", "bias")}
    members = [
        member
        for member in group.members
        if member.role != "consumer" and member.name in gates and member.name in parameters
    ]
    total = torch.zeros(group.channels).double()
    for member in members:
        parameter = parameters[member.name]
        if parameter.grad is None:
            continue
        product = (parameter.grad * parameter).detach().cpu().double().movedim(member.dim, 0)
        total += product.reshape(len(product), -1).sum(1)[member.index].sum(1)
    return total
