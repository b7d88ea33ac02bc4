"""Sparsity: the weights that a phase makes sparse, and how sparse they are."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from secateur.errors import PruningError
from secateur.files.arguments import checked
from secateur.pruning.graph.groups import ChannelGraph, check_graph, model_tensors
from secateur.pruning.selection.match import Layers, match_groups


class Blocks(NamedTuple):
    """The blocks F_i or G_i that a weight holds.

    Attributes:
        weight: the weight.
        dim: the dimension that the blocks are slices of.
        block: the number of the block that each position along ``dim`` belongs to, (size,) int64;
            None where each position is a block. After a flattened map, or in a grouped
            convolution, a channel has several positions.
    """

    weight: nn.Parameter
    dim: int
    block: Tensor | None = None


@checked
def prunable_weights(
    model: nn.Module, graph: ChannelGraph, groups: Layers = None, ignore: Layers = None
) -> list[nn.Parameter]:
    """Weights to make sparse: those that produce or read a removable channel.

    They are the producers and consumers of the groups, except frozen ones, which no training
    changes.

    Args:
        model: the network the groups were found in.
        graph: its channel groups.
        groups: layers that may lose filters, as paths or patterns (``layer1.*``); None for all.
        ignore: layers that shall lose none.

    Raises:
        PruningError: as for ``prunable_blocks``.
    """
    blocks = prunable_blocks(model, graph, groups, ignore)
    return list(dict.fromkeys(weight for weight, *_ in blocks))


@checked
def prunable_blocks(
    model: nn.Module, graph: ChannelGraph, groups: Layers = None, ignore: Layers = None
) -> list[Blocks]:
    """The same weights, each with the positions of its blocks F_i or G_i.

    A weight that produces channels of one group and reads those of another occurs twice.

    Raises:
        PruningError: a pattern matches nothing that can be pruned, all the weights are frozen, or
            the graph is of another network.
    """
    check_graph(graph, model_tensors(model))
    parameters = dict(model.named_parameters(remove_duplicate=False))
    found: dict[tuple[nn.Parameter, int], Tensor] = {}
    for name in match_groups(graph, groups, ignore):
        for member in graph.groups[name].members:
            if member.role == "follower" or member.name not in graph.parameters - graph.directions:
                continue
            weight, index = parameters[member.name], member.index.cpu()
            if weight.requires_grad:
                block = found.setdefault(
                    (weight, member.dim), torch.arange(weight.shape[member.dim])
                )
                block[index] = index[:, :1]
    if not found:
        raise PruningError(
            "every weight that produces or reads these channels is frozen, so none can become "
            "sparse; unfreeze some, or name other layers"
        )
    return [
        Blocks(weight, dim, block.to(weight.device) if bool((block.diff() != 1).any()) else None)
        for (weight, dim), block in found.items()
    ]


@checked
def zero_share(
    weights: Iterable[Tensor], threshold: float = 0.0, units: Iterable[float] | None = None
) -> float:
    """Zeros ÷ elements over all the tensors, where |w| < threshold counts as zero too.

    Args:
        weights: the tensors.
        threshold: t.
        units: the unit of t for each tensor; None for 1.

    Raises:
        PruningError: there are no elements, or another number of units than of tensors.
    """
    zeros = elements = 0
    for weight, unit in with_units(weights, units):
        zeros += int(((weight == 0) | (weight.abs() < threshold * unit)).sum())
        elements += weight.numel()
    if elements == 0:
        raise PruningError("there are no weights to count zeros of; give one tensor or more")
    return zeros / elements


@checked
@torch.no_grad()
def apply_threshold(
    weights: Iterable[Tensor], threshold: float, units: Iterable[float] | None = None
) -> None:
    """Zero, in place, every weight whose magnitude is below the threshold; as ``zero_share``."""
    for weight, unit in with_units(weights, units):
        weight.masked_fill_(weight.abs() < threshold * unit, 0)


def with_units(
    weights: Iterable[Tensor], units: Iterable[float] | None
) -> list[tuple[Tensor, float]]:
    """Pair each weight with the unit of its threshold."""
    tensors = list(weights)
    each = [1.0] * len(tensors) if units is None else list(units)
    if len(each) != len(tensors):
        raise PruningError(
            f"there are {len(each)} units for {len(tensors)} weights; give one for each"
        )
    return list(zip(tensors, each, strict=True))
