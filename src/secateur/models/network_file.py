"""Network files: safetensors whose header says how to build the dense network.

The header holds the name of a builder and its arguments; the tensors have the slim network's
shapes. A file is loaded by building the dense network without memory (on the ``meta`` device),
shrinking it to the shapes, and filling it. Nothing is unpickled.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from pydantic_core import from_json
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from secateur.errors import ModelError, first_line
from secateur.files.arguments import checked
from secateur.files.atomic_write import atomic_write
from secateur.files.file_kind import file_kind
from secateur.models.architecture import Architecture, Width
from secateur.models.network import build_network, example_input, raw_network
from secateur.models.shapes import check_shapes, load_state, shrink_to_shapes, tensor_shapes
from secateur.models.table import NETWORKS
from secateur.models.wrappers import uncompiled_name

VERSION = 2
_KEY = "secateur"
# Types of a network's tensors; safetensors has others, of the same shapes.
_TYPES = {"F64", "F32", "F16", "BF16", "I64"}


class FileHeader(BaseModel):
    """JSON in a network file's metadata.

    Version 1 had ``architecture``, with a slim network's own widths, instead of builder and
    arguments; it is read as the arguments of a network that its tensors were not cut from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = Field(VERSION, description="of this header")
    builder: str | None = Field(
        description="name in NETWORKS, or module:function; null: only the caller can build it"
    )
    arguments: dict[str, JsonValue] = Field({}, description="of the builder, for the dense network")
    provenance: dict[str, JsonValue] = Field({}, description="the run, the step, the metric")
    norms: dict[str, Width] = Field(
        {}, description="channels of each norm that has no tensors to tell them, by module path"
    )


@dataclass(frozen=True, slots=True)
class NetworkFile:
    """A network and what its file says of it.

    Attributes:
        model: the network, in evaluation mode.
        architecture: the dense network's, that it was cut from.
        provenance: what its writer recorded: the run, the recipe, the metric.
    """

    model: nn.Module
    architecture: Architecture
    provenance: dict[str, Any]


@checked
def save_network(
    path: str | os.PathLike[str],
    model: nn.Module,
    architecture: Architecture,
    provenance: Mapping[str, Any],
) -> None:
    """Write a network and what is needed to build it again.

    Args:
        path: of the file.
        model: the network, dense or slim.
        architecture: the dense network's.
        provenance: where it came from, as JSON.

    Raises:
        ModelError: the network was not cut from that architecture's.
    """
    with torch.device("meta"):
        check_shapes(tensor_shapes(build_network(architecture)), tensor_shapes(model))
    arguments = architecture.model_dump(mode="json", exclude={"network"})
    write_network(Path(path), model, architecture.network, arguments, provenance)


def write_network(
    path: Path,
    model: nn.Module,
    builder: str | None,
    arguments: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> None:
    """Write a network and its header; arguments as in ``FileHeader``.

    Raises:
        ModelError: arguments or provenance are not JSON.
    """
    header = {
        "version": VERSION,
        "builder": builder,
        "arguments": dict(arguments),
        "provenance": dict(provenance),
    }
    if norms := _norms_without_tensors(model):
        header["norms"] = norms
    try:
        text = json.dumps(header)
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"{path}: arguments and provenance must be JSON, but {first_line(error)}; give "
            "numbers, texts, lists and mappings"
        ) from None
    # Copies, because safetensors refuses tensors that share memory.
    tensors = {
        uncompiled_name(name): tensor.clone().contiguous()
        for name, tensor in model.state_dict().items()
    }
    with atomic_write(path) as draft:
        # One entry only: safetensors writes several in any order, and the same network must give
        # the same file.
        save_file(tensors, draft, {_KEY: text})


@checked
def load_network(path: str | os.PathLike[str]) -> NetworkFile:
    """Load a network of the table NETWORKS, dense or slim, on the CPU.

    Raises:
        ModelError: the file is missing, is no network file, or its tensors cannot have been cut
            from the network that its header describes. No memory is allocated before that check.
    """
    path = Path(path)
    structure = read_structure(path)
    shapes = tensor_shapes(structure.model)
    model = shrink_to_shapes(structure.model, shapes, device="cpu")
    if _on_meta(model):  # what is not in the state dict has values only where it is really built
        model = shrink_to_shapes(build_network(structure.architecture), shapes)
    for name, tensor in load_tensors(path, model).items():
        if not tensor.isfinite().all():
            raise ModelError(f"{path}: {name} has values that are not finite; write the file again")
        if name.endswith("running_var") and (tensor < 0).any():
            raise ModelError(f"{path}: {name} has negative variances; write the file again")
    return NetworkFile(model.eval(), structure.architecture, structure.provenance)


