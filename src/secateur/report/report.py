"""A run's report, written beside what it was read from."""

from collections.abc import Sequence
from pathlib import Path

from secateur.errors import RunError
from secateur.files.atomic_write import write_text
from secateur.files.progress import Bar, no_bar
from secateur.report.charts.theme import write_figure
from secateur.report.comparison import comparison_page
from secateur.report.figures import draw_charts
from secateur.report.layer_counts import count_layers
from secateur.report.markdown import run_markdown
from secateur.report.page import run_page
from secateur.report.run_record import read_run

REPORT_FILE = "report.html"
FIGURES = "figures"


def write_report(folder: Path, out: Path | None = None, bar: Bar = no_bar) -> Path:
    """Write the page of a run.

    Args:
        folder: the run's; finished or not.
        out: the page; None for ``report.html`` in the run's folder, and the charts as SVG and PNG
            in its ``figures``.
        bar: shows progress.

    Returns:
        Where the page is.

    Raises:
        RunError: it is no run folder, an artifact in it is not as a run writes it, or the page
            cannot be written.
        ModelError: one of its networks cannot be read.
    """
    if out is not None:
        _check_page(out)
    run = read_run(folder)
    counts = count_layers(run)
    charts = draw_charts(run, counts)
    if out is not None:
        write_text(out, run_page(run, counts, charts))
        return out
    path = folder / REPORT_FILE
    write_text(path, run_page(run, counts, charts))
    every = list(charts)
    keys = {chart.key for chart in every}
    for old in (folder / FIGURES).glob("*.*"):
        if old.suffix in (".svg", ".png") and old.stem not in keys:
            old.unlink()  # of an earlier recipe
    with bar("figures", len(every)) as advance:
        for chart in every:
            write_figure(chart.figure, chart.svg, folder / FIGURES, chart.key)
            advance(1)
    return path


def write_comparison(folders: Sequence[Path], out: Path | None = None) -> Path:
    """Write one page of several runs.

    Args:
        folders: the runs', all finished, on the same pictures and by the same metric.
        out: the page; None for ``report.html`` in the nearest folder that holds all runs, or in
            the working folder where none does.

    Returns:
        Where the page is.

    Raises:
        RunError: as for ``write_report``, or the runs cannot be compared.
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise RunError("a run is named twice; name each once")
    path = out or _holder(folders) / REPORT_FILE
    _check_page(path)
    write_text(path, comparison_page([read_run(folder) for folder in folders]))
    return path


def _holder(folders: Sequence[Path]) -> Path:
    """The nearest folder that all lie in."""
    wanted = {folder.resolve() for folder in folders}
    holders = (each for each in folders[0].parents if each != each.parent)  # but for the root
    return next(
        (each for each in holders if all(each.resolve() in run.parents for run in wanted)), Path()
    )


def _check_page(path: Path) -> None:
    """Refuse to write over what is no page."""
    if path.suffix not in (".html", ".htm"):
        raise RunError(f"{path}: is no name of a page; give one that ends in .html")


def markdown_report(folder: Path) -> str:
    """Sum up a run in Markdown; errors as for ``write_report``."""
    run = read_run(folder)
    return run_markdown(run, count_layers(run))
