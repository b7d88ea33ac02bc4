"""Copies of networks, whatever their modules keep beside their parameters."""

import copy
from collections.abc import Mapping
from typing import TypeVar

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

Model = TypeVar("Model", bound=nn.Module)


def copy_model(model: Model, instead: Mapping[int, Tensor] | None = None) -> Model:
    """Copy a network deeply.

    What a forward pass has left in a module, such as its last features, is copied without the
    history of its gradient, which ``copy.deepcopy`` refuses. ``weight_norm``, ``spectral_norm``
    and ``torch.nn.utils.prune`` keep such tensors too.

    Args:
        model: left as it is.
        instead: what stands in the copy for some tensors, by their ``id``; these are not copied.
    """
    memo = {
        id(value): value.detach()
        for module in model.modules()
        for value in tree_leaves(vars(module))
        if isinstance(value, Tensor) and not value.is_leaf
    }
    return copy.deepcopy(model, {**memo, **(instead or {})})
