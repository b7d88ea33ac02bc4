"""Filters, parameters and MACs of each layer of a network."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from secateur.errors import ModelError
from secateur.models.architecture import Architecture
from secateur.models.cost import layer_macs
from secateur.models.network import (
    build_network,
    example_input,
    layers,
    output_layers,
    published_architecture,
    raw_network,
)
from secateur.models.network_file import read_structure
from secateur.models.table import NETWORKS

DENSE_FILE = "dense.safetensors"
FULL = "full"


@dataclass(frozen=True, slots=True)
class LayerCost:
    """One convolution or linear layer.

    Attributes:
        filters: number of filters, or of outputs of a linear layer.
        params: its weights and bias, and those of the norm and the scale that follow it.
        macs: multiply-adds for one image of the network's nominal size.
    """

    filters: int
    params: int
    macs: int


def layer_names_by_path(model: nn.Module, architecture: Architecture) -> dict[str, str]:
    """Give the name of each layer by module path, in running order.

    ``conv4_3 class`` is the head of an SSD that classifies on the map of conv4_3.
    """
    named = {**layers(model), **output_layers(model, architecture)}
    return {path: name for name, path in named.items()}


def layer_costs(model: nn.Module, architecture: Architecture) -> dict[str, LayerCost]:
    """Count each layer, by its name; the layers together are the whole network.

    Args:
        model: the network, dense or slim; one on the ``meta`` device is counted without memory.
        architecture: the dense network's.
    """
    raw = raw_network(model)
    names = layer_names_by_path(model, architecture)
    device = next(model.parameters()).device
    macs = layer_macs(raw, example_input(architecture).to(device))
    attached = NETWORKS[architecture.network].attached
    params: dict[str, int] = defaultdict(int)
    last = ""
    for path, module in raw.named_modules():
        last = names.get(path, last)
        # A norm follows its convolution.
        params[attached.get(path, last)] += sum(p.numel() for p in module.parameters(recurse=False))
    return {
        name: LayerCost(len(raw.get_parameter(f"{path}.weight")), params[name], macs[path])
        for path, name in names.items()
    }


def costs_before(
    model: Path, architecture: Architecture, against: str | None
) -> dict[str, LayerCost] | None:
    """Count the layers of the network that a network file is compared with.

    Args:
        model: the network file.
        architecture: of that file.
        against: another network file, or ``full`` for the same network with all the filters it was
            published with; None for ``dense.safetensors`` in the same folder.

    Returns:
        As ``layer_costs``; None if there is no network to compare with.

    Raises:
        ModelError: the file is missing, is no network file, or holds another kind of network.
    """
    if against == FULL:
        full = published_architecture(architecture)
        with torch.device("meta"):
            return layer_costs(build_network(full), full)
    other = Path(against) if against is not None else model.with_name(DENSE_FILE)
    if against is None and (not other.is_file() or other.samefile(model)):
        return None
    dense = read_structure(other)
    if dense.architecture.network != architecture.network:
        raise ModelError(
            f"{other}: is {dense.architecture.network}, but {model} is {architecture.network}; "
            "compare networks of the same kind"
        )
    return layer_costs(dense.model, dense.architecture)