def read_structure(path: str | Path) -> NetworkFile:
    """Read a network's layers, shapes and header, but not its weights.

    Returns:
        The network on the ``meta`` device, which takes no memory.

    Raises:
        ModelError: as for ``load_network``.
    """
    path = Path(path)
    text, tensors = _read_file(path)
    header = _parse_header(path, text)
    architecture = _architecture(path, header)
    for name, (_, dtype) in tensors.items():
        if dtype not in _TYPES:
            raise ModelError(
                f"{path}: {name} has dtype {dtype}, which weights cannot have; write it again"
            )
    with torch.device("meta"), torch.no_grad():
        dense = build_network(architecture).eval()
        try:
            model = shrink_to_shapes(dense, {n: shape for n, (shape, _) in tensors.items()})
        except ModelError as error:
            raise ModelError(f"{path}: {error}; the file was altered; write it again") from None
        try:
            raw_network(model)(example_input(architecture))
        except (RuntimeError, ValueError):
            raise ModelError(
                f"{path}: the shapes of its tensors do not fit each other; the file was altered; "
                "write it again"
            ) from None
    return NetworkFile(model, architecture, header.provenance)


def read_header(path: Path) -> FileHeader:
    """Read the header of a network file.

    Raises:
        ModelError: the file is missing, or is no network file.
    """
    return _parse_header(path, _read_file(path)[0])


def read_shapes(path: Path) -> dict[str, list[int]]:
    """Read the shape of each tensor of a safetensors file, by name.

    Raises:
        ModelError: the file is missing, or not a safetensors file.
    """
    return {name: shape for name, (shape, _) in _read_file(path)[1].items()}


def read_norms(path: Path) -> dict[str, int]:
    """Read the channels of norms that have no tensors, by module path; none from others' files."""
    try:
        return read_header(path).norms
    except ModelError:
        return {}


def load_tensors(
    path: Path, model: nn.Module, names: Mapping[str, str] | None = None
) -> dict[str, Tensor]:
    """Fill a network of the file's shapes with its tensors, and give these.

    Args:
        path: of the file.
        model: changed in place.
        names: the network's name of each tensor, by the file's; None if they are the same.

    Raises:
        ModelError: a tensor cannot be read.
    """
    try:
        tensors = {(names or {}).get(name, name): each for name, each in load_file(path).items()}
        load_state(model, tensors)
    except (SafetensorError, RuntimeError, OSError):
        raise ModelError(f"{path}: its tensors cannot be loaded; write the file again") from None
    return tensors


def _norms_without_tensors(model: nn.Module) -> dict[str, int]:
    return {
        uncompiled_name(path): module.num_features
        for path, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._NormBase) and not module.state_dict()
    }


def _read_file(path: Path) -> tuple[str | None, dict[str, tuple[list[int], str]]]:
    """Read the header's text, and the shape and data type of each tensor by name."""
    if path.is_dir():
        raise ModelError(f"{path}: is a folder; name a file in it, such as slim.safetensors")
    if not path.is_file():
        raise ModelError(f"{path}: no such network file; give the path of a .safetensors file")
    try:
        with safe_open(path, "pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            found = {name: (each.get_shape(), each.get_dtype()) for name, each in slices.items()}
            return (file.metadata() or {}).get(_KEY), found
    except (SafetensorError, OSError):
        exported = path.suffix in (".onnx", ".xml")
        cure = (
            "give the .safetensors file of the network that was exported"
            if exported
            else "give a complete one that secateur wrote"
        )
        raise ModelError(f"{path}: not a safetensors file, but {file_kind(path)}; {cure}") from None


def _parse_header(path: Path, text: str | None) -> FileHeader:
    try:
        content = from_json(text or "", allow_inf_nan=False)
        version = content.get("version", 1)
        if version == 1 and content.keys() == {"architecture", "provenance"}:
            architecture = content["architecture"]
            arguments = {} if architecture is None else dict(architecture)
            content = {
                "version": 1,
                "builder": None if architecture is None else arguments.pop("network"),
                "arguments": arguments,
                "provenance": content["provenance"],
            }
        elif isinstance(version, int) and version > VERSION:
            raise ModelError(
                f"{path}: has a header of version {version}, and this secateur reads versions up "
                f"to {VERSION}; update secateur"
            )
        elif version != VERSION:
            raise ValueError("no version of this header")
        return FileHeader.model_validate(content, strict=True)
    except (ValueError, AttributeError, KeyError, TypeError):
        raise ModelError(
            f"{path}: a safetensors file without secateur's header; give one that secateur wrote"
        ) from None


def _architecture(path: Path, header: FileHeader) -> Architecture:
    name = header.builder
    if name is None:
        raise ModelError(
            f"{path}: a network of a custom class, which only Python can build; load it into an "
            "instance with secateur.shrink_to(model, path), and write it for other programs with "
            "secateur.export_model"
        )
    if ":" in name:
        raise ModelError(
            f"{path}: is built by {name[:80]!r}, which secateur does not import by itself; "
            "use secateur.load_model(path, factory) or, for a file you trust, allow_import=True"
        )
    if name not in NETWORKS:
        raise ModelError(
            f"{path}: its builder {name[:80]!r} is not among {', '.join(NETWORKS)}; update secateur"
        )
    try:
        return NETWORKS[name].architecture.model_validate({**header.arguments, "network": name})
    except ValidationError:
        raise ModelError(
            f"{path}: its header does not describe a network {name}; the file was altered; write "
            "it again"
        ) from None


def _on_meta(model: nn.Module) -> bool:
    """Tell whether any tensor of a network has no values, whether or not in its state dict."""
    values = (leaf for module in model.modules() for leaf in tree_leaves(vars(module)))
    return any(leaf.is_meta for leaf in values if isinstance(leaf, Tensor))
