"""Files of slim networks whose class is the user's own."""

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from secateur.errors import ModelError, first_line
from secateur.files.arguments import checked
from secateur.models.network_file import (
    load_network,
    load_tensors,
    read_header,
    read_norms,
    read_shapes,
    write_network,
)
from secateur.models.shapes import shrink_to_shapes
from secateur.models.table import NETWORKS
from secateur.models.wrappers import plain_names, uncompiled_name


@checked
def save(
    path: str | os.PathLike[str],
    model: nn.Module,
    provenance: Mapping[str, Any] | None = None,
    *,
    builder: str | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> None:
    """Write a network of any class: its state dict as safetensors.

    Args:
        path: of the file, ``.safetensors``; written whole or not at all.
        model: not changed. Tensors that share memory are each written in full.
        provenance: where it came from, as JSON, for the header.
        builder: ``module:function`` that builds the dense network, such as
            ``torchvision.models:resnet18``; ``load_model`` uses it.
        arguments: its keyword arguments, as JSON.

    Raises:
        ModelError: the state dict holds something other than tensors, the builder is not a
            ``module:function``, or the path ends in something else.
        RunError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ModelError(f"{path}: a network file ends in .safetensors; rename it")
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise ModelError(f"{name} is {type(value).__name__}; a network file holds tensors only")
    if builder is not None and len([part for part in builder.split(":") if part]) != 2:
        raise ModelError(
            f"builder={builder!r}: write module:function, such as torchvision.models:resnet18"
        )
    write_network(path, model, builder, arguments or {}, provenance or {})


@checked
def shrink_to(model: nn.Module, path: str | os.PathLike[str]) -> nn.Module:
    """Build a slim network from a fresh dense one of the user's class and a slim one's file.

    Each tensor is cut down to the file's shape, the layers' own counts (``out_channels``,
    ``num_features``, ``groups``, …) are set to match, and the weights are loaded.

    Args:
        model: of the class, and with the arguments, of the dense network; not changed. The result
            has its devices, data types, and frozen parameters.
        path: of a file that ``save`` wrote, or of another safetensors file with a state dict, also
            of a network that was compiled or wrapped in DistributedDataParallel or a Lightning
            module. Nothing is unpickled from it, and no memory is allocated before all shapes are
            checked.

    Returns:
        A new model of the same class, in the modes of training or evaluation that ``model`` is in.

    Raises:
        ModelError: the file is missing or not a safetensors file, or it is of another network:
            names or numbers of dimensions differ, or a tensor is larger than the model's.
    """
    path = Path(path)
    shapes = read_shapes(path)
    own = {plain: name for name, plain in plain_names(model.state_dict()).items()}
    names = {name: own.get(plain, name) for name, plain in plain_names(shapes).items()}
    try:
        slim = shrink_to_shapes(model, {names[name]: shape for name, shape in shapes.items()})
    except ModelError as error:
        raise ModelError(f"{path}: {error}; build the model as the dense one was built") from None
    load_tensors(path, slim, names)
    norms = read_norms(path)
    for name, module in slim.named_modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            module.num_features = norms.get(uncompiled_name(name), module.num_features)
    return slim


@checked
def load_model(
    path: str | os.PathLike[str],
    factory: Callable[..., nn.Module] | None = None,
    *,
    allow_import: bool = False,
) -> nn.Module:
    """Load the network of any file, dense or slim, on the CPU.

    Args:
        path: of a file that ``save`` or a run wrote.
        factory: builds the dense network from the arguments in the file's header; not needed for a
            network that secateur builds itself.
        allow_import: import and call the ``module:function`` that the header names. The file then
            decides which code runs: use it only for files that you trust.

    Returns:
        The network, in evaluation mode.

    Raises:
        ModelError: the file is no network file, only its user can build the network, or it does
            not fit the network that was built.
    """
    path = Path(path)
    header = read_header(path)
    builder = header.builder
    if factory is None:
        if builder is None or builder in NETWORKS or not allow_import:
            return load_network(path).model  # or its refusal, which says what to do
        module, _, name = builder.partition(":")
        try:
            factory = cast(Callable[..., nn.Module], getattr(import_module(module), name))
        except (ImportError, AttributeError, ValueError):
            raise ModelError(
                f"{path}: its builder {builder[:80]!r} cannot be imported; install its package, or "
                "pass a factory"
            ) from None
    try:
        model = factory(**header.arguments)
    except TypeError as error:
        raise ModelError(
            f"{path}: its builder does not take its arguments: {first_line(error)}"
        ) from None
    return shrink_to(model, path).eval()
