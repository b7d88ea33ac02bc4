"""The paper's criterion for a budget: what the threshold leaves of F_i and of G_i."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from secateur.pruning.criteria.importance import Importance, Scored
from secateur.pruning.graph.groups import ChannelGroup, Role


def sparsity(scored: Scored, roles: Sequence[Role] = ("producer", "consumer")) -> Importance:
    """Score channels by ``channel_importance``.

    Args:
        scored: the thresholded network.
        roles: ``producer`` for F, ``consumer`` for G.
    """
    return {
        name: channel_importance(scored.graph.groups[name], scored.tensors, roles)
        for name in scored.groups
    }


def channel_importance(
    group: ChannelGroup,
    tensors: Mapping[str, Tensor],
    roles: Sequence[Role] = ("producer", "consumer"),
) -> Tensor:
    """Give what is left of each unit relative to its group's mean, (units,) float64.

    The L1 norm of a block over the layer's mean, averaged over the layers of a role, and the
    geometric mean of the two roles: a channel that is hardly produced or read matters little.

    Args:
        group: the channel group.
        tensors: the thresholded parameters by path.
        roles: ``producer`` for F, ``consumer`` for G.
    """

    def share(role: Role) -> Tensor:
        shares = []
        for member in group.of_role(role):
            tensor = tensors[member.name].detach().cpu()
            others = [dim for dim in range(tensor.dim()) if dim != member.dim]
            # Summed in double precision without a copy in double precision, which takes longer.
            norms = torch.linalg.vector_norm(tensor, 1, others, dtype=torch.float64)
            sums = norms[member.index].sum(1)
            shares.append(sums / sums.mean().clamp_min(1e-30))
        return torch.stack(shares).mean(0) if shares else torch.ones(group.units).double()

    product = torch.stack([share(role) for role in roles]).prod(0)
    return product ** (1 / len(roles))
