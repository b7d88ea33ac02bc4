"""The weights of each layer that are not zero."""

import math
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from secateur.report.charts.number_text import set_log_ticks, short
from secateur.report.charts.theme import LIGHT, SERIES, new_figure, themed

_MARKERS = "osD^vP*X"
# The position of 0 on the logarithmic axis.
_NONE = 0.5


@themed
def nonzeros(layers: Sequence[str], stages: Sequence[tuple[str, Sequence[int | None]]]) -> Figure:
    """Draw the non-zero weights of each layer, one line a stage: the paper's Fig. 3.

    Args:
        layers: in the network's order.
        stages: name and number of non-zero weights of each layer; None if the stage does
            not include the layer. The dense network first.
    """
    figure, (axes,) = new_figure(max(3.1, min(7, 1.2 + 0.28 * len(layers))), 3.0)
    places = range(len(layers))
    handles: list[Line2D] = []
    for n, (name, counts) in enumerate(stages):
        handles += axes.plot(
            places,
            [math.nan if count is None else max(count, _NONE) for count in counts],
            marker=_MARKERS[n % len(_MARKERS)],
            color=LIGHT[name] if name in ("dense", "slim") else SERIES[n % len(SERIES)],
            gid="mark",
        )
    known = [count for _, counts in stages for count in counts if count is not None]
    positive = [count for count in known if count > 0] or [1]
    low, high = min(positive) / 1.6, max(positive) * 1.6
    zero = _NONE if 0 in known else None
    axes.set_yscale("log")
    axes.set_ylim(low if zero is None else _NONE / 1.6, high)
    set_log_ticks(axes.yaxis, low, high, zero)
    axes.set_xticks(places, [short(layer) for layer in layers])
    axes.tick_params(axis="x", labelrotation=45)
    for label in axes.get_xticklabels():
        label.set(ha="right", va="top", rotation_mode="anchor")
    axes.set_xlim(-0.5, len(layers) - 0.5)
    axes.set_ylabel("weights that are not zero")
    axes.grid(axis="y")
    names = [short(name) for name, _ in stages]
    figure.legend(handles, names, loc="outside upper left", ncols=min(len(stages), 5))
    return figure
