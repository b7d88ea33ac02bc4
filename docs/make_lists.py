"""Write the lists in the docs that come from tables of the package: python docs/make_lists.py.

A list is between ``<!-- NAME -->`` and ``<!-- end of NAME -->``; this script replaces it.
"""

from collections.abc import Callable
from pathlib import Path

from secateur.data.formats.table import markdown_table
from secateur.experiments.methods import METHODS
from secateur.export.table import EXPORTS
from secateur.pruning.criteria.table import CRITERIA
from secateur.pruning.penalties.table import PENALTIES
from secateur.runtimes.table import RUNTIMES

HERE = Path(__file__).parent


def formats() -> str:
    """Return the data layouts, those of detectors first."""
    return (
        f"For a detector:\n\n{markdown_table('detection')}\n\n"
        f"For a classifier:\n\n{markdown_table('classification')}"
    )


def exports() -> str:
    """Return the formats of exported files."""
    rows = (
        f"| `{name}` | `{each.suffix}` | {each.description} | {', '.join(each.precisions)} |"
        for name, each in EXPORTS.items()
    )
    return "\n".join(("| `--format` | file | | `--precision` |", "|---|---|---|---|", *rows))


def runtimes() -> str:
    """Return the runtimes."""
    rows = (f"| `{name}` | {each.description} |" for name, each in RUNTIMES.items())
    return "\n".join(("| `--runtime` | |", "|---|---|", *rows))


def penalties() -> str:
    """Return the penalties."""
    rows = (f"| `{name}` | {each.description} |" for name, each in PENALTIES.items())
    return "\n".join(("| `penalty` | |", "|---|---|", *rows))


def criteria() -> str:
    """Return the criteria, with the allocation that each has by default."""
    rows = (
        f"| `{name}` | {each.description} | `{each.allocation}` |"
        for name, each in CRITERIA.items()
    )
    return "\n".join(("| `criterion` | importance | `allocation` |", "|---|---|---|", *rows))


def methods() -> str:
    """Return the methods that ``secateur compare`` knows."""
    rows = (f"| `{name}` | {each.about} |" for name, each in METHODS.items())
    return "\n".join(("| method | |", "|---|---|", *rows))


# The lists of each page.
LISTS: dict[str, tuple[Callable[[], str], ...]] = {
    "data-layouts.md": (formats,),
    "shipping.md": (exports, runtimes),
    "compare.md": (methods,),
    "method.md": (penalties, criteria),
}


def filled(page: str) -> str:
    """Return the text of a page with its lists written again."""
    text = (HERE / page).read_text("utf-8")
    for make in LISTS[page]:
        start, end = f"<!-- {make.__name__} -->\n", f"<!-- end of {make.__name__} -->"
        before, found, rest = text.partition(start)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"{page} has no list {make.__name__}")
        text = f"{before}{start}\n{make()}\n\n{end}{after}"
    return text


if __name__ == "__main__":
    for name in LISTS:
        (HERE / name).write_text(filled(name), "utf-8")
