"""A table of the report, which can be sorted and downloaded."""

import base64
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cell:
    """A text, and the number that it shows; None for text alone."""

    text: str
    number: float | None = None

    @property
    def value(self) -> float | str:
        """The number, or else the text."""
        return self.text if self.number is None else self.number


@dataclass(frozen=True, slots=True)
class Table:
    """Rows and columns; the first column names the row.

    Attributes:
        columns: their names.
        rows: one cell a column.
        file: name of the download.
        caption: what the table shows.
        total: a last row that is not sorted.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    file: str = "table.csv"
    caption: str = ""
    total: Sequence[Cell] = ()

    @property
    def numbers(self) -> list[bool]:
        """Whether each column has numbers, and is aligned to the right."""
        columns = zip(*self.rows, strict=True) if self.rows else [()] * len(self.columns)
        return [any(cell.number is not None for cell in column) for column in columns]

    @property
    def csv_base64(self) -> str:
        """The table as CSV in base64, with unrounded numbers."""
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(map(_harmless, self.columns))
        rows = [*self.rows, self.total] if self.total else self.rows
        writer.writerows([_harmless(cell.value) for cell in row] for row in rows)
        return base64.b64encode(text.getvalue().encode()).decode()


def _harmless(value: float | str) -> float | str:
    """Prevent a spreadsheet from evaluating a name as a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") else value


def count(number: int) -> Cell:
    """A whole number."""
    return Cell(f"{number:,}", number)


def percent(value: float | None) -> Cell:
    """Percent or points, to two decimals."""
    return Cell("–", None) if value is None else Cell(f"{value:.2f}", value)


def change(before: float | None, after: float | None) -> Cell:
    """The change of a metric, in points."""
    if before is None or after is None:
        return Cell("–", None)
    text = f"{after - before:+.2f}".replace("-", "−")
    return Cell("0.00" if text in ("+0.00", "−0.00") else text, after - before)
