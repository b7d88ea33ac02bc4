"""The loss over a training."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from secateur.report.charts.number_text import set_log_ticks, short
from secateur.report.charts.theme import LIGHT, new_panel, themed


@themed
def training_curve(name: str, loss: Sequence[float], steps: int) -> Figure:
    """Draw the loss by step.

    Args:
        name: of the training.
        loss: means over equal spans of the steps, in order; at least one.
        steps: of the whole training.
    """
    figure, axes = new_panel(2.1, legend=False)
    span = steps / len(loss)
    middles = [(n + 0.5) * span for n in range(len(loss))]
    axes.plot(
        middles, loss, "-" if len(loss) > 1 else "o", color=LIGHT["slim"], linewidth=1.1, gid="mark"
    )
    axes.set_xlim(0, steps)
    low, high = min(loss), max(loss)
    if 0 < low < high / 10:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.3, high * 1.3)
        set_log_ticks(axes.yaxis, low / 1.3, high * 1.3)
    elif low >= 0:
        axes.set_ylim(0, high * 1.08 or 1)
    axes.locator_params(axis="x", nbins=5)
    axes.set_title(short(name))
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.grid(axis="y")
    return figure
