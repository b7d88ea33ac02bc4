"""The middle of many times, and how far they spread."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles


@dataclass(frozen=True, slots=True)
class Times:
    """How long a network took, over and over; milliseconds.

    Attributes:
        median: half of the times are below.
        lower: a quarter of the times is below.
        upper: a quarter of the times is above.
        count: of times.
    """

    median: float
    lower: float
    upper: float
    count: int


def times_of(seconds: Sequence[float]) -> Times:
    """Sum up times; a mean would follow the few that something else held up."""
    thousandths = [1000 * each for each in seconds]
    middle = median(thousandths)
    lower = upper = middle
    if len(thousandths) > 1:
        lower, _, upper = quantiles(thousandths, n=4, method="inclusive")
    return Times(middle, lower, upper, len(thousandths))
