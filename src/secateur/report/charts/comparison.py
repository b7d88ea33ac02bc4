"""Accuracy of several methods of compression at several budgets."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from secateur.report.charts.theme import LIGHT, SERIES, new_figure, themed

# Without the blue that is close to the first curve's.
_OTHERS = SERIES[1:]
# Two more than colours, so that no two of many curves share colour and marker.
_MARKERS = "osD^vPX"


class Curve(NamedTuple):
    """One method: shares of the MACs kept, accuracy (%) and its standard error or None at each."""

    name: str
    shares: Sequence[float]
    accuracy: Sequence[float]
    errors: Sequence[float | None]


@themed
def comparison(curves: Sequence[Curve], dense: float, metric: str) -> Figure:
    """Draw accuracy against the share of MACs that is kept, one line a method.

    Args:
        curves: the first is emphasised.
        dense: accuracy of the dense network, in %.
        metric: name of the accuracy.
    """
    figure, (axes,) = new_figure(6.8, 4.2)
    axes.axhline(dense, color=LIGHT["dense"], linewidth=1, linestyle="--", label="dense")
    for number, curve in enumerate(curves):
        first = number == 0
        colour = LIGHT["slim"] if first else _OTHERS[(number - 1) % len(_OTHERS)]
        drawn = axes.errorbar(
            [100 * share for share in curve.shares],
            curve.accuracy,
            [error or 0.0 for error in curve.errors],
            color=colour,
            marker=_MARKERS[number % len(_MARKERS)],
            linestyle="-" if number <= len(_OTHERS) else ":",
            linewidth=2.2 if first else 1.1,
            markersize=5 if first else 4,
            capsize=2,
            label=curve.name,
            zorder=3 if first else 2,
        )
        drawn.lines[0].set_gid("mark")  # without the error bars
    axes.set_xscale("log")
    ticks = sorted({100 * share for curve in curves for share in curve.shares})
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("MACs kept, %")
    axes.set_ylabel(f"{metric}, %")
    axes.grid(axis="y")
    figure.legend(loc="outside right upper")
    return figure
