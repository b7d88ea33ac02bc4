"""What each layer of a network has, and what it costs."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from secateur.errors import ModelError
from secateur.models.cost import layer_macs
from secateur.models.network import (
    Architecture,
    build_network,
    example_input,
    full_widths,
    layers,
    output_layers,
    raw_network,
)
from secateur.models.network_file import load_network

DENSE_FILE = "dense.safetensors"
FULL = "full"


@dataclass(frozen=True, slots=True)
class LayerCost:
    """One convolution or linear layer.

    Attributes:
        filters: how many it has.
        params: weights and bias, and those of the norm and the scale behind it.
        macs: multiply-adds for one picture of the network's nominal size.
    """

    filters: int
    params: int
    macs: int


def layer_names_by_path(model: nn.Module, architecture: Architecture) -> dict[str, str]:
    """Readable name of each layer by module path, in the order the network runs.

    Those of the backbone are the paper's; ``conv4_3 class`` is the head that classifies on conv4_3.
    """
    named = {**layers(model), **output_layers(model, architecture)}
    return {path: name for name, path in named.items()}


def layer_costs(model: nn.Module, architecture: Architecture) -> dict[str, LayerCost]:
    """Count each layer by its readable name; together they are the whole network."""
    raw = raw_network(model)
    names = layer_names_by_path(model, architecture)
    macs = layer_macs(raw, example_input(architecture))
    params: dict[str, int] = defaultdict(int)
    last = ""
    for path, module in raw.named_modules():
        if path in names:
            last = names[path]
        own = sum(p.numel() for p in module.parameters(recurse=False))
        if own:
            # A norm follows its convolution; the one other owner of parameters scales conv4_3.
            known = path in names or isinstance(module, nn.BatchNorm2d)
            params[last if known else "conv4_3"] += own
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
        architecture: its own.
        against: another network file, or ``full`` for the same network at full widths; None for
            ``dense.safetensors`` beside the model.

    Returns:
        As ``layer_costs``; None where there is nothing to compare with.

    Raises:
        ModelError: the file is missing or no network, or one of another kind.
    """
    if against == FULL:
        full = full_widths(architecture)
        return layer_costs(build_network(full), full)
    other = Path(against) if against is not None else model.with_name(DENSE_FILE)
    if against is None and (not other.is_file() or other.samefile(model)):
        return None
    dense = load_network(other)
    if dense.architecture.network != architecture.network:
        raise ModelError(
            f"{other}: is {dense.architecture.network}, but {model} is {architecture.network}; "
            "compare networks of one kind"
        )
    return layer_costs(dense.model, dense.architecture)
