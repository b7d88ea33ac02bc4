"""Removal: a smaller dense network, proven equal to the unshrunk one with the same channels masked."""

import copy
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from secateur.errors import PruningError
from secateur.pruning.graph import ChannelGraph, evaluating

# The kept channels of each group, by the group's name; a group not named keeps all.
Selection = Mapping[str, Tensor]


def remove_filters(model: nn.Module, graph: ChannelGraph, selection: Selection) -> nn.Module:
    """Take out every channel that a selection does not keep.

    Producers lose filters F_i, consumers the slices G_i that read them, and norms, biases and
    scales their entries (paper, section 3, step 3).

    Args:
        model: left as it is; frozen parameters are cut like any other and stay frozen.
        graph: the model's channel groups.
        selection: kept indices, (channels,) int64, rising.

    Returns:
        A new model of the same class with smaller layers.

    Raises:
        PruningError: a group is fixed, unknown, or would lose all its channels.
    """
    slim = copy.deepcopy(model)
    for name, kept in kept_positions(graph, selection).items():
        owner, _, attribute = name.rpartition(".")
        module = slim.get_submodule(owner)
        tensor = cast(Tensor, getattr(module, attribute))
        small = tensor.detach()
        for dim, positions in kept.items():
            small = small.index_select(dim, positions.to(small.device))
        if isinstance(tensor, nn.Parameter):
            setattr(module, attribute, nn.Parameter(small.clone(), tensor.requires_grad))
        else:
            setattr(module, attribute, small.clone())
        _refit(module)
    return slim


def mask_filters(model: nn.Module, graph: ChannelGraph, selection: Selection) -> nn.Module:
    """Zero in place of removing: a new model of the old shapes.

    The filters F_i go to zero and so do their followers, so that the channels are zero from
    where they are made to where they are read.
    """
    masked = copy.deepcopy(model)
    for name, kept in kept_positions(graph, selection).items():
        owner, _, attribute = name.rpartition(".")
        tensor = cast(Tensor, getattr(masked.get_submodule(owner), attribute)).detach()
        for dim, positions in kept.items():
            gone = torch.ones(tensor.shape[dim], dtype=torch.bool, device=tensor.device)
            gone[positions.to(tensor.device)] = False
            tensor.index_fill_(dim, gone.nonzero().flatten(), 0)
    return masked


def prove_removal(
    model: nn.Module,
    slim: nn.Module,
    graph: ChannelGraph,
    selection: Selection,
    *inputs: Tensor,
    tolerance: float = 1e-5,
) -> float:
    """Check ``slim(x) == masked(x)``, in double precision, so that what differs is not rounding.

    Returns:
        The largest absolute difference between any two outputs.

    Raises:
        PruningError: it is over the tolerance: the removal is wrong, and nothing may go on.
    """
    masked = mask_filters(model, graph, selection).double()
    slim = copy.deepcopy(slim).double()
    doubles = [x.double() if x.is_floating_point() else x for x in inputs]
    with torch.no_grad(), evaluating(masked), evaluating(slim):
        pairs = zip(_leaves(masked(*doubles)), _leaves(slim(*doubles)), strict=True)
        difference = max(float((a - b).abs().max()) for a, b in pairs)
    if not difference <= tolerance:
        raise PruningError(
            f"the slim network differs from the masked one by {difference:g} (at most "
            f"{tolerance:g}); please report this network, it was not cut"
        )
    return difference


def kept_positions(graph: ChannelGraph, selection: Selection) -> dict[str, dict[int, Tensor]]:
    """Give what stays of each dimension of each tensor that loses something.

    Raises:
        PruningError: a group is fixed, unknown, or would lose all its channels.
    """
    gone: dict[tuple[str, int], list[Tensor]] = defaultdict(list)
    for name, kept in selection.items():
        group = graph.groups.get(name)
        if group is None:
            raise PruningError(f"{name}: no such channel group")
        if len(kept) == group.channels:
            continue
        if group.fixed is not None:
            raise PruningError(f"{name} cannot be pruned: {group.fixed}")
        if len(kept) == 0:
            raise PruningError(f"{name} would lose all its filters; keep at least one")
        lost = torch.ones(group.channels, dtype=torch.bool)
        lost[kept.cpu()] = False
        for member in group.members:
            gone[member.name, member.dim].append(member.index[lost].flatten())
    stays: dict[str, dict[int, Tensor]] = defaultdict(dict)
    for (tensor, dim), positions in gone.items():
        mask = torch.ones(graph.shapes[tensor][dim], dtype=torch.bool)
        mask[torch.cat(positions)] = False
        stays[tensor][dim] = mask.nonzero().flatten()
    return stays


def _refit(module: nn.Module) -> None:
    """Make a layer's own counts agree with its tensors."""
    if isinstance(module, nn.modules.conv._ConvNd):
        if module.groups > 1 and module.weight.shape[1] == 1:  # depthwise
            module.groups = module.weight.shape[0] // (module.out_channels // module.groups)
        module.out_channels = module.weight.shape[0]
        module.in_channels = module.weight.shape[1] * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.modules.batchnorm._BatchNorm):
        entries = module.weight if module.affine else module.running_mean
        module.num_features = len(cast(Tensor, entries))


def _leaves(outputs: Any) -> list[Tensor]:
    leaves, _ = torch.utils._pytree.tree_flatten(outputs)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]
