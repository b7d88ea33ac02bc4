"""Labels of points, placed so that they overlap as little as possible."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from secateur.report.charts.theme import TICKS


class _Box(NamedTuple):
    """Edges, in points of 1/72 inch."""

    left: float
    bottom: float
    right: float
    top: float

    def shared(self, other: "_Box") -> float:
        """Area of the intersection."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(width, 0) * max(height, 0)


# Direction across and up, and the alignment of the text.
_OFFSETS = (
    (0, 1, "center", "bottom"),
    (0, -1, "center", "top"),
    (1, 0, "left", "center"),
    (-1, 0, "right", "center"),
    (1, 1, "left", "bottom"),
    (-1, 1, "right", "bottom"),
    (1, -1, "left", "top"),
    (-1, -1, "right", "top"),
)
_ALIGNED = {"center": -0.5, "left": 0, "right": -1, "bottom": 0, "top": -1}


def label_points(
    axes: Axes,
    points: Sequence[tuple[float, float]],
    texts: Sequence[str],
    colours: Sequence[str],
    distance: float = 4,
) -> None:
    """Write a text beside each point, where it overlaps other texts and points least.

    Args:
        axes: with final limits and scales.
        points: (x, y), in data coordinates.
        texts: one a point; empty for none.
        colours: one a point.
        distance: from the point, in points of 1/72 inch.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None  # noqa: S101 # a chart's axes always have one
    size = np.array(figure.get_size_inches()) * 72
    # The layout is not computed yet; tick and axis labels take about a fifth of the figure.
    frame = _Box(0, 0, size[0] * 0.8, size[1] * 0.75)
    axes.get_xlim(), axes.get_ylim()  # this computes automatic limits
    inside = axes.transScale + axes.transLimits
    places = inside.transform(np.array(points, dtype=float)) * (frame.right, frame.top)
    half = distance * 0.9  # of a square around the marker
    taken = [_Box(x - half, y - half, x + half, y + half) for x, y in places]
    for (x, y), point, text, colour in zip(places, points, texts, colours, strict=True):
        if not text:
            continue
        width, height = len(text) * TICKS * 0.6, TICKS * 1.2
        best: tuple[float, _Box, tuple[float, float, str, str]] | None = None
        for far in (1, 2.5, 4):
            for across, up, horizontal, vertical in _OFFSETS:
                gap = far * distance * (1 if across == 0 or up == 0 else 0.6)
                left = x + across * gap + _ALIGNED[horizontal] * width
                bottom = y + up * gap + _ALIGNED[vertical] * height
                box = _Box(left, bottom, left + width, bottom + height)
                lost = width * height - box.shared(frame)
                covered = sum(box.shared(other) for other in taken) + 2 * lost
                if best is None or covered < best[0] - 1e-6:
                    best = covered, box, (across * gap, up * gap, horizontal, vertical)
        assert best is not None  # noqa: S101 # there are offsets
        _, box, (right, upward, horizontal, vertical) = best
        taken.append(box)
        axes.annotate(
            text,
            point,
            (right, upward),
            textcoords="offset points",
            ha=horizontal,
            va="center_baseline" if vertical == "center" else vertical,
            fontsize=TICKS,
            color=colour,
        ).set_in_layout(False)
