"""``secateur scales``: how many detection layers a detector needs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from secateur.cli.console import ConsoleReporter, open_console, say
from secateur.cli.options import Changes, RecipeArgument, Seeds, run_folder
from secateur.cli.table import add_row, fits, make_table, narrow, with_error

if TYPE_CHECKING:
    from secateur.experiments.scales import Scales


def scales(
    recipe: RecipeArgument,
    layers: Annotated[
        str | None,
        typer.Option(
            metavar="K,K",
            help="Numbers of detection layers. Default: 1, 2, … up to the recipe's.",
        ),
    ] = None,
    seeds: Seeds = 3,
    changes: Changes = None,
    run: Annotated[
        Path | None,
        typer.Option(
            "--run",
            metavar="DIR",
            help="Folder. Default: runs/NAME-scales, with the recipe's name.",
        ),
    ] = None,
) -> None:
    """Measure how many detection layers a detector needs.

    For each number k, it keeps the first k detection layers and no later layer, trains this
    detector, compresses it by the recipe, and evaluates both networks on test. A phase that
    extends beyond the last layer is shortened. A phase with no layers left is dropped, and the
    last phase then retrains on more pictures. Shares to keep are those of each
    detector's own parameters and MACs.

    Large objects need late detection layers: the table shows the side of the largest default box
    beside accuracy and cost.

    Each k and seed is a run in DIR/kK/seedS, which 'secateur report' reads. Give the same command
    again to resume a stopped comparison. DIR/scales.json has all results, DIR/scales.svg a chart
    of them.
    """
    from secateur.config.recipe import load_recipe
    from secateur.experiments.chart import draw_scales
    from secateur.experiments.scales import compare_scales

    loaded = load_recipe(recipe, changes or ())
    folder = run_folder(run, loaded, "-scales")
    console = open_console()
    result = compare_scales(loaded, folder, layers, range(seeds), ConsoleReporter(console))
    draw_scales(result, folder)
    show_scales(console, result)
    say(console, f"written: {folder / 'scales.json'}, with a chart in scales.svg")


def show_scales(console: Console, scales: "Scales") -> None:
    """Print size, cost and metric of the detector with each number of detection layers."""
    table = make_table(
        "layers",
        "last\nmap",
        "largest\nbox, px",
        "dense\nM params",
        "slim\nM params",
        "slim\nG MACs",
        f"dense\n{scales.metric}",
        f"slim\n{scales.metric}",
    )
    for mean in scales.means:
        add_row(
            table,
            str(mean.layers),
            str(mean.cells),
            f"{mean.box:.0f}",
            f"{mean.dense_params / 1e6:.3f}",
            f"{mean.params / 1e6:.3f}",
            f"{mean.macs / 1e9:.3f}",
            with_error(mean.dense, mean.dense_error),
            with_error(mean.slim, mean.slim_error),
        )
    if not fits(table, console):
        narrow(table)
    say(console, f"by number of detection layers, on {scales.split}:")
    console.print(table)
