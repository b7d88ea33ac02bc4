"""Names and numbers as charts write them."""

import math

import numpy as np
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

# The longest name that a chart writes out.
NAME_LENGTH = 24
_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def short(name: str) -> str:
    """Give a name of at most 24 characters, on one line, with an ellipsis where it was longer."""
    line = "".join(char if char.isprintable() else " " for char in name)
    return line if len(line) <= NAME_LENGTH else f"{line[: NAME_LENGTH - 1].rstrip()}…"


# What a cost becomes that grows, by what it becomes when it falls.
WORSE = {"fewer": "more", "smaller": "larger", "faster": "slower"}


def is_same(share: float) -> bool:
    """Whether a cost is still the same, as far as anybody would say so."""
    return 0.995 <= share < 1.005


def compact(number: float) -> str:
    """Give a number in three digits: 1.44 M, 128, 0.015."""
    number = float(f"{number:.3g}")  # before a unit is chosen: 999.7 is 1 k
    for size, unit in _UNITS:
        if abs(number) >= size:
            return f"{number / size:.3g} {unit}"
    if 0 < abs(number) < 1e-4:
        digits, exponent = f"{number:.2e}".split("e")
        return f"{float(digits):g}e{int(exponent)}"
    return f"{number:.3g}"


def log_ticks(low: float, high: float) -> list[float]:
    """Give round numbers for a logarithmic axis, two to eight of them.

    Args:
        low: above 0.
        high: above ``low``.
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    stride = math.ceil(len(decades) / 7)
    for digits, enough in (((1,), 3), ((1, 3), 3), ((1, 2, 5), 2), (range(1, 10), 2)):
        ticks = [
            digit * 10.0**decade
            for decade in (decades[::stride] if digits == (1,) else decades)
            for digit in digits
        ]
        ticks = [tick for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
        if len(ticks) >= enough:
            return ticks
    return [tick for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high]


def set_percent_ticks(axis: Axis) -> None:
    """Put round numbers from 0 to 100 at an axis whose limits are final.

    Args:
        axis: of shares in %, which may reach farther to make room for labels.
    """
    low, high = np.clip(axis.get_view_interval(), 0, 100)
    ticks = MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high)
    axis.set_ticks([tick for tick in ticks if low <= tick <= high])


def set_log_ticks(axis: Axis, low: float, high: float, zero: float | None = None) -> None:
    """Put round numbers at a logarithmic axis whose limits are final.

    Args:
        axis: of either direction.
        low: where ticks begin, above 0.
        high: where they end; not above ``low``: there are none.
        zero: the place that stands for 0, if there is one.
    """
    ticks = ([] if zero is None else [zero]) + (log_ticks(low, high) if low < high else [])
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda x, _: "0" if x == zero else compact(x)))
