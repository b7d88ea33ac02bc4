"""The filters of a layer that were kept and removed."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from secateur.report.charts.number_text import short
from secateur.report.charts.theme import LIGHT, new_panel, themed


@themed
def selection(
    layer: str,
    F: Sequence[float],
    G: Sequence[float],
    kept: Sequence[bool],
    levels: tuple[float, float, float] | None,
) -> Figure:
    """Draw a layer's filters by their sparsity levels: step 2 of the paper's method.

    Args:
        layer: its name.
        F: sparsity level of the weights that produce each channel, 0 to 1.
        G: sparsity level of the weights that read it, 0 to 1.
        kept: whether each filter is kept.
        levels: (s_F, s'_F, s_G); the region F >= s_F or (F >= s'_F and G >= s_G) is shaded.
    """
    figure, axes = new_panel(2.6)
    groups = {
        "kept": [i for i in range(len(F)) if kept[i]],
        "removed": [i for i in range(len(F)) if not kept[i]],
    }
    for name, colour, marker in (("removed", "bad", "x"), ("kept", "slim", "o")):
        axes.plot(
            [F[i] for i in groups[name]],
            [G[i] for i in groups[name]],
            marker,
            color=LIGHT[colour],
            markersize=3.2,
            markeredgewidth=0.8 if marker == "x" else 0,
            gid="mark",
            clip_on=False,  # markers at 1 are drawn in full
            label=f"{len(groups[name])} {name}",
            zorder=3,
        )
    if levels is not None:
        axes.add_patch(
            Polygon(
                region(*levels),
                facecolor=LIGHT["bad"],
                alpha=0.1,
                linewidth=0,
            )
        )
    axes.set_xlim(*_limits(F))
    axes.set_ylim(*_limits(G))
    axes.locator_params(nbins=5)
    axes.set_title(short(layer))
    axes.set_xlabel("zeros in F")
    axes.set_ylabel("zeros in G")
    figure.legend(loc="lower center", ncols=2, markerscale=1.4)
    return figure


def region(s_F: float, s_F_both: float, s_G: float) -> list[tuple[float, float]]:
    """Corners (F, G) of the region whose filters are removed."""
    both = min(s_F_both, s_F)
    return [(both, s_G), (both, 1), (1, 1), (1, 0), (s_F, 0), (s_F, s_G)]


def _limits(shares: Sequence[float]) -> tuple[float, float]:
    """Axis limits around shares, within 0 to 1."""
    low, high = min(shares, default=0), max(shares, default=1)
    margin = max(0.06 * (high - low), 0.01)
    return max(0.0, low - margin), min(1.0, high + margin)
