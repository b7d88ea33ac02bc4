"""Norms of filters, their geometric median, and the scales of batch norms.

Where several layers produce a channel together, their filters are one block.
"""

import torch
from torch import Tensor

from secateur.pruning.criteria.importance import Importance, Scored
from secateur.pruning.graph.groups import ChannelGraph, ChannelGroup, module_path


def filter_norm(scored: Scored, order: int) -> Importance:
    """The norm of each filter (Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017).

    Args:
        scored: the network.
        order: 1 or 2.
    """
    return {
        name: torch.linalg.vector_norm(_filters(scored, name), order, dim=1)
        for name in scored.groups
    }


def geometric_median(scored: Scored) -> Importance:
    """The sum of each filter's distances to all others of its layer (He et al., FPGM, CVPR 2019).

    The filter with the least sum is nearest to the layer's geometric median, and the others can
    best replace it.
    """
    importance = {}
    for name in scored.groups:
        filters = _filters(scored, name)
        importance[name] = torch.cdist(filters, filters).sum(1)
    return importance


def norm_scale(scored: Scored) -> Importance:
    """The batch norm's scale, |γ| (Liu et al., network slimming, ICCV 2017).

    Channels without a batch norm are more important than any other.
    """
    importance = {}
    for name in scored.groups:
        group = scored.graph.groups[name]
        scales = norm_scales(scored.graph, group)
        importance[name] = (
            torch.stack([scored.tensors[s].detach().double().cpu().abs() for s in scales]).sum(0)
            if scales
            else torch.full((group.units,), torch.inf).double()
        )
    return importance


def norm_scales(graph: ChannelGraph, group: ChannelGroup) -> list[str]:
    """Paths of the scales of the batch norms that follow a group's channels one to one."""
    return [
        member.name
        for member in group.of_role("follower")
        if member.name.endswith(".weight")
        and f"{module_path(member.name)}.running_var" in graph.shapes
        and graph.shapes[member.name] == (group.units,)
    ]


def _filters(scored: Scored, name: str) -> Tensor:
    """All that produces each unit of a group, (units, elements) float64."""
    blocks = []
    for member in scored.graph.groups[name].of_role("producer"):
        tensor = scored.tensors[member.name].detach().cpu().double()
        slices = tensor.movedim(member.dim, 0).flatten(1)
        blocks.append(slices[member.index].flatten(1))
    return torch.cat(blocks, 1)
