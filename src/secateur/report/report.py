"""Writes the report of a run into its folder, or one that compares several runs."""

from collections.abc import Sequence
from pathlib import Path

from secateur.errors import RunError
from secateur.files.atomic_write import write_text
from secateur.files.progress import Bar, no_bar
from secateur.report.charts.theme import write_figure
from secateur.report.comparison import comparison_page
from secateur.report.figures import draw_charts, is_key
from secateur.report.layer_counts import count_layers
from secateur.report.markdown import run_markdown
from secateur.report.page import run_page
from secateur.report.rendering import is_page
from secateur.report.run_record import read_run

REPORT_FILE = "report.html"
FIGURES = "figures"


def write_report(folder: Path, out: Path | None = None, bar: Bar = no_bar) -> Path:
    """Write the page of a run.

    Args:
        folder: of the run, finished or not.
        out: path of the page; None for ``report.html`` in the run's folder, with the charts as SVG
            and PNG in ``figures``.
        bar: shows progress.

    Returns:
        Where the page is.

    Raises:
        RunError: the folder is not a run's, a record in it is not valid, or the page cannot be
            written.
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
        if old.suffix in (".svg", ".png") and is_key(old.stem) and old.stem not in keys:
            old.unlink()  # of an earlier recipe
    with bar("figures", len(every)) as advance:
        for chart in every:
            write_figure(chart.figure, chart.svg, folder / FIGURES, chart.key)
            advance(1)
    return path


def write_comparison(folders: Sequence[Path], out: Path | None = None) -> Path:
    """Write one page of several runs.

    Args:
        folders: of finished runs on the same pictures, with the same metric.
        out: path of the page; None for ``report.html`` in the nearest folder that contains all
            runs, or in the working folder if there is none.

    Returns:
        Where the page is.

    Raises:
        RunError: as for ``write_report``, or the runs cannot be compared.
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise RunError("a run is named twice; name each once")
    path = out or _common_parent(folders) / REPORT_FILE
    _check_page(path)
    if out is None and path.is_file() and not is_page(path):
        raise RunError(f"{path}: was not written by secateur; name another file with --out")
    write_text(path, comparison_page([read_run(folder) for folder in folders]))
    return path


def _common_parent(folders: Sequence[Path]) -> Path:
    """The nearest folder that contains all, as the user names it; never the root."""
    runs = {folder.resolve() for folder in folders}
    parents = (each for each in folders[0].parents if each != each.parent)
    return next(
        (each for each in parents if all(each.resolve() in run.parents for run in runs)), Path()
    )


def _check_page(path: Path) -> None:
    """Prevent a page from replacing a file that is not one."""
    if path.suffix not in (".html", ".htm"):
        raise RunError(f"{path}: not a name for a page; give one that ends in .html")


def write_markdown(folders: Sequence[Path], out: Path | None = None) -> str:
    """Summarise runs in Markdown, one after the other; errors as for ``write_report``.

    Args:
        folders: of the runs, finished or not.
        out: file to write; None for none.

    Returns:
        The text.
    """
    if out is not None and out.suffix != ".md":
        raise RunError(f"{out}: is not a Markdown file name; give one that ends in .md")
    text = "\n".join(markdown_report(folder) for folder in folders)
    if out is not None:
        write_text(out, text)
    return text


def markdown_report(folder: Path) -> str:
    """Summarise a run in Markdown; errors as for ``write_report``."""
    run = read_run(folder)
    return run_markdown(run, count_layers(run))
