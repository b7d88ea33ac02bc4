"""Precision over recall of a class."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from secateur.report.charts.number_text import short
from secateur.report.charts.theme import LIGHT, new_panel, themed

Curve = tuple[Sequence[float], Sequence[float], float]


@themed
def precision_recall(name: str, dense: Curve | None, slim: Curve | None) -> Figure:
    """Draw precision over recall, with the average precision of each network.

    Args:
        name: of the class.
        dense: recall (0 to 1, ascending), precision (0 to 1) and average precision (%); None: not
            known.
        slim: as ``dense``, for the slim network.
    """
    figure, axes = new_panel(2.6)
    for label, curve, line in (("dense", dense, "--"), ("slim", slim, "-")):
        if curve is not None:
            recall, precision, average = curve
            axes.plot(
                recall,
                precision,
                line,
                color=LIGHT[label],
                gid="mark",
                label=f"{label} {average:.1f}",
                clip_on=False,
            )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_title(short(name))
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")
    axes.grid()
    if dense is not None or slim is not None:
        figure.legend(loc="lower center", ncols=2)
    return figure
