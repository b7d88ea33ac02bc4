"""Shapes of a network's tensors: shrinking a dense network to those of a slim one."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm
from torchvision.ops import DeformConv2d

from secateur.errors import ModelError
from secateur.models.copying import copy_model
from secateur.models.modes import evaluating

Model = TypeVar("Model", bound=nn.Module)


def tensor_shapes(model: nn.Module) -> dict[str, list[int]]:
    """Shape of each tensor of the state dict, by name."""
    return {name: list(tensor.shape) for name, tensor in model.state_dict().items()}


def shrink_to_shapes(
    model: Model, shapes: Mapping[str, Sequence[int]], device: str | None = None
) -> Model:
    """Copy a dense network with the tensor shapes of a slim one.

    The layers' own counts (``out_channels``, ``num_features``, ``groups``, …) are set to match.
    Load the slim network's state dict next: tensors that shrink are not initialised.

    Args:
        model: the dense network; not changed. It may be on the ``meta`` device.
        shapes: of each tensor of the slim network's state dict, by name.
        device: where every tensor of the state dict is allocated; None: where it is in ``model``.

    Returns:
        A new model of the same class, with the same data types, frozen parameters, tied tensors
        and modes.

    Raises:
        ModelError: names differ, or a tensor cannot have been cut from the dense network's. No
            memory is allocated before that check.
    """
    check_shapes(tensor_shapes(model), shapes)
    slim = copy_model(model)
    fresh: dict[Tensor, Tensor] = {}  # keyed by the old tensor, so that tied tensors stay tied
    changed: dict[nn.Module, None] = {}
    for name, old in slim.state_dict(keep_vars=True).items():
        if device is None and list(old.shape) == list(shapes[name]):
            continue
        owner, _, attribute = name.rpartition(".")
        module = slim.get_submodule(owner)
        if old not in fresh:
            new = torch.empty(tuple(shapes[name]), dtype=old.dtype, device=device or old.device)
            is_parameter = isinstance(old, nn.Parameter)
            fresh[old] = nn.Parameter(new, old.requires_grad) if is_parameter else new
        setattr(module, attribute, fresh[old])
        changed[slim.get_submodule(layer_path(name))] = None
    for module in changed:
        update_counts(module)
    return slim


def shrink_to_state(model: Model, state: Mapping[str, Tensor]) -> Model:
    """Copy a dense network with the shapes and values of a slim one's state dict.

    Raises:
        ModelError: as for ``shrink_to_shapes``.
    """
    slim = shrink_to_shapes(model, {name: tensor.shape for name, tensor in state.items()})
    load_state(slim, state)
    return slim


def load_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a whole state dict of today's classes.

    Classes note their versions in a state dict's ``_metadata``, and some refuse one without it, or
    read it as one of their first version. A file does not hold it.

    Raises:
        RuntimeError: names or shapes differ.
    """
    versioned = OrderedDict(state)
    versions = getattr(state, "_metadata", None) or model.state_dict()._metadata  # type: ignore[attr-defined]
    versioned._metadata = versions  # type: ignore[attr-defined]
    model.load_state_dict(versioned)


def check_shapes(dense: Mapping[str, Sequence[int]], slim: Mapping[str, Sequence[int]]) -> None:
    """Check that removing filters can turn tensors of one set of shapes into the other.

    Raises:
        ModelError: it cannot; the first tensor that does not fit is named.
    """
    if missing := [name for name in dense if name not in slim]:
        raise ModelError(f"lacks {missing[0]}")
    if unknown := [name for name in slim if name not in dense]:
        raise ModelError(f"has {unknown[0]}, which the model lacks")
    for name, shape in slim.items():
        most = dense[name]
        if len(shape) != len(most):
            raise ModelError(f"{name} has {len(shape)} dimensions, the model's {len(most)}")
        if any(size > limit or size == 0 < limit for size, limit in zip(shape, most, strict=True)):
            raise ModelError(
                f"{name} is {list(shape)}, and cannot have been cut from the model's {list(most)}"
            )


def layer_path(tensor: str) -> str:
    """Return the path of the layer that a tensor belongs to, also if it is parametrized."""
    return (
        tensor.partition(".parametrizations.")[0]
        if ".parametrizations." in tensor
        else (tensor.rpartition(".")[0])
    )


def update_counts(module: nn.Module) -> None:
    """Set a layer's own counts (channels, features, groups) to the shapes of its tensors."""
    for hook in module._forward_pre_hooks.values():  # its weight is made at the next call
        if isinstance(hook, WeightNorm | SpectralNorm):
            options = {"do_power_iteration": False} if isinstance(hook, SpectralNorm) else {}
            with torch.no_grad():
                setattr(module, hook.name, hook.compute_weight(module, **options))
    # In training, a spectral norm would change its estimate with each look at the weight.
    with evaluating(module):
        _update_counts(module)


def _update_counts(module: nn.Module) -> None:
    if isinstance(module, nn.modules.conv._ConvNd | DeformConv2d):
        transposed = getattr(module, "transposed", False)
        inner, outer = ("out", "in") if transposed else ("in", "out")
        rows = module.weight.shape[0]
        if module.groups == module.in_channels > 1:  # depthwise
            module.groups = rows // (getattr(module, f"{outer}_channels") // module.groups)
        setattr(module, f"{outer}_channels", rows)
        setattr(module, f"{inner}_channels", module.weight.shape[1] * module.groups)
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.RNNBase):
        module.input_size = cast(Tensor, module.weight_ih_l0).shape[1]
    elif isinstance(module, nn.RNNCellBase):
        module.input_size = module.weight_ih.shape[1]
    elif isinstance(module, nn.Embedding | nn.EmbeddingBag):
        module.embedding_dim = module.weight.shape[1]
    elif isinstance(module, nn.modules.batchnorm._NormBase):
        entries = module.weight if module.affine else module.running_mean
        module.num_features = len(cast(Tensor, entries))
    elif isinstance(module, nn.GroupNorm):
        size = module.num_channels // module.num_groups
        module.num_channels = len(module.weight)
        if module.num_groups > 1:
            module.num_groups = module.num_channels // size
    elif hasattr(module, "normalized_shape"):  # a layer norm, of torch or the network's own
        shape = cast(Tensor, module.weight).shape
        vars(module)["normalized_shape"] = tuple(shape)
    elif isinstance(module, nn.PReLU):
        module.num_parameters = len(module.weight)
