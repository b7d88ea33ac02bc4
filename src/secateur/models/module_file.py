"""Files of slim networks whose class is the user's own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from secateur.errors import ModelError
from secateur.models.network_file import save_network
from secateur.models.shapes import shrink_to_shapes


def save(path: str | Path, model: nn.Module, provenance: Mapping[str, Any] | None = None) -> None:
    """Write a network of any class: its state dict as safetensors.

    Args:
        path: of the file; written whole or not at all.
        model: left as it is. Tensors that share memory are each written in full.
        provenance: where it came from, as JSON, for the header.

    Raises:
        ModelError: its state dict holds something else than tensors.
        RunError: the file cannot be written.
    """
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise ModelError(f"{name} is {type(value).__name__}; a network file holds tensors only")
    save_network(Path(path), model, None, provenance or {})


def shrink_to(model: nn.Module, path: str | Path) -> nn.Module:
    """Build a slim network from a fresh dense one of the user's class and a slim one's file.

    Each tensor is cut down to the file's shape, the layers' own counts (``out_channels``,
    ``num_features``, ``groups``, …) are made to agree, and the weights are loaded.

    Args:
        model: of the class, and with the arguments, of the dense network; left as it is. The
            result has its devices, data types, and frozen parameters.
        path: of a file that ``save`` wrote. Nothing is unpickled from it, and no memory is taken
            for a tensor before its shape is found to fit.

    Returns:
        A new model of the same class, in the modes of training or evaluation that ``model`` is in.

    Raises:
        ModelError: the file is missing or not one of safetensors, or it is of another network:
            names or numbers of dimensions differ, or a tensor is larger than the model's.
    """
    path = Path(path)
    try:
        slim = shrink_to_shapes(model, _shapes(path))
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    try:
        slim.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError):
        raise ModelError(f"{path}: its tensors cannot be loaded; write the file again") from None
    return slim


def _shapes(path: Path) -> dict[str, list[int]]:
    if not path.is_file():
        raise ModelError(f"{path}: no such network file; give the path of a .safetensors file")
    try:
        with safe_open(path, "pt") as file:
            names = cast(list[str], file.keys())
            return {name: file.get_slice(name).get_shape() for name in names}
    except (SafetensorError, OSError):
        raise ModelError(f"{path}: not a safetensors file; give one that secateur wrote") from None
