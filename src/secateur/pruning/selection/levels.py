"""Sparsity levels of the blocks F_i and G_i, and the outcome of a selection."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from secateur.pruning.graph.groups import ChannelGroup, Role


@dataclass(frozen=True, slots=True)
class Levels:
    """Sparsity levels of one group's channels when the selection decided on them.

    Attributes:
        F: sparsity level of the block F_i of each channel, (channels,) float64; channels that are
            removed together are one block.
        G: sparsity level of the block G_i of each channel, (channels,) float64.
    """

    F: Tensor
    G: Tensor


@dataclass(frozen=True, slots=True)
class Choice:
    """The outcome of a selection.

    Attributes:
        kept: indices of the kept channels of each group decided on, ascending.
        levels: the sparsity levels of each group.
    """

    kept: dict[str, Tensor]
    levels: dict[str, Levels]


def sparsity_levels(
    group: ChannelGroup,
    tensors: Mapping[str, Tensor],
    kept: Mapping[str, Mapping[int, Tensor]],
) -> Levels:
    """Compute the sparsity level of every block F_i and G_i of a group: zeros ÷ elements.

    Where several producers or consumers share a channel, or several channels are a unit, their
    elements are one block.

    Args:
        group: the channel group.
        tensors: the thresholded parameters by path.
        kept: positions that remain of some dimensions, as ``kept_positions`` gives them.
    """

    def level(role: Role) -> Tensor:
        zeros = torch.zeros(group.units, dtype=torch.float64)
        elements = 0
        for member in group.of_role(role):
            tensor = tensors[member.name].detach().cpu()
            for dim, positions in kept.get(member.name, {}).items():
                if dim != member.dim:
                    tensor = tensor.index_select(dim, positions)
            slices = tensor.movedim(member.dim, 0).flatten(1)
            zeros += (slices == 0).sum(1, dtype=torch.float64)[member.index].sum(1)
            elements += slices.shape[1] * member.index.shape[1]
        return (zeros / max(elements, 1))[group.unit_of]

    return Levels(level("producer"), level("consumer"))
