"""``secateur curve``: what a trained network can do at several sizes without training."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from secateur.cli.console import ConsoleReporter, open_console, say
from secateur.cli.options import Json, Model, choice
from secateur.cli.table import add_row, make_table, percent
from secateur.runtimes.table import RUNTIMES

if TYPE_CHECKING:
    from secateur.experiments.curve import Curve


def curve(
    model: Model,
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder for the networks, curve.json and the charts."),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="RECIPE|FOLDER",
            help="A recipe, a folder of annotated pictures, or a folder of pictures without "
            "labels. Default: the recipe of MODEL's run folder.",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Split to measure on. Default: a recipe's validation, a folder's test.",
        ),
    ] = None,
    keep: Annotated[
        str,
        typer.Option(metavar="SHARE,SHARE", help="Shares of the MACs to keep."),
    ] = "0.9,0.8,0.7,0.6,0.5,0.4,0.3,0.2,0.1",
    layers: Annotated[
        bool, typer.Option("--layers", help="Also measure what each layer can lose alone.")
    ] = False,
    pictures: Annotated[
        int, typer.Option(min=1, help="Pictures to reconstruct with; labels are not used.")
    ] = 256,
    runtime: Annotated[
        str | None, choice("--runtime", RUNTIMES, "Runtime to time on. Default: torch.")
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0, help="Approximate time for timing each network.")
    ] = 2.0,
    as_json: Json = False,
) -> None:
    """Show what a network can do at smaller sizes without training.

    For each size, filters are removed, what reads them is reconstructed by least squares from some
    pictures, and the network is verified, measured and timed. Each is a network file,
    DIR/keep-50.safetensors for half of the MACs: take the one that suits.

    Labels are only needed to measure. With a folder of pictures without labels, the agreement with
    the dense network is measured: its detections of score 0.4 and above, or its classes, are taken
    as true, on the half of the pictures that is not used to reconstruct.

    With --layers, 25, 50 and 75 % of the filters of one layer at a time are removed.

    DIR/curve.json has all results, DIR/curve.svg and DIR/layers.svg the charts. Give the same
    command again to resume a stopped one.
    """
    from secateur.experiments.chart import draw_curve
    from secateur.experiments.curve import CurveSettings, measure_curve, parse_sizes

    settings = CurveSettings(parse_sizes(keep), layers, pictures, split, runtime, seconds)
    reporter = ConsoleReporter(open_console(stderr=True))
    result = measure_curve(model, data, out, settings, reporter)
    draw_curve(result, out)
    if as_json:
        typer.echo(json.dumps(asdict(result), indent=2))
        return
    console = open_console()
    what = "agreement with the dense network" if result.agreement else "accuracy"
    say(
        console,
        f"without training, {what} on {result.measured:,} pictures of {result.split}; "
        f"{result.seen:,} pictures to reconstruct with:",
    )
    if result.note:
        say(console, f"note: {result.note}")
    console.print(sizes_table(result))
    if result.layers:
        say(console, f"{result.metric} where one layer alone loses filters:")
        console.print(layers_table(result))
    say(console, f"networks, curve.json and charts: {out}")


def sizes_table(curve: "Curve") -> Table:
    """Give a row for each size."""
    table = make_table(
        "MACs", "M params", "G MACs", curve.metric, "change", "ms", "times\nfaster", "file"
    )
    dense = curve.sizes[0]
    for size in curve.sizes:
        known = size.value is not None and dense.value is not None
        change = f"{(size.value or 0) - (dense.value or 0):+.2f}" if known else "-"
        own, first = size.milliseconds, dense.milliseconds
        add_row(
            table,
            f"{size.keep:.0%}" if size.file else "dense",
            f"{size.params / 1e6:.3f}",
            f"{size.macs / 1e9:.3f}",
            percent(size.value),
            change if size.file else "",
            f"{own.median:.2f}" if own else "-",
            f"{first.median / own.median:.2f}" if own and first else "-",
            size.file or "",
        )
    return table


def layers_table(curve: "Curve") -> Table:
    """Give a row for each layer: the metric for each share of its filters that is removed."""
    shares = sorted({each.removed for each in curve.layers})
    table = make_table("layer", "filters", *(f"{share:.0%}\nremoved" for share in shares))
    for layer in dict.fromkeys(each.layer for each in curve.layers):
        rows = {each.removed: each for each in curve.layers if each.layer == layer}
        cells = [percent(rows[share].value) if share in rows else "-" for share in shares]
        add_row(table, layer, f"{next(iter(rows.values())).of:,}", *cells)
    return table
