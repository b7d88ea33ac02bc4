"""``secateur report``: pages and tables of runs."""

from pathlib import Path
from typing import Annotated

import typer

from secateur.cli.console import ConsoleReporter, open_console, say


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN", help="Run folders, finished or not; several are compared."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File for the page, without separate charts, or for the Markdown. Default: "
            "report.html in the run folder, or in the folder that contains all runs; Markdown is "
            "printed.",
        ),
    ] = None,
    markdown: Annotated[
        bool,
        typer.Option(
            "--markdown",
            help="Tables in Markdown, for a pull request or a model card; of several runs, one "
            "after the other.",
        ),
    ] = False,
) -> None:
    """Write a page about a run, or a comparison of several runs.

    The page is one file that opens from disk and loads nothing else. It shows the reduction in
    parameters and MACs, filters by layer, accuracy after every step and by class, test pictures,
    the weights, the threshold and the selection, and how to reproduce the run. The charts are also
    written to RUN/figures, as SVG and PNG.

    It is made from the files of the run: no data set is read, and no network is run. Several runs
    must be finished and evaluated alike; their page shows the Pareto front.
    """
    from secateur.report.report import write_comparison, write_markdown, write_report

    if markdown:
        text = write_markdown(runs, out)
        if out is None:
            typer.echo(text, nl=False)
            return
    elif len(runs) > 1:
        out = write_comparison(runs, out)
    else:
        out = write_report(runs[0], out, ConsoleReporter(open_console(stderr=True)).bar)
    say(open_console(), f"written: {out}")
