"""The filters of each layer, phase by phase."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from secateur.report.charts.number_text import short
from secateur.report.charts.theme import LIGHT, SERIES, TICKS, new_figure, themed


@themed
def filters(layers: Sequence[str], stages: Sequence[tuple[str, Sequence[int]]]) -> Figure:
    """Draw the filters of each layer before and after each phase: the paper's Table 1.

    Args:
        layers: in the network's order; the first is at the top.
        stages: name and number of filters of each layer; the dense network first.
    """
    figure, (axes,) = new_figure(5.0, 0.75 + 0.19 * len(layers))
    rows = range(len(layers))
    later = [LIGHT["slim"]] if len(stages) == 2 else SERIES
    handles = []
    for n, (_, counts) in enumerate(stages):
        # No second bar for a layer that a phase did not change.
        changed = [row for row in rows if n == 0 or counts[row] != stages[n - 1][1][row]]
        colour = later[(n - 1) % len(later)] if n else LIGHT["dense"]
        height, alpha = (0.46, 1.0) if n else (0.78, 0.45)
        lengths = [counts[row] for row in changed]
        for bar in axes.barh(changed, lengths, height, color=colour, alpha=alpha):
            bar.set_gid("mark")
        handles.append(Patch(color=colour, alpha=alpha))
    first, last = stages[0][1], stages[-1][1]
    for row, before, after in zip(rows, first, last, strict=True):
        axes.annotate(
            f"{before}" if before == after else f"{before} → {after}",
            (max(before, after), row),
            (4, 0),
            textcoords="offset points",
            va="center_baseline",
            fontsize=TICKS,
        )
    axes.set_yticks(rows, [short(layer) for layer in layers])
    axes.tick_params(axis="y", length=0, labelcolor=LIGHT["ink"])
    axes.set_ylim(len(layers) - 0.4, -0.6)
    axes.set_xlim(0, max([*first, *last, 1]) * 1.18)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    axes.set_xlabel("filters")
    axes.grid(axis="x")
    names = [short(name) for name, _ in stages]
    figure.legend(handles, names, loc="outside lower center", ncols=min(len(stages), 5))
    return figure
