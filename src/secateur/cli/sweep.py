"""``secateur sweep``: a search for recipes on the Pareto front."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from secateur.cli.console import ConsoleReporter, open_console, say
from secateur.cli.options import Changes, RecipeArgument, run_folder
from secateur.cli.table import add_row, make_table, percent, times_fewer

if TYPE_CHECKING:
    from secateur.experiments.sweep.result import Dense, Point, Sweep


def sweep(
    recipe: RecipeArgument,
    trials: Annotated[
        int, typer.Option(min=1, help="Number of trials, over all processes that share a storage.")
    ],
    goal: Annotated[
        Literal["budget", "levels"],
        typer.Option(
            help="How each trial is limited: by shares of parameters and MACs to keep, or by the "
            "one of them that the recipe has; or by the published levels s_F, s_F_both and s_G."
        ),
    ] = "budget",
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="A database that several processes or machines share, such as "
            "postgresql://user:password@host/name. Default: DIR/sweep.db.",
        ),
    ] = None,
    latency: Annotated[
        bool,
        typer.Option(
            "--latency",
            help="Also minimise latency: each network is timed on torch with batch size 1. Run "
            "nothing else meanwhile.",
        ),
    ] = False,
    changes: Changes = None,
    run: Annotated[
        Path | None,
        typer.Option(
            "--run", metavar="DIR", help="Folder. Default: runs/NAME-sweep, with the recipe's name."
        ),
    ] = None,
) -> None:
    """Search for settings that give small and accurate networks.

    A trial is the recipe with other strengths, learning rates, phases and goals, in ranges around
    its own values (docs/method.md). The first trial is the recipe itself. Trials are judged by
    accuracy on validation, parameters and MACs; unpromising ones are stopped before they are
    retrained. Test is evaluated once, at the end, for the networks on the Pareto front.

    DIR/sweep.json has all trials, DIR/sweep.svg a chart of them, and DIR/front a recipe and a
    network for each point of the front. The runs are in DIR/trials; 'secateur report' reads them.

    To share the work, give the same command several times: in one folder on one machine; or, with
    --storage, on several machines, each of which trains its own dense network. Give the same
    command again to resume a stopped sweep. If a process dies, another one repeats its trial.
    """
    from secateur.config.recipe import load_recipe
    from secateur.files.optional import require

    require("optuna")
    from secateur.experiments.sweep.chart import draw_sweep
    from secateur.experiments.sweep.finish import FRONT
    from secateur.experiments.sweep.sweep import sweep as sweep_recipe

    loaded = load_recipe(recipe, changes or ())
    folder = run_folder(run, loaded, "-sweep")
    console = open_console()
    result = sweep_recipe(
        loaded,
        folder,
        trials,
        ConsoleReporter(console),
        storage=storage,
        goal=goal,
        latency=latency,
    )
    draw_sweep(result, folder)
    console.print(front_table(result))
    say(console, sweep_totals(result))
    say(console, f"written: {folder / 'sweep.json'}, with a chart in sweep.svg")
    say(console, f"recipes and networks of the front: {folder / FRONT}")


def front_table(sweep: "Sweep") -> Table:
    """Give a row for the dense network and each point of the Pareto front, the largest first."""
    dense, metric = sweep.dense, sweep.metric
    timed = "latency" in sweep.objectives
    columns = [f"{metric} on validation", f"on {sweep.split}", "parameters", "", "MACs", ""]
    table = make_table("trial", *columns, *(["ms per picture"] if timed else []))

    def add(name: str, network: "Dense | Point", *latency: str) -> None:
        test = None if network.test is None else network.test[metric]
        counts = []
        for before, after in ((dense.params, network.params), (dense.macs, network.macs)):
            counts += [f"{after:,}", "" if network is dense else times_fewer(before, after)]
        add_row(table, name, f"{network.validation:.2f}", percent(test), *counts, *latency)

    add("dense", dense, *(["-"] if timed else []))
    for point in sweep.front:
        add(str(point.trial), point, *([] if point.latency is None else [f"{point.latency:.2f}"]))
    return table


def sweep_totals(sweep: "Sweep") -> str:
    """Count the trials, and the training steps that early stopping saved."""
    states = [row.state for row in sweep.trials]
    complete, stopped = states.count("complete"), states.count("given up")
    ends = f"{complete} complete" + (f", {stopped} stopped early" if stopped else "")
    steps = f"{sweep.steps:,} of {sweep.steps + sweep.spared:,} training steps"
    return f"{complete + stopped} trials: {ends}; {steps}"
