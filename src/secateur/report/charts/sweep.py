"""Accuracy against every cost, over the trials of a sweep."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from secateur.report.charts.labels import label_points
from secateur.report.charts.number_text import set_log_ticks, set_percent_ticks, short
from secateur.report.charts.theme import LIGHT, new_figure, themed

# The most networks of the Pareto front that are named.
_MOST_NAMES = 25


class Tried(NamedTuple):
    """A network: name, accuracy (%), costs (above 0), and whether it is on the Pareto front."""

    name: str
    accuracy: float
    costs: Sequence[float]
    best: bool


@themed
def sweep(
    tried: Sequence[Tried], dense: tuple[float, Sequence[float]], costs: Sequence[str], metric: str
) -> Figure:
    """Draw the networks of all trials by accuracy and each cost, those on the Pareto front filled.

    The Pareto front is that of all costs together, so for one cost alone others may be better.

    Args:
        tried: the networks.
        dense: accuracy and costs of the dense network; the last costs may be missing.
        costs: name of each, with its unit.
        metric: name of the accuracy.
    """
    figure, panels = new_figure(3.4 * len(costs) + 0.4, 3.4, 1, len(costs), sharey=True)
    best = [each for each in tried if each.best]
    others = [each for each in tried if not each.best]
    values = [dense[0], *(each.accuracy for each in tried)]
    margin = max(0.12 * (max(values) - min(values)), 0.5)
    panels[0].set_ylim(min(values) - margin, max(values) + margin)
    set_percent_ticks(panels[0].yaxis)
    for index, (axes, name) in enumerate(zip(panels, costs, strict=True)):
        before = dense[1][index : index + 1]
        axes.plot(
            before,
            [dense[0]] * len(before),
            "s",
            color=LIGHT["dense"],
            markerfacecolor="none",
            markersize=5.5,
            gid="mark",
            label="dense",
        )
        for some, colour, size, label in (
            (others, LIGHT["muted"], 3.5, "dominated"),
            (best, LIGHT["slim"], 5.5, "Pareto front"),
        ):
            axes.plot(
                [each.costs[index] for each in some],
                [each.accuracy for each in some],
                "o",
                color=colour,
                markerfacecolor=colour if some is best else "none",
                markersize=size,
                gid="mark",
                label=label,
                zorder=3 if some is best else 2,
            )
        axes.set_xscale("log")
        drawn = [*before, *(each.costs[index] for each in tried)]
        if drawn:
            low, high = min(drawn) / 1.5, max(drawn) * 1.5
            axes.set_xlim(low, high)
            set_log_ticks(axes.xaxis, low, high)
        if 0 < len(best) <= _MOST_NAMES:
            label_points(
                axes,
                [(each.costs[index], each.accuracy) for each in best],
                [short(each.name) for each in best],
                [LIGHT["ink"]] * len(best),
            )
        axes.set_xlabel(name)
        axes.grid()
    panels[0].set_ylabel(f"{metric}, %")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper left", ncols=3)
    return figure
