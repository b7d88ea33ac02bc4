"""Names and numbers as charts write them, and the ticks of their axes."""

import numpy as np
from matplotlib.axis import Axis
from matplotlib.ticker import (
    EngFormatter,
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullLocator,
)

# The longest name that a chart writes out.
NAME_LENGTH = 24
# The word for a larger cost, by the word for a smaller one.
WORSE = {"fewer": "more", "smaller": "larger", "faster": "slower"}
_WITH_PREFIX = EngFormatter()


def short(name: str) -> str:
    """Shorten a name to one line of at most 24 characters, with an ellipsis if it was longer."""
    line = "".join(char if char.isprintable() else " " for char in name)
    return line if len(line) <= NAME_LENGTH else f"{line[: NAME_LENGTH - 1].rstrip()}…"


def is_same(ratio: float) -> bool:
    """Whether two costs with this ratio are reported as equal."""
    return 0.995 <= ratio < 1.005


def compact(number: float) -> str:
    """Format a number to three significant digits: 1.44 M, 128, 0.015."""
    rounded = float(f"{number:.3g}")
    # An SI prefix for large numbers only: a threshold of 2 m would not be understood.
    return _WITH_PREFIX(rounded) if abs(rounded) >= 1000 else f"{rounded:g}"


def log_ticks(low: float, high: float) -> list[float]:
    """Ticks for a logarithmic axis: decades, or 1, 2 and 5 times these below three decades.

    Args:
        low: above 0.
        high: above ``low``.
    """
    if high < 10 * low:
        ticks = MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(low, high)
    else:
        subs = (1,) if high >= 1000 * low else (1, 2, 5)
        ticks = LogLocator(subs=subs, numticks=8).tick_values(low, high)
    return [float(tick) for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]


def set_percent_ticks(axis: Axis) -> None:
    """Set ticks from 0 to 100 on an axis of percentages whose limits are final.

    The limits may be wider than that, to make room for labels.
    """
    low, high = np.clip(axis.get_view_interval(), 0, 100)
    ticks = MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high)
    axis.set_ticks([tick for tick in ticks if low <= tick <= high])


def set_log_ticks(axis: Axis, low: float, high: float, zero: float | None = None) -> None:
    """Set ticks on a logarithmic axis whose limits are final.

    Args:
        axis: x or y.
        low: start of the ticks, above 0.
        high: end of the ticks; if it is not above ``low``, there are none.
        zero: the position that represents 0, if there is one.
    """
    ticks = ([] if zero is None else [zero]) + (log_ticks(low, high) if low < high else [])
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda x, _: "0" if x == zero else compact(x)))
