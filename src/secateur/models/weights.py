"""Weights that people bring: torch and safetensors files, and torchvision's own.

No file is unpickled: torch files are read with ``weights_only=True``.
"""

import argparse
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import WeightsEnum

from secateur.errors import ModelError
from secateur.models.architecture import Architecture
from secateur.models.network import build_network, builder_of
from secateur.models.wrappers import plain_names

# Keys of the weights in a training checkpoint of torchvision, Lightning and others.
_STATES = ("model", "state_dict", "model_state_dict")
# What to do where nothing fits a recipe's network.
_CHECK = "check network, widths, batch_norm"


def _number_type(name: str, *_: object) -> np.dtype[Any]:
    """Replace ``numpy.dtype``: allow types of numbers only."""
    if re.fullmatch("[biuf][1-8]", name) is None:
        raise ValueError(f"{name} is not a type of numbers")
    return np.dtype(name)


def _number(type_: np.dtype[Any], content: bytes) -> Any:
    """Replace the function that unpickles a numpy number."""
    return np.frombuffer(content, type_, count=1)[0]


# Types that a checkpoint may hold in addition to its weights. They are data only: the options of a
# training, which torchvision's scripts store, and numpy numbers, such as the best metric.
_ALLOWED_TYPES: dict[str, Any] = {
    "argparse.Namespace": argparse.Namespace,
    "numpy.dtype": _number_type,
    "numpy._core.multiarray.scalar": _number,
    "numpy.core.multiarray.scalar": _number,  # as numpy 1 wrote it
    **{
        f"numpy.dtypes.{type_.__name__}": type_
        for type_ in (type(np.dtype(name)) for name in ("b1", "i4", "i8", "f4", "f8"))
    },
}


def load_weights(model: nn.Module, source: str, *, whole: bool = False) -> list[str]:
    """Copy trained weights into a network wherever names and shapes agree.

    Args:
        model: changed in place.
        source: a ``.safetensors`` file; a torch state dict (``.pth``, ``.pt``), alone or in a
            training checkpoint; or ``torchvision:`` and the name of weights, such as
            ``torchvision:SSD300_VGG16_Weights.COCO_V1``, which torchvision downloads. Those of a
            ``vgg16`` or ``vgg16_bn`` classifier fill an SSD's backbone.
        whole: refuse weights that do not fill the whole network.

    Returns:
        Names of the network's tensors that were not filled, for example a head for other classes.

    Raises:
        ModelError: the file cannot be read, fills nothing, or does not fill the whole network.
    """
    fits, unfilled = _fitting(model, source, whole=whole)
    try:
        model.load_state_dict(fits, strict=False)
    except RuntimeError:
        raise ModelError(
            f"{source}: holds tensors that cannot be copied; save model.state_dict() of a network "
            "on the CPU"
        ) from None
    return unfilled


def check_weights(architecture: Architecture, source: str, *, whole: bool = False) -> None:
    """Check that ``load_weights`` will succeed; raises the same errors.

    Weights of torchvision are not downloaded: only their name is checked.
    """
    if source.startswith("torchvision:"):
        torchvision_weights(source)
    else:
        unfilled_by(architecture, source, whole=whole)


def fetch_weights(source: str) -> None:
    """Download weights of torchvision unless they are on disk; files are left as they are.

    Raises:
        ModelError: torchvision has none of that name, or they cannot be downloaded.
    """
    if source.startswith("torchvision:"):
        read_state(source)


def unfilled_by(
    architecture: Architecture, source: str, *, whole: bool = False, cure: str = _CHECK
) -> list[str]:
    """List what ``load_weights`` would not fill, without loading; raises the same errors.

    Args:
        architecture: of the network.
        source: as for ``load_weights``.
        whole: as for ``load_weights``.
        cure: what to do where nothing fits.
    """
    with torch.device("meta"):
        model = build_network(architecture)
    _, unfilled = _fitting(model, source, whole=whole, cure=cure)
    return unfilled


def _fitting(
    model: nn.Module, source: str, *, whole: bool, cure: str = _CHECK
) -> tuple[dict[str, Tensor], list[str]]:
    """Give the weights that agree with the network's names and shapes, and the unfilled names."""
    state, builder = read_state(source), builder_of(model)
    if builder is not None:
        state = builder.rename(model, state)
    own = model.state_dict()
    fits = {n: t for n, t in state.items() if n in own and t.shape == own[n].shape}
    if not any(name.endswith("weight") for name in fits):
        raise ModelError(f"{source}: none of its weights fits this network; {cure}")
    for name, tensor in fits.items():
        _check_values(source, name, tensor, own[name])
    unfilled = [name for name in own if name not in fits]
    # Older files lack the number of batches that a norm has seen, which nothing depends on.
    missing = [name for name in unfilled if not name.endswith("num_batches_tracked")]
    if whole and missing:
        name = missing[0]
        there = f"{list(state[name].shape)} there" if name in state else "missing there"
        raise ModelError(
            f"{source}: does not fit the whole network: {name} is {there} and "
            f"{list(own[name].shape)} here; give the network, widths, batch_norm and the number of "
            "classes that it was trained with, or train the rest (train.steps)"
        )
    return fits, unfilled


