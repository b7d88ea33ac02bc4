"""Accuracy of a detector by its number of detection layers."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from secateur.report.charts.number_text import compact
from secateur.report.charts.theme import LIGHT, new_figure, themed


class Scale(NamedTuple):
    """A detector with a number of detection layers.

    Attributes:
        layers: how many.
        params: of the slim network.
        dense: accuracy of the dense network, %, and its standard error or None.
        slim: accuracy of the slim network, %, and its standard error or None.
    """

    layers: int
    params: float
    dense: tuple[float, float | None]
    slim: tuple[float, float | None]


@themed
def detection_scales(scales: Sequence[Scale], metric: str) -> Figure:
    """Draw accuracy against the number of detection layers, for the dense and the slim networks.

    Args:
        scales: by rising number of layers.
        metric: name of the accuracy.
    """
    figure, (axes,) = new_figure(5.2, 3.4)
    layers = [scale.layers for scale in scales]
    for role in ("dense", "slim"):
        found: list[tuple[float, float | None]] = [getattr(scale, role) for scale in scales]
        drawn = axes.errorbar(
            layers,
            [value for value, _ in found],
            [error or 0.0 for _, error in found],
            color=LIGHT[role],
            marker="o",
            markerfacecolor="none" if role == "dense" else LIGHT[role],
            linewidth=2.2 if role == "slim" else 1.1,
            capsize=2,
            label=role,
            zorder=3 if role == "slim" else 2,
        )
        drawn.lines[0].set_gid("mark")  # without the error bars
    axes.set_xticks(layers, [f"{each.layers}\n{compact(each.params)}" for each in scales])
    axes.margins(x=0.08)
    axes.set_xlabel("detection layers, and parameters of the slim network")
    axes.set_ylabel(f"{metric}, %")
    axes.grid(axis="y")
    figure.legend(loc="outside upper left", ncols=2)
    return figure
