"""Accuracy against cost, over several runs."""

from collections.abc import Sequence
from typing import Literal

from matplotlib.figure import Figure

from secateur.report.charts.labels import label_points
from secateur.report.charts.number_text import set_log_ticks, set_percent_ticks, short
from secateur.report.charts.theme import LIGHT, new_figure, themed

Point = tuple[str, Literal["dense", "slim"], float, float]


@themed
def pareto(points: Sequence[Point], x_name: str, metric: str) -> Figure:
    """Draw the networks of several runs by cost and accuracy, and their Pareto front.

    Args:
        points: run, "dense" or "slim", cost (above 0) and accuracy (%) of each network.
        x_name: what the cost is, with its unit.
        metric: name of the accuracy.
    """
    figure, (axes,) = new_figure(5.2, 3.4)
    best = [points[i] for i in pareto_front(points)]
    axes.step(
        [cost for *_, cost, _ in best],
        [accuracy for *_, accuracy in best],
        where="post",
        color=LIGHT["good"],
        linewidth=1,
        label="Pareto front",
    )
    for role in ("dense", "slim"):
        of_role = [point for point in points if point[1] == role]
        axes.plot(
            [cost for *_, cost, _ in of_role],
            [accuracy for *_, accuracy in of_role],
            "o",
            color=LIGHT[role],
            markerfacecolor="none" if role == "dense" else LIGHT[role],
            markersize=5.5,
            gid="mark",
            label=role,
            zorder=3,
        )
    costs, values = [p[2] for p in points], [p[3] for p in points]
    low, high = min(costs) / 1.9, max(costs) * 1.9
    margin = max(0.12 * (max(values) - min(values)), 0.5)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.set_ylim(min(values) - margin, max(values) + margin)
    set_percent_ticks(axes.yaxis)
    set_log_ticks(axes.xaxis, low, high)
    label_points(
        axes,
        [(cost, value) for *_, cost, value in points],
        [short(name) for name, *_ in points],
        [LIGHT["ink" if role == "slim" else "muted"] for _, role, *_ in points],
        distance=5,
    )
    axes.set_xlabel(x_name)
    axes.set_ylabel(f"{metric}, %")
    axes.grid()
    figure.legend(loc="outside upper left", ncols=3)
    return figure


def pareto_front(points: Sequence[Point]) -> list[int]:
    """Indices of the points that no other dominates, by rising cost.

    A point is dominated by one that costs no more, is no less accurate, and is better in one of
    the two. So of equal points all or none are in the front.
    """
    order = sorted(range(len(points)), key=lambda i: (points[i][2], -points[i][3]))
    front: list[int] = []
    for i in order:
        last = points[front[-1]][2:] if front else None
        if last is None or points[i][3] > last[1] or points[i][2:] == last:
            front.append(i)
    return front
