"""The networks that a recipe can name, and what pruning needs to know of each."""

from collections.abc import Mapping
from typing import Annotated, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torchvision.models import VGG
from torchvision.models.detection.ssd import SSD

from secateur.models import ssd, vgg
from secateur.models.ssd import (
    RawSSD,
    SSDArchitecture,
    build_ssd,
    ssd_architecture,
)
from secateur.models.vgg import VGGArchitecture, build_vgg, vgg_architecture

Architecture = Annotated[SSDArchitecture | VGGArchitecture, Field(discriminator="network")]


def build_network(architecture: Architecture) -> nn.Module:
    """Build a network with fresh weights: a torchvision ``SSD`` or ``VGG``."""
    if isinstance(architecture, SSDArchitecture):
        return cast(nn.Module, build_ssd(architecture))
    return cast(nn.Module, build_vgg(architecture))


def raw_network(model: nn.Module) -> nn.Module:
    """Give the part of a network that pruning, counting and export see, from picture to outputs.

    Its parameters are the network's own, under the same names.
    """
    return RawSSD(model) if isinstance(model, SSD) else model


def example_input(architecture: Architecture) -> Tensor:
    """A picture of the network's nominal size, (1, 3, size, size)."""
    return torch.zeros(1, 3, architecture.size, architecture.size)


def layers(model: nn.Module) -> dict[str, str]:
    """Module path of each layer that a phase can name, in the order in which they run."""
    return vgg.layers(model) if isinstance(model, VGG) else ssd.convolutions(model)


def widths(model: nn.Module) -> dict[str, int]:
    """Filters of each layer that a phase can name."""
    return vgg.widths(model) if isinstance(model, VGG) else ssd.widths(model)


def output_layers(model: nn.Module, architecture: Architecture) -> dict[str, str]:
    """Module path of each layer that makes the network's outputs, and keeps all its filters."""
    if isinstance(architecture, SSDArchitecture):
        return ssd.heads(architecture)
    linears = [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    return {"class": linears[-1]}


def full_widths(architecture: Architecture) -> Architecture:
    """The same network with all the filters it was published with."""
    kept = architecture.model_dump(exclude={"network", "classes", "widths"})
    if isinstance(architecture, SSDArchitecture):
        return ssd_architecture(architecture.network, architecture.classes, **kept)
    # As published behind a map of 7 × 7; where one cell is left, as is usual on CIFAR-10.
    outputs = 512 if architecture.pool == 1 else 4096
    hidden = (outputs,) * sum(name in vgg.HIDDEN for name in architecture.widths)
    return vgg_architecture(architecture.classes, hidden=hidden, **kept)


def with_widths(architecture: Architecture, filters: Mapping[str, int]) -> Architecture:
    """The same network with other widths."""
    return architecture.model_copy(update={"widths": dict(filters)})
