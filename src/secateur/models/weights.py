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
from torchvision.models.detection.ssd import SSD

from secateur.errors import ModelError
from secateur.models.architecture import Architecture
from secateur.models.network import build_network
from secateur.models.ssd import vgg_keys

# Where a training's checkpoint keeps its weights, as torchvision, Lightning and others write it.
_STATES = ("model", "state_dict", "model_state_dict")
# What DistributedDataParallel, torch.compile and Lightning modules put before every name.
_WRAPPERS = ("module.", "_orig_mod.", "model.")


def _kind_of_number(name: str, *_: object) -> np.dtype[Any]:
    """Stand for ``numpy.dtype``, and give no kind but those of numbers, which are small."""
    if re.fullmatch("[biuf][1-8]", name) is None:
        raise ValueError(f"{name} is no number")
    return np.dtype(name)


def _number(kind: np.dtype[Any], content: bytes) -> Any:
    """Stand for what makes one of numpy's numbers of a pickle."""
    return np.frombuffer(content, kind, count=1)[0]


# What a checkpoint may hold beside its weights, and is only data: the options of a training, which
# torchvision's scripts keep, and numpy's numbers, in which people keep the best metric.
_BESIDE_WEIGHTS: dict[str, Any] = {
    "argparse.Namespace": argparse.Namespace,
    "numpy.dtype": _kind_of_number,
    "numpy._core.multiarray.scalar": _number,
    "numpy.core.multiarray.scalar": _number,  # as numpy 1 wrote it
    **{
        f"numpy.dtypes.{kind.__name__}": kind
        for kind in (type(np.dtype(name)) for name in ("b1", "i4", "i8", "f4", "f8"))
    },
}


def load_weights(
    model: nn.Module, source: str, batch_norm: bool, *, whole: bool = False
) -> list[str]:
    """Start a network from trained weights, as far as names and shapes agree.

    Args:
        model: changed in place.
        source: a ``.safetensors`` file, a torch state dict (``.pth``, ``.pt``), by itself or in a
            checkpoint of a training, or ``torchvision:`` and the name of weights, such as
            ``torchvision:SSD300_VGG16_Weights.COCO_V1``, which torchvision downloads. Those of a
            ``vgg16`` or ``vgg16_bn`` classifier fill an SSD's backbone.
        batch_norm: whether the network has batch norm.
        whole: refuse weights that do not fill all of the network.

    Returns:
        Names of the network's tensors that were not filled, a head for other classes for example.

    Raises:
        ModelError: the file cannot be read, or fills nothing, or not all that it should.
    """
    fits, unfilled = _fitting(model, source, batch_norm, whole=whole)
    try:
        model.load_state_dict(fits, strict=False)
    except RuntimeError:
        raise ModelError(
            f"{source}: holds tensors that cannot be copied; save model.state_dict() of a network "
            "on the processor"
        ) from None
    return unfilled


def check_weights(architecture: Architecture, source: str, *, whole: bool = False) -> None:
    """See that ``load_weights`` will do; errors are its own.

    Weights of torchvision's are not downloaded for it: only their name is checked.
    """
    if source.startswith("torchvision:"):
        torchvision_weights(source)
    else:
        unfilled_by(architecture, source, whole=whole)


def unfilled_by(architecture: Architecture, source: str, *, whole: bool = False) -> list[str]:
    """Give what ``load_weights`` would leave unfilled, and load nothing; errors are its own."""
    with torch.device("meta"):
        model = build_network(architecture)
    _, unfilled = _fitting(model, source, architecture.batch_norm, whole=whole)
    return unfilled


def _fitting(
    model: nn.Module, source: str, batch_norm: bool, *, whole: bool
) -> tuple[dict[str, Tensor], list[str]]:
    """Give the weights whose names and shapes are the network's, and what they leave unfilled."""
    state = read_state(source)
    if isinstance(model, SSD) and any(name.startswith("features.") for name in state):
        state = vgg_keys(batch_norm, state)
    own = model.state_dict()
    fits = {n: t for n, t in state.items() if n in own and t.shape == own[n].shape}
    if not any(name.endswith("weight") for name in fits):
        raise ModelError(
            f"{source}: none of its weights fits this network; check network, widths, batch_norm"
        )
    unfilled = [name for name in own if name not in fits]
    # Only how long a norm has trained, which older files do not tell.
    wanting = [name for name in unfilled if not name.endswith("num_batches_tracked")]
    if whole and wanting:
        name = wanting[0]
        there = f"{list(state[name].shape)} there" if name in state else "missing there"
        raise ModelError(
            f"{source}: does not fit the whole network: {name} is {there} and "
            f"{list(own[name].shape)} here; give the network, widths, batch_norm and the number of "
            "classes that it was trained with, or let the rest be learnt (train.steps)"
        )
    return fits, unfilled


def torchvision_weights(source: str) -> WeightsEnum:
    """Find trained weights by ``torchvision:`` and their name; nothing is downloaded yet.

    Raises:
        ModelError: there are none of that name.
    """
    try:
        return torchvision.models.get_weight(source.partition(":")[2])
    except (ValueError, AttributeError, KeyError):
        raise ModelError(
            f"{source}: torchvision has no such weights; write torchvision: and their whole name, "
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
                "model.weights, or null to start from scratch, which needs batch_norm: true"
            ) from None
        return downloaded
    path = Path(source)
    if not path.is_file():
        raise ModelError(f"{path}: no such file of weights; correct its path")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        _refuse_compression(path)
        with torch.serialization.safe_globals([(f, n) for n, f in _BESIDE_WEIGHTS.items()]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:
        # torch.load raises many kinds, some of them with advice to unpickle; none is passed on.
        raise ModelError(
            f"{path}: not a safetensors file or a plain torch state dict{_what_else(path)}; save "
            "model.state_dict() alone"
        ) from None
    kept = [content[name] for name in _STATES if name in content] if _is_dict(content) else []
    for state in (content, *kept):
        if _is_dict(state) and all(isinstance(each, Tensor) for each in state.values()):
            return _without_wrappers(state)
    raise ModelError(f"{path}: holds no state dict; save model.state_dict() alone")


def _what_else(path: Path) -> str:
    """Name what a torch file holds that would have to be unpickled."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # it is none
        return ""
    others = sorted(set(names) - _BESIDE_WEIGHTS.keys())
    return f", for it holds {others[0]}, which is not unpickled" if others else ""


def _is_dict(content: Any) -> bool:
    return isinstance(content, Mapping) and all(isinstance(name, str) for name in content)


def _without_wrappers(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Take off the names of what was wrapped around the network while it trained."""
    for wrapper in _WRAPPERS:
        if state and all(name.startswith(wrapper) for name in state):
            return _without_wrappers({n.removeprefix(wrapper): t for n, t in state.items()})
    return state


def _refuse_compression(path: Path) -> None:
    """Refuse a torch file that could unpack to many times its size; torch's own are not packed."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(each.compress_type != zipfile.ZIP_STORED for each in archive.infolist()):
                raise ValueError("a compressed archive")
