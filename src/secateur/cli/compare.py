"""``secateur compare``: compression methods under equal conditions."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from secateur.cli.console import ConsoleReporter, open_console, say
from secateur.cli.options import Changes, RecipeArgument, Seeds, run_folder
from secateur.cli.table import add_row, make_table, with_error

if TYPE_CHECKING:
    from secateur.experiments.compare import Comparison


def compare(
    recipe: RecipeArgument,
    criteria: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME",
            help="Methods to compare, such as ours,l1,random; docs/compare.md describes them, and "
            "the error for an unknown name lists them. taylor+reconstruct adds our reconstruction "
            "to a baseline. Default: ours and the baselines that suit the recipe and need no "
            "further package.",
        ),
    ] = None,
    keep_macs: Annotated[
        str, typer.Option(metavar="SHARE,SHARE", help="Budgets: shares of the MACs to keep.")
    ] = "0.5,0.3,0.15",
    seeds: Seeds = 3,
    changes: Changes = None,
    run: Annotated[
        Path | None,
        typer.Option(
            "--run",
            metavar="DIR",
            help="Folder. Default: runs/NAME-compare, with the recipe's name.",
        ),
    ] = None,
) -> None:
    """Compare compression methods under equal conditions.

    All methods have the same dense network, data, schedule and budget; a method that does not
    sparsify retrains on more pictures instead. The recipe's own goal and round_to are not used.

    Each method, budget and seed is a run in DIR/seedS/METHOD/keepSHARE, which 'secateur report'
    reads; 'scratch' is a training only. Give the same command again to resume a stopped comparison.
    DIR/comparison.json has all results, DIR/comparison.svg a chart of them.
    """
    from secateur.config.recipe import load_recipe
    from secateur.experiments.chart import draw_comparison
    from secateur.experiments.compare import compare as compare_methods
    from secateur.experiments.compare import parse_shares
    from secateur.experiments.methods import default_methods

    loaded = load_recipe(recipe, changes or ())
    folder = run_folder(run, loaded, "-compare")
    methods = default_methods(loaded)
    if criteria is not None:
        methods = [name.strip() for name in criteria.split(",")]
    console = open_console()
    result = compare_methods(
        loaded, folder, methods, parse_shares(keep_macs), range(seeds), ConsoleReporter(console)
    )
    draw_comparison(result, folder)
    show_comparison(console, result)
    say(console, f"written: {folder / 'comparison.json'}, with a chart in comparison.svg")


def show_comparison(console: Console, comparison: "Comparison") -> None:
    """Print the metric of every method at every budget, and notes on what limits its meaning."""
    console.print(comparison_table(comparison))
    if max(mean.seeds for mean in comparison.means) == 1:
        say(console, "one seed: small differences may be noise; --seeds 3 shows how large that is")
    if comparison.poor:
        say(console, "the dense network's accuracy is too low for the comparison to mean anything")


def comparison_table(comparison: "Comparison") -> Table:
    """Give a row for each method, a column for each budget: the metric, with standard error."""
    budgets = list(dict.fromkeys(mean.keep_macs for mean in comparison.means))
    name = f"{comparison.metric} on {comparison.split}"
    table = make_table(name, *(f"{budget:.0%} of MACs" for budget in budgets))
    add_row(table, "dense", *[with_error(comparison.dense, None)] * len(budgets))
    for method in dict.fromkeys(mean.method for mean in comparison.means):
        found = {m.keep_macs: m for m in comparison.means if m.method == method}
        cells = (with_error(found[b].test, found[b].test_error) for b in budgets)
        add_row(table, method, *cells)
    return table
