"""The threshold search."""

import math
from collections.abc import Collection, Sequence

from matplotlib.figure import Figure

from secateur.report.charts.labels import label_points
from secateur.report.charts.number_text import set_log_ticks, set_percent_ticks
from secateur.report.charts.theme import LIGHT, new_figure, themed


@themed
def threshold_search(
    trace: Sequence[tuple[float, float, float]],
    chosen: float,
    reference: float,
    floor: float,
    metric: str,
    unit: str = "magnitude",
    estimated: Collection[float] = (),
) -> Figure:
    """Draw the accuracy at each threshold that was tried.

    Args:
        trace: threshold, share of zeros (0 to 1) and accuracy (%) of each trial; at least one.
        chosen: the threshold that was applied.
        reference: accuracy of the sparsified network, in %.
        floor: lowest accuracy within the tolerance, in %.
        metric: name of the accuracy.
        unit: of the threshold.
        estimated: thresholds whose accuracy is an estimate; their markers are hollow.
    """
    figure, (axes,) = new_figure(4.4, 2.8)
    trials = sorted(trace)
    any_positive = any(t > 0 for t, _, _ in trials)
    positive = [t for t, _, _ in trials if t > 0] or [0.01]
    # A logarithmic axis has no zero; it is drawn left of all other thresholds.
    zero = min(positive) / 3 if any(t <= 0 for t, _, _ in trials) else None
    points = [(t if t > 0 else min(positive) / 3, value) for t, _, value in trials]
    axes.axhspan(floor, reference, color=LIGHT["good"], alpha=0.12, linewidth=0)
    axes.axhline(reference, color=LIGHT["good"], linewidth=1, label="sparsified network")
    axes.axhline(floor, color=LIGHT["good"], linewidth=1, linestyle="--", label="tolerance")
    axes.plot(*zip(*points, strict=True), color=LIGHT["dense"], linewidth=1, alpha=0.6)
    taken = [math.isclose(trial[0], chosen) for trial in trials]
    for (t, _, _), point, is_chosen in zip(trials, points, taken, strict=True):
        axes.plot(
            *([each] for each in point),
            marker="D" if is_chosen else "o",
            color=LIGHT["slim" if is_chosen else "dense"],
            markersize=7 if is_chosen else 5,
            markerfacecolor="none" if t in estimated else None,
            zorder=3,
            linestyle="none",
            gid="mark",
            label="chosen" if is_chosen else "_",
        )
    values = [*(value for _, value in points), reference, floor]
    margin = max(0.18 * (max(values) - min(values)), 0.5)
    low, high = points[0][0] / 1.7, points[-1][0] * 1.7
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.set_ylim(min(values) - margin, max(values) + margin)
    set_percent_ticks(axes.yaxis)
    set_log_ticks(axes.xaxis, low if zero is None else 2 * zero, high if any_positive else 0, zero)
    label_points(
        axes,
        points,
        [f"{share:.1%}".replace("%", " %") for _, share, _ in trials],
        [LIGHT["slim" if is_chosen else "muted"] for is_chosen in taken],
        distance=6,
    )
    axes.set_xlabel(f"threshold on the {unit}; labels: share of zeros")
    axes.set_ylabel(f"{metric}, % (validation)")
    axes.grid(axis="y")
    figure.legend(loc="outside upper left", ncols=3)
    return figure
