"""The distribution of a layer's weights."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from secateur.report.charts.number_text import compact, set_log_ticks, short
from secateur.report.charts.theme import LIGHT, new_panel, themed


@themed
def weight_histogram(
    layer: str,
    edges: Sequence[float],
    before: Sequence[int],
    after: Sequence[int],
    threshold: float | None,
) -> Figure:
    """Draw a layer's weights before and after sparsity induction: the paper's Fig. 2.

    Args:
        layer: its name.
        edges: of the bins, ascending; one more than there are bins.
        before: weights in each bin, before.
        after: weights in each bin, after.
        threshold: magnitude below which weights are zeroed; None: not known.
    """
    figure, axes = new_panel(2.3)
    # A logarithmic axis has no zero; an empty bin ends below the axis.
    heights = [np.maximum(np.asarray(counts, dtype=float), 0.1) for counts in (before, after)]
    axes.stairs(
        heights[0],
        edges,
        baseline=0.1,
        fill=True,
        color=LIGHT["dense"],
        alpha=0.45,
        gid="mark",
        label="before",
    )
    axes.stairs(
        heights[1],
        edges,
        baseline=0.1,
        color=LIGHT["slim"],
        linewidth=1.2,
        gid="mark",
        label="after",
    )
    if threshold is not None:
        for n, side in enumerate((-threshold, threshold)):
            label = f"±{compact(threshold)}" if n == 0 else None
            axes.axvline(side, color=LIGHT["bad"], linewidth=1, linestyle="--", label=label)
    high = max(*before, *after, 10) * 2
    axes.set_yscale("log")
    axes.set_ylim(0.7, high)
    set_log_ticks(axes.yaxis, 1, high)
    axes.set_xlim(edges[0], edges[-1])
    axes.locator_params(axis="x", nbins=5)
    axes.set_title(short(layer))
    axes.set_xlabel("weight")
    axes.set_ylabel("weights in a bin")
    figure.legend(loc="lower center", ncols=3)
    return figure
