"""A table of the report: shown, sorted by numbers, and downloaded."""

import base64
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cell:
    """What is shown, and the number behind it; None where there is none."""

    text: str
    number: float | None = None

    @property
    def value(self) -> float | str:
        """The number, or what is shown."""
        return self.text if self.number is None else self.number


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under names of columns; the first column names the row.

    Attributes:
        columns: names.
        rows: as many cells each.
        file: name of the download.
        caption: what it shows.
        total: a last row that sorting leaves at its place.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    file: str = "table.csv"
    caption: str = ""
    total: Sequence[Cell] = ()

    @property
    def numbers(self) -> list[bool]:
        """Whether each column is of numbers, and stands at the right."""
        columns = zip(*self.rows, strict=True) if self.rows else [()] * len(self.columns)
        return [any(cell.number is not None for cell in column) for column in columns]

    @property
    def csv_base64(self) -> str:
        """The table as CSV with numbers in full, in base64."""
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(map(_harmless, self.columns))
        rows = [*self.rows, self.total] if self.total else self.rows
        writer.writerows([_harmless(cell.value) for cell in row] for row in rows)
        return base64.b64encode(text.getvalue().encode()).decode()


def _harmless(value: float | str) -> float | str:
    """Keep a spreadsheet from taking a name for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") else value


def count(number: int) -> Cell:
    """A whole number."""
    return Cell(f"{number:,}", number)


def percent(value: float | None) -> Cell:
    """Percent or points, with two decimals."""
    return Cell("–", None) if value is None else Cell(f"{value:.2f}", value)


def change(before: float | None, after: float | None) -> Cell:
    """By how many points a metric changed."""
    if before is None or after is None:
        return Cell("–", None)
    text = f"{after - before:+.2f}".replace("-", "−")
    return Cell("0.00" if text in ("+0.00", "−0.00") else text, after - before)
