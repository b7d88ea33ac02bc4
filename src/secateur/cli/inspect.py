"""``secateur inspect``: the layers of a network file and what they cost."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from secateur.cli.console import open_console, say
from secateur.cli.options import Model
from secateur.cli.table import add_row, make_table

if TYPE_CHECKING:
    from secateur.models.layer_costs import LayerCost

    Costs = Mapping[str, LayerCost]


def inspect(
    model: Model,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL|full",
            help="Compare with this network file, or with the same network at full width. "
            "Default: dense.safetensors in the folder of MODEL, if there is one.",
        ),
    ] = None,
) -> None:
    """Show every layer's filters, parameters and MACs.

    Compared with another network, the table shows the filters of both, and the shares of
    parameters and MACs that are kept.

    A MAC is one multiply-add of a convolution or linear layer, for one picture of the network's
    nominal size. The parameters of a batch norm are counted with the convolution before it.
    """
    from secateur.models.layer_costs import costs_before, layer_costs
    from secateur.models.network_file import load_network

    network = load_network(model)
    architecture = network.architecture
    before = costs_before(model, architecture, against)
    console = open_console()
    say(console, f"{model}: {architecture.network} at {architecture.size} pixels")
    console.print(layer_table(layer_costs(network.model, architecture), before))
    say(console, f"classes: {', '.join(architecture.classes)}")
    for key, value in network.provenance.items():
        say(console, f"{key}: {f'{value:.6g}' if isinstance(value, float) else value}")


def layer_table(after: "Costs", before: "Costs | None") -> Table:
    """List filters, parameters and MACs of every layer, compared with ``before`` if given."""
    if before is None:
        table = make_table("layer", "filters", "parameters", "MACs")
        for name, cost in after.items():
            add_row(table, name, f"{cost.filters:,}", f"{cost.params:,}", f"{cost.macs:,}")
        table.add_section()
        params, macs = _totals(after)
        add_row(table, "total", "", f"{params:,}", f"{macs:,}")
        return table
    table = make_table("layer", "filters", "parameters", "kept", "MACs", "kept")
    for name in dict.fromkeys([*before, *after]):
        old, new = _counts(before.get(name)), _counts(after.get(name))
        _add_comparison(table, name, f"{old[0]} → {new[0]}", old[1:], new[1:])
    table.add_section()
    _add_comparison(table, "total", "", _totals(before), _totals(after))
    return table


def _add_comparison(
    table: Table, name: str, filters: str, before: tuple[int, int], after: tuple[int, int]
) -> None:
    cells = []
    for old, new in zip(before, after, strict=True):
        cells += [f"{new:,}", f"{new / old:.1%}" if old else "-"]
    add_row(table, name, filters, *cells)


def _totals(costs: "Costs") -> tuple[int, int]:
    return sum(c.params for c in costs.values()), sum(c.macs for c in costs.values())


def _counts(cost: "LayerCost | None") -> tuple[int, int, int]:
    """Filters, parameters and MACs; zeros for a layer that one of the networks lacks."""
    return (cost.filters, cost.params, cost.macs) if cost else (0, 0, 0)
