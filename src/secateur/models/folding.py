"""Batch norm folded into the convolution before it: fewer operators, the same outputs."""

from typing import cast

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from secateur.models.network import Architecture, build_network


def fold_batch_norm(model: nn.Module, architecture: Architecture) -> tuple[nn.Module, Architecture]:
    """Give the network of the same outputs that has no batch norm, and its architecture.

    Args:
        model: as ``build_network`` builds it; left as it is.
        architecture: its own.

    Returns:
        The same model where it has none; otherwise a new one, in evaluation mode.
    """
    if not architecture.batch_norm:
        return model, architecture
    plain = architecture.model_copy(update={"batch_norm": False})
    folded = build_network(plain)
    # A norm follows its convolution, and nothing else has parameters of its own but the scale.
    sources = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    norms = {}
    last: nn.Module | None = None
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            norms[cast(nn.Conv2d, last)] = module
        last = module
    targets = [m for m in folded.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for source, target in zip(sources, targets, strict=True):
        layer = source
        if source in norms:
            layer = fuse_conv_bn_eval(source.eval(), norms[source].eval())
        target.load_state_dict(layer.state_dict())
    rest = {n: v for n, v in model.state_dict().items() if n.endswith("scale_weight")}
    folded.load_state_dict(rest, strict=False)
    return folded.eval(), plain
