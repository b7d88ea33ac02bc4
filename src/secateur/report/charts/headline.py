"""Costs and accuracy of the dense and the slim network."""

from collections.abc import Mapping
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from secateur.report.charts.number_text import WORSE, is_same, set_percent_ticks, short
from secateur.report.charts.theme import LABELS, LIGHT, TICKS, TITLES, new_figure, themed


class Cost(NamedTuple):
    """One cost of both networks.

    Attributes:
        dense: in any unit.
        slim: in the same unit.
        dense_text: with the unit: "1.55 M".
        slim_text: with the unit.
        better: word for a smaller cost: "fewer", "smaller" or "faster".
    """

    dense: float
    slim: float
    dense_text: str
    slim_text: str
    better: str


@themed
def headline(
    costs: Mapping[str, Cost], metric: str, dense: float, slim: float, split: str
) -> Figure:
    """Draw each cost of the slim network as a share of the dense one's, and both accuracies.

    Args:
        costs: by name, one row each.
        metric: name of the accuracy.
        dense: accuracy of the dense network, in %.
        slim: accuracy of the slim network, in %.
        split: on which the accuracy was measured.
    """
    figure, (bars, points) = new_figure(
        4.8, 0.42 * len(costs) + 0.9, rows=2, height_ratios=(0.42 * len(costs), 0.6)
    )
    _draw_costs(bars, costs)
    _draw_accuracy(points, metric, dense, slim, split)
    return figure


def _draw_costs(axes: Axes, costs: Mapping[str, Cost]) -> None:
    shares = {
        name: cost.slim / cost.dense if cost.dense > 0 else 1.0 for name, cost in costs.items()
    }
    limit = max([1.0, *shares.values()])
    for row, (name, cost) in enumerate(costs.items()):
        share = shares[name]
        axes.barh(row, 1.0, 0.36, color=LIGHT["dense"], alpha=0.45, align="edge", gid="mark")
        colour = LIGHT["bad" if share >= 1.005 else "slim"]
        axes.barh(row, share, 0.36, color=colour, align="edge", gid="mark")
        if share > 1:
            axes.plot([1, 1], [row, row + 0.36], color=LIGHT["background"])
        axes.text(0, row - 0.1, short(name), color=LIGHT["ink"], fontsize=LABELS)
        axes.text(
            limit,
            row - 0.1,
            _ratio(share, cost.better),
            ha="right",
            color=colour,
            weight="bold",
            fontsize=TITLES,
        )
        axes.text(
            0.76 * limit,
            row - 0.1,
            f"{cost.dense_text} → {cost.slim_text}",
            ha="right",
            color=LIGHT["muted"],
            fontsize=LABELS,
        )
    axes.set_xlim(0, limit)
    axes.set_ylim(len(costs) - 0.55, -0.5)
    axes.set_axis_off()


def _ratio(share: float, better: str) -> str:
    if share <= 0:
        return ""
    if is_same(share):
        return "the same"
    if share > 1:
        return f"{share:.3g}× {WORSE[better]}"
    times = 1 / share
    return f"{times:.1f}× {better}" if times < 100 else f"{times:.0f}× {better}"


def _draw_accuracy(axes: Axes, metric: str, dense: float, slim: float, split: str) -> None:
    axes.plot([dense, slim], [0, 0], color=LIGHT["grid"], linewidth=2, zorder=1)
    low, high = sorted((dense, slim))
    for name, value, other in (("dense", dense, slim), ("slim", slim, dense)):
        axes.plot([value], [0], "o", color=LIGHT[name], markersize=7, gid="mark", clip_on=False)
        right = value > other or (value == other and name == "slim")
        axes.annotate(
            f"{name} {value:.1f} %",
            (value, 0),
            (4 if right else -4, 7),
            textcoords="offset points",
            ha="left" if right else "right",
            color=LIGHT["slim"] if name == "slim" else LIGHT["muted"],
            weight="bold" if name == "slim" else "normal",
            fontsize=LABELS,
        )
    # At least ten points, so that a small change looks small.
    margin = max(5.0, (high - low) * 0.75)
    # Labels may be outside 0 to 100; ticks are not.
    axes.set_xlim(low - margin, high + margin)
    set_percent_ticks(axes.xaxis)
    axes.set_ylim(-0.5, 1)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(f"{metric}, % ({split})", fontsize=TICKS)
