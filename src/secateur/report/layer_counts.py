"""Filters, parameters and MACs of every layer, phase by phase (the paper's Table 1)."""

from dataclasses import dataclass

from secateur.models.layer_costs import LayerCost, layer_costs
from secateur.models.network import layers
from secateur.models.network_file import read_structure
from secateur.report.run_record import RunRecord


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One layer.

    Attributes:
        name: the paper's.
        filters: of the dense network, and after each phase that changed it.
        backbone: whether a phase can name it; the other layers give the network's outputs.
        before: its cost in the dense network.
        after: its cost in the last network.
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
        rows: in the order in which the layers run.
    """

    stages: list[str]
    rows: list[LayerRow]


def count_layers(run: RunRecord) -> LayerCounts | None:
    """Count the layers of a run's networks; None until the dense network is trained."""
    if run.dense is None:
        return None
    files = {"dense": run.dense.network}
    files |= {f"phase {p.number}": p.last.network for p in run.phases if p.last}
    networks = [read_structure(path) for path in files.values()]
    costs = [layer_costs(each.model, each.architecture) for each in networks]
    backbone = layers(networks[0].model)
    return LayerCounts(
        list(files),
        [
            LayerRow(
                name,
                [each[name].filters for each in costs],
                name in backbone,
                before,
                costs[-1][name],
            )
            for name, before in costs[0].items()
        ],
    )
