"""Filters, parameters and MACs of every layer, phase by phase (the paper's Table 1)."""

from dataclasses import dataclass
from pathlib import Path

import torch

from secateur.models.layer_costs import LayerCost, layer_costs
from secateur.models.network import Architecture, build_network
from secateur.models.network_file import read_header
from secateur.report.run_record import RunRecord


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One layer.

    Attributes:
        name: the paper's.
        filters: of the dense network, and after each phase that changed it.
        backbone: whether a phase can name it; the others make the network's outputs.
        before: what it costs in the dense network.
        after: what it costs in the last network.
    """

    name: str
    filters: list[int]
    backbone: bool
    before: LayerCost
    after: LayerCost


@dataclass(frozen=True, slots=True)
class LayerCounts:
    """All layers.

    Attributes:
        stages: ``dense``, and each phase that changed it.
        rows: in the order the network runs.
    """

    stages: list[str]
    rows: list[LayerRow]


def count_layers(run: RunRecord) -> LayerCounts | None:
    """Count the layers of a run; None before the dense network is trained."""
    if run.dense is None:
        return None
    stages: list[tuple[str, Path]] = [("dense", run.dense.network)]
    stages += [(f"phase {p.number}", p.retrain.network) for p in run.phases if p.retrain]
    architectures = [read_header(path).architecture for _, path in stages]
    costs = [_costs(each) for each in architectures]
    return LayerCounts(
        [name for name, _ in stages],
        [
            LayerRow(
                name,
                [each[name].filters for each in costs],
                name in architectures[0].widths,
                before,
                costs[-1][name],
            )
            for name, before in costs[0].items()
        ],
    )


def _costs(architecture: Architecture) -> dict[str, LayerCost]:
    # Shapes are enough to count by.
    with torch.device("meta"):
        return layer_costs(build_network(architecture), architecture)
