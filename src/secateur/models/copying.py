"""Copies of networks, including tensors that are neither parameters nor buffers."""

import copy
from collections.abc import Mapping
from typing import TypeVar

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

Model = TypeVar("Model", bound=nn.Module)


def copy_model(model: Model, instead: Mapping[int, Tensor] | None = None) -> Model:
    """Make a deep copy of a network.

    ``copy.deepcopy`` refuses tensors with a gradient history, such as features that a forward pass
    stored in a module, or those of ``weight_norm``, ``spectral_norm`` and ``torch.nn.utils.prune``.
    They are copied without that history.

    Args:
        model: not changed.
        instead: replacements for some tensors in the copy, by the ``id`` of the original.
    """
    memo = {
        id(value): value.detach()
        for module in model.modules()
        for value in tree_leaves(vars(module))
        if isinstance(value, Tensor) and not value.is_leaf
    }
    return copy.deepcopy(model, {**memo, **(instead or {})})
