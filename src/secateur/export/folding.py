"""Batch norms folded into the layers before them: fewer operators, the same outputs."""

from collections import Counter
from itertools import pairwise
from typing import TypeVar, cast

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from secateur.models.copying import copy_model

Model = TypeVar("Model", bound=nn.Module)

_CONVOLUTIONS = (
    (nn.Conv1d, nn.BatchNorm1d),
    (nn.Conv2d, nn.BatchNorm2d),
    (nn.Conv3d, nn.BatchNorm3d),
)


def fold_batch_norm(model: Model) -> Model:
    """Copy a model with each batch norm folded that directly follows a layer in a Sequential.

    Only an ``nn.Sequential`` fixes the order in which its modules run, so other batch norms
    remain, as do those of modules that are used more than once or have hooks.

    Args:
        model: not changed.

    Returns:
        A copy in evaluation mode, with the same module paths: an ``nn.Identity`` replaces each
        folded batch norm.
    """
    folded = copy_model(model).eval()
    modules = [module for _, module in folded.named_modules(remove_duplicate=False)]
    uses = Counter(modules)
    for block in set(modules):
        if not isinstance(block, nn.Sequential):
            continue
        for (name, layer), (norm_name, norm) in pairwise(list(block.named_children())):
            once = uses[layer] == uses[norm] == uses[block]
            if not once or layer._forward_hooks or norm._forward_pre_hooks:
                continue
            fused = _fused(layer, norm)
            if fused is not None:
                setattr(block, name, fused)
                setattr(block, norm_name, nn.Identity())
    return folded


def _fused(layer: nn.Module, norm: nn.Module) -> nn.Module | None:
    """One layer that computes both; None if the norm cannot be folded."""
    if not isinstance(norm, nn.modules.batchnorm._BatchNorm) or norm.running_var is None:
        return None
    if (type(layer), type(norm)) in _CONVOLUTIONS:
        return fuse_conv_bn_eval(cast(nn.Conv2d, layer), norm)
    if type(layer) is nn.Linear and type(norm) is nn.BatchNorm1d:
        return fuse_linear_bn_eval(layer, norm)
    return None
