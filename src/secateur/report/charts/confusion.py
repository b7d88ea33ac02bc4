"""The confusion matrix of a classifier."""

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from numpy.typing import NDArray

from secateur.report.charts.number_text import short
from secateur.report.charts.theme import LIGHT, TICKS, new_figure, themed

# The most classes for which cells contain counts, and for which axes name classes.
_MOST_COUNTS, _MOST_NAMES = 12, 60


@themed
def confusion(
    matrix: Sequence[Sequence[int]] | NDArray[np.integer], classes: Sequence[str]
) -> Figure:
    """Draw a confusion matrix: the darker a cell, the larger its share of its row.

    The opacity is the square root of the share, so that rare mistakes are visible. Cells of one
    shade are one path: a thousand classes would otherwise give a million elements.

    Args:
        matrix: (classes, classes) counts; rows are the true classes, columns the predicted.
        classes: their names.
    """
    counts = np.asarray(matrix, dtype=float).reshape(len(classes), len(classes))
    n = len(classes)
    with_counts, with_names = n <= _MOST_COUNTS, n <= _MOST_NAMES
    names = [short(name) if with_names else "" for name in classes]
    # Space for the class names, in inches.
    room = 0.55 + max((len(name) for name in names), default=0) * 0.6 * TICKS / 72
    side = 4.2 if not with_names else max(1.6, (0.34 if with_counts else 0.155) * n)
    figure, (axes,) = new_figure(side + room, side + (room * 0.8 if with_counts else room))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # Counts must be readable on the darkest cell, on light and on dark pages.
    deepest = 0.55 if with_counts else 1.0
    for share, cells in sorted(_by_shade(shares).items()):
        axes.add_patch(
            PathPatch(
                _squares(cells, 0.94 if with_names else 1.0),
                facecolor=LIGHT["slim"],
                alpha=round(math.sqrt(share / 100) * deepest, 2),
                linewidth=0,
                gid="mark",
            )
        )
    if with_counts:
        for row, column in np.argwhere(counts > 0):
            axes.text(
                column,
                row,
                f"{counts[row, column]:.0f}",
                ha="center",
                va="center_baseline",
                fontsize=TICKS,
            )
    if with_names:
        axes.set_yticks(range(n), names)
        axes.set_xticks(range(n), names, rotation=90 if n > _MOST_COUNTS else 45)
        for label in axes.get_xticklabels():
            across = "center_baseline" if n > _MOST_COUNTS else "top"
            label.set(ha="right", va=across, rotation_mode="anchor")
        axes.tick_params(length=0)
    axes.set_xlim(-0.5, n - 0.5)
    axes.set_ylim(n - 0.5, -0.5)
    axes.set_aspect("equal")
    axes.set_xlabel("predicted class" if with_names else "number of the predicted class")
    axes.set_ylabel("true class" if with_names else "number of the true class")
    axes.spines[:].set_visible(True)
    return figure


def _by_shade(shares: NDArray[np.float64]) -> dict[int, list[tuple[int, int]]]:
    """Cells (row, column) by their share in whole percent; at least 1 if it is above 0."""
    shades: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for row, column in np.argwhere(shares > 0):
        shades[max(1, round(100 * shares[row, column]))].append((row, column))
    return shades


def _squares(cells: Sequence[tuple[int, int]], side: float) -> Path:
    corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]) * side - side / 2
    vertices = np.array(cells)[:, None, ::-1] + corners
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * len(cells)
    return Path(vertices.reshape(-1, 2), codes)
