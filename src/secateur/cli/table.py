"""Tables in the terminal, and how their cells are written.

Cells go through ``rich.text.Text``: in plain strings rich would read ``[brackets]`` of a file or
class name as markup and ``:words:`` as emoji.
"""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from secateur.cli.console import PLAIN_WIDTH, printable


def make_table(*columns: str, left: int = 1) -> Table:
    """Make an empty table: text in the first ``left`` columns, numbers in the others."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, name in enumerate(columns):
        is_text = number < left
        table.add_column(
            Text(name),
            justify="left" if is_text else "right",
            overflow="fold",
            no_wrap=not is_text,
        )
    return table


def add_row(table: Table, *cells: str) -> None:
    """Append a row; control characters are escaped."""
    table.add_row(*(Text(printable(cell)) for cell in cells))


def fits(table: Table, console: Console) -> bool:
    """Whether the terminal is wide enough for a table."""
    unbounded = console.options.update(width=PLAIN_WIDTH)
    return console.measure(table, options=unbounded).maximum <= console.width


def narrow(table: Table) -> None:
    """Save the padding on the left of every cell."""
    table.padding = (0, 1, 0, 0)


def percent(value: float | None) -> str:
    """Format a metric, in percent; ``-`` if it is undefined."""
    return "-" if value is None else f"{value:.2f}"


def with_error(mean: float, error: float | None) -> str:
    """Format a mean and, if known, its standard error."""
    return f"{mean:.2f}" if error is None else f"{mean:.2f} ± {error:.2f}"


def times_fewer(before: float, after: float) -> str:
    """Format the ratio by which a count has fallen."""
    return f"{before / after:.2f} times fewer"
