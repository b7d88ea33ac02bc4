"""Accuracy after each step of a run."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from secateur.report.charts.number_text import set_percent_ticks, short
from secateur.report.charts.theme import LIGHT, TICKS, new_figure, themed

# The most steps for which the values are written.
_MOST_VALUES = 30


@themed
def accuracy_by_step(steps: Sequence[tuple[str, float, int]], metric: str) -> Figure:
    """Draw the accuracy after each step of a run.

    Args:
        steps: label, accuracy (%) and phase of each; 0: before the first phase.
        metric: name of the accuracy.
    """
    figure, (axes,) = new_figure(max(3.6, min(7, 1.0 + 0.42 * len(steps))), 2.7)
    values = [value for _, value, _ in steps]
    phases = [phase for _, _, phase in steps]
    room = max(max(values) - min(values), 5)
    top = max(values) + 0.2 * room
    for phase in dict.fromkeys(phase for phase in phases if phase):
        first, last = phases.index(phase), len(phases) - 1 - phases[::-1].index(phase)
        axes.axvspan(
            first - 0.5,
            last + 0.5,
            color=LIGHT["dense"],
            alpha=0.18 if phase % 2 else 0.08,
            linewidth=0,
        )
        axes.text(
            (first + last) / 2,
            top,
            f"phase {phase}",
            ha="center",
            va="bottom",
            fontsize=TICKS,
            color=LIGHT["muted"],
        )
    axes.plot(range(len(steps)), values, "o-", color=LIGHT["slim"], gid="mark")
    if len(steps) <= _MOST_VALUES:
        for index, value in enumerate(values):
            around = values[max(0, index - 1) : index + 2]
            # At a local minimum there is room below.
            below = value == min(around) and value < max(around)
            axes.annotate(
                f"{value:.1f}",
                (index, value),
                (0, -5 if below else 5),
                textcoords="offset points",
                ha="center",
                va="top" if below else "bottom",
                fontsize=TICKS,
            )
    axes.set_xlim(-0.5, len(steps) - 0.5)
    axes.set_ylim(min(values) - 0.22 * room, top)
    set_percent_ticks(axes.yaxis)
    axes.set_xticks(range(len(steps)), [short(label) for label, _, _ in steps])
    axes.tick_params(axis="x", labelrotation=45)
    for label in axes.get_xticklabels():
        label.set(ha="right", va="top", rotation_mode="anchor")
    axes.set_ylabel(f"{metric}, % (validation)")
    axes.grid(axis="y")
    return figure
