"""The change of the loss without a channel, to first order."""

import torch
from torch import Tensor, nn

from secateur.errors import PruningError
from secateur.pruning.criteria.importance import Importance, Scored
from secateur.pruning.criteria.norms import norm_scales
from secateur.pruning.graph.groups import ChannelGraph, ChannelGroup, module_path


def taylor(scored: Scored) -> Importance:
    """How much the loss would change without a channel, to first order.

    Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019. For a gate of 1
    after the layer, dL/dgate is Σ w·dL/dw over what produces the channel: scale and shift of its
    batch norm or, where there is none, its filter and bias. Its square, averaged over the batches.

    Raises:
        PruningError: there are no batches with a loss.
    """
    parameters = dict(scored.model.named_parameters())
    importance = {
        name: torch.zeros(scored.graph.groups[name].units).double() for name in scored.groups
    }
    scored.model.zero_grad()
    batches = 0
    for loss in scored.losses() if scored.losses is not None else ():
        loss.backward()  # type: ignore[no-untyped-call]
        batches += 1
        for name in scored.groups:
            group = scored.graph.groups[name]
            importance[name] += _gate_gradient(scored.graph, group, parameters).square()
        scored.model.zero_grad()
    if batches == 0:
        raise PruningError(
            "the Taylor criterion needs the loss of at least one batch; give calibration data with "
            "a loss"
        )
    return {name: each / batches for name, each in importance.items()}


def layer_normalized(importance: Importance) -> Importance:
    """Give importance as a share of its layer's L2 norm, to rank the channels of all layers.

    Molchanov et al., "Pruning Convolutional Neural Networks for Resource Efficient Inference", ICLR
    2017. Gradients differ by orders of magnitude between layers; without this, one cut empties
    whole layers.

    Args:
        importance: of every unit, (units,) each; a layer of zeros remains zero.
    """
    return {name: each / each.norm().clamp_min(1e-300) for name, each in importance.items()}


def _gate_gradient(
    graph: ChannelGraph, group: ChannelGroup, parameters: dict[str, nn.Parameter]
) -> Tensor:
    # Of what follows the channels, a scale of another kind would be a second gate.
    layers = [module_path(scale) for scale in norm_scales(graph, group)] or group.producers
    gates = {f"{layer}.{entry}" for layer in layers for entry in ("weight", "bias")}
    if layers == group.producers:  # also those of weights that are computed
        gates |= {member.name for member in group.of_role("producer")}
    total = torch.zeros(group.units).double()
    for member in group.members:
        if member.role == "consumer" or member.name not in gates & parameters.keys():
            continue
        parameter = parameters[member.name]
        if parameter.grad is None:
            continue
        product = (parameter.grad * parameter).detach().cpu().double().movedim(member.dim, 0)
        total += product.reshape(len(product), -1).sum(1)[member.index].sum(1)
    return total
