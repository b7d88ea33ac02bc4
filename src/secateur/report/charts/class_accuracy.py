"""Accuracy of each class, dense and slim."""

import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from secateur.report.charts.number_text import short
from secateur.report.charts.theme import LIGHT, new_figure, themed

# The most classes that a chart shows; those that changed least are left out.
MOST_CLASSES = 60


@themed
def class_accuracy(
    classes: Sequence[str],
    dense: Sequence[float | None],
    slim: Sequence[float | None],
    metric: str,
) -> Figure:
    """Draw two points a class, in the given order; of more than 60, those that changed most.

    Args:
        classes: their names, from top to bottom.
        dense: accuracy of the dense network, in %; None: not known.
        slim: accuracy of the slim network, in %; None: not known.
        metric: name of the accuracy.
    """
    rows = [
        (short(name), math.nan if a is None else a, math.nan if b is None else b)
        for name, a, b in zip(classes, dense, slim, strict=True)
    ]
    if len(rows) > MOST_CLASSES:
        changes = [-1 if math.isnan(a - b) else abs(a - b) for _, a, b in rows]
        most = sorted(range(len(rows)), key=lambda row: -changes[row])[:MOST_CLASSES]
        rows = [rows[row] for row in sorted(most)]
    figure, (axes,) = new_figure(4.6, 0.8 + 0.185 * len(rows))
    for row, (_, a, b) in enumerate(rows):
        if not math.isnan(a - b):
            axes.plot([a, b], [row, row], color=LIGHT["dense"], linewidth=2, alpha=0.45, zorder=1)
    for label, column, marker in (("dense", 1, "o"), ("slim", 2, "D")):
        axes.plot(
            [row[column] for row in rows],
            range(len(rows)),
            marker,
            color=LIGHT[label],
            markersize=5 if marker == "o" else 4,
            gid="mark",
            label=label,
            clip_on=False,
        )
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    axes.tick_params(axis="y", length=0, labelcolor=LIGHT["ink"])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    known = [value for _, *pair in rows for value in pair if not math.isnan(value)] or [0, 100]
    margin = max(1.0, 0.05 * (max(known) - min(known)))
    axes.set_xlim(max(0, min(known) - margin), min(100, max(known) + margin))
    axes.set_xlabel(f"{metric}, %")
    axes.grid()
    figure.legend(loc="outside lower center", ncols=2)
    return figure