def _check_values(source: str, name: str, tensor: Tensor, own: Tensor) -> None:
    """Refuse numbers that no trained network has, and those that copying would change."""
    if tensor.is_meta or tensor.layout != torch.strided:
        raise ModelError(
            f"{source}: holds tensors that cannot be copied; save model.state_dict() of a network "
            "on the CPU"
        )
    if tensor.is_floating_point() != own.is_floating_point() or not _is_number(tensor):
        kind = str(tensor.dtype).removeprefix("torch.")
        raise ModelError(
            f"{source}: {name} is of type {kind}, which cannot be trained further; give the "
            "weights in float32"
        )
    if not tensor.float().isfinite().all():
        raise ModelError(
            f"{source}: {name} has values that are not finite; give weights of a training that "
            "did not diverge"
        )
    if name.endswith("running_var") and (tensor < 0).any():
        raise ModelError(
            f"{source}: {name} has negative variances; give the weights as they were trained"
        )


def _is_number(tensor: Tensor) -> bool:
    return tensor.dtype != torch.bool and not tensor.is_complex() and not tensor.is_quantized


def torchvision_weights(source: str) -> WeightsEnum:
    """Find trained weights by ``torchvision:`` and their name, without downloading them.

    Raises:
        ModelError: torchvision has none of that name.
    """
    try:
        return torchvision.models.get_weight(source.partition(":")[2])
    except (ValueError, AttributeError, KeyError):
        raise ModelError(
            f"{source}: torchvision has no such weights; write torchvision: and their full name, "
            "such as SSD300_VGG16_Weights.COCO_V1 or VGG16_BN_Weights.IMAGENET1K_V1"
        ) from None


def read_state(source: str) -> Mapping[str, Tensor]:
    """Read a state dict; source and errors as for ``load_weights``."""
    if source.startswith("torchvision:"):
        weights = torchvision_weights(source)
        try:
            downloaded: Mapping[str, Tensor] = weights.get_state_dict(
                check_hash=True, weights_only=True
            )
        except OSError as error:
            raise ModelError(
                f"{source}: the download failed ({error}); put {Path(weights.url).name} into "
                f"{torch.hub.get_dir()}/checkpoints by hand, or, in a recipe, name a file in "
                "model.weights, or null to start from random weights, which needs batch_norm: true"
            ) from None
        return downloaded
    path = Path(source)
    if not path.is_file():
        raise ModelError(f"{path}: no such file of weights; correct its path")
    try:
        if path.suffix == ".safetensors":
            return _with_plain_names(load_file(path))
        _refuse_compression(path)
        with torch.serialization.safe_globals([(f, n) for n, f in _ALLOWED_TYPES.items()]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:
        # torch.load raises many types; some advise to unpickle, so none is passed on.
        raise ModelError(
            f"{path}: not a safetensors file or a plain torch state dict{_what_else(path)}; save "
            "model.state_dict() alone"
        ) from None
    kept = [content[name] for name in _STATES if name in content] if _is_dict(content) else []
    for state in (content, *kept):
        if _is_dict(state) and all(isinstance(each, Tensor) for each in state.values()):
            return _with_plain_names(state)
    raise ModelError(f"{path}: holds no state dict; save model.state_dict() alone")


def _what_else(path: Path) -> str:
    """Name a type in a torch file that would have to be unpickled."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # not a torch file
        return ""
    others = sorted(set(names) - _ALLOWED_TYPES.keys())
    return f", for it holds {others[0]}, which is not unpickled" if others else ""


def _is_dict(content: Any) -> bool:
    return isinstance(content, Mapping) and all(isinstance(name, str) for name in content)


def _with_plain_names(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    return {plain: state[name] for name, plain in plain_names(state).items()}


def _refuse_compression(path: Path) -> None:
    """Refuse a compressed file, which could unpack to many times its size; torch writes none."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(each.compress_type != zipfile.ZIP_STORED for each in archive.infolist()):
                raise ValueError("a compressed archive")
