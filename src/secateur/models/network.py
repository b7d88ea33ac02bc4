"""A network of the table: building it, its layers, and the part that pruning sees."""

from typing import cast

import torch
from torch import Tensor, nn

from secateur.models.architecture import Architecture, NetworkBuilder, hidden_layers
from secateur.models.table import NETWORKS


def build_network(architecture: Architecture) -> nn.Module:
    """Build a dense network with fresh weights."""
    return NETWORKS[architecture.network].build(architecture)


def builder_of(model: nn.Module) -> NetworkBuilder | None:
    """Find the entry of NETWORKS that builds such models; None for another class."""
    return next((each for each in NETWORKS.values() if isinstance(model, each.modules)), None)


def raw_network(model: nn.Module) -> nn.Module:
    """Give the part of a network that pruning, counting and export see: image to raw outputs.

    Its parameters are the network's own, under the same names.
    """
    builder = builder_of(model)
    return builder.raw(model) if builder else model


def example_input(architecture: Architecture) -> Tensor:
    """Make an image tensor of the network's nominal size, (1, 3, size, size)."""
    return torch.zeros(1, 3, architecture.size, architecture.size)


def layers(model: nn.Module) -> dict[str, str]:
    """Module path of each layer that a phase can name, by its name, in running order."""
    builder = builder_of(model)
    return builder.layers(model) if builder else hidden_layers(model)


def layer_names(architecture: Architecture) -> list[str]:
    """List the names of the layers that a phase can name, in running order."""
    with torch.device("meta"):
        return list(layers(build_network(architecture)))


def layer_widths(model: nn.Module) -> dict[str, int]:
    """Number of filters of each layer that a phase can name, by its name."""
    return {
        name: len(cast(Tensor, model.get_submodule(path).weight))
        for name, path in layers(model).items()
    }


def output_layers(model: nn.Module, architecture: Architecture) -> dict[str, str]:
    """Module path of each layer that computes the network's outputs, by its name."""
    return NETWORKS[architecture.network].outputs(model, architecture)


def published_architecture(architecture: Architecture) -> Architecture:
    """Give the same network with all the filters it was published with."""
    return NETWORKS[architecture.network].published(architecture)
