"""L1 on the scales of batch norms (network slimming), for comparison."""

from collections.abc import Sequence

from torch import nn

from secateur.errors import PruningError
from secateur.pruning.criteria.norms import norm_scales
from secateur.pruning.graph.groups import ChannelGraph
from secateur.pruning.penalties.l1 import L1Subgradient, default_strength
from secateur.pruning.penalties.penalty import Penalties


def penalize_scales(
    model: nn.Module, graph: ChannelGraph, groups: Sequence[str], strength: float | None = None
) -> "Penalties":
    """Build network slimming's penalty: L1 on the scales of batch norms, by its subgradient.

    Liu et al., "Learning Efficient Convolutional Networks through Network Slimming", ICCV 2017;
    for comparison.

    Args:
        model: the network to be trained with it.
        graph: its channel groups.
        groups: names of those whose channels may go.
        strength: λ, in units of the loss; by default ``default_strength``.

    Raises:
        PruningError: no group has a batch norm.
    """
    parameters = dict(model.named_parameters())
    names = [scale for name in groups for scale in norm_scales(graph, graph.groups[name])]
    if not names:
        raise PruningError("there is no batch norm whose scales could become zero")
    scales = {name: parameters[name] for name in names}
    strength = default_strength(scales.values()) if strength is None else strength
    return Penalties([L1Subgradient([*scales.values()], strength)], scales, strength)
