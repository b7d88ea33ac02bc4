"""What each layer of an SSD has, and what it costs."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import nn
from torchvision.models.detection.ssd import SSD

from secateur.errors import ModelError
from secateur.measuring import layer_macs
from secateur.models.network_file import load_network
from secateur.models.ssd import (
    DETECTION_LAYERS,
    RawSSD,
    SSDArchitecture,
    build_ssd,
    convolutions,
    ssd_architecture,
)

DENSE_FILE = "dense.safetensors"
FULL = "full"


@dataclass(frozen=True, slots=True)
class LayerCost:
    """One convolution.

    Attributes:
        filters: how many it has.
        params: weights and bias, and those of the norm and the scale behind it.
        macs: multiply-adds for one picture of the network's nominal size.
    """

    filters: int
    params: int
    macs: int


def layer_names_by_path(ssd: SSD, architecture: SSDArchitecture) -> dict[str, str]:
    """Readable name of each convolution by module path, in the order the network runs.

    Those of the trunk are the paper's; ``conv4_3 class`` is the head that classifies on conv4_3.
    """
    names = {path: name for name, path in convolutions(ssd).items()}
    for number, reader in enumerate(
        DETECTION_LAYERS[architecture.network][: architecture.detection_layers]
    ):
        for head, what in (("classification", "class"), ("regression", "box")):
            names[f"head.{head}_head.module_list.{number}"] = f"{reader} {what}"
    return names


def layer_costs(ssd: SSD, architecture: SSDArchitecture) -> dict[str, LayerCost]:
    """Count each convolution by its readable name; together they are the whole network."""
    raw = RawSSD(ssd)
    names = layer_names_by_path(ssd, architecture)
    example = torch.zeros(1, 3, architecture.size, architecture.size)
    macs = layer_macs(raw, example)
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
        name: LayerCost(
            cast(nn.Conv2d, raw.get_submodule(path)).out_channels, params[name], macs[path]
        )
        for path, name in names.items()
    }


def costs_before(
    model: Path, architecture: SSDArchitecture, against: str | None
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
        full = ssd_architecture(
            architecture.network,
            architecture.classes,
            **architecture.model_dump(
                include={
                    "size",
                    "resize",
                    "batch_norm",
                    "detection_layers",
                    "scales",
                    "aspect_ratios",
                }
            ),
        )
        return layer_costs(build_ssd(full), full)
    other = Path(against) if against is not None else model.with_name(DENSE_FILE)
    if against is None and (not other.is_file() or other.samefile(model)):
        return None
    dense = load_network(other)
    if dense.architecture.network != architecture.network:
        raise ModelError(
            f"{other}: is {dense.architecture.network}, but {model} is {architecture.network}; "
            "compare networks of one kind"
        )
    return layer_costs(dense.ssd, dense.architecture)
