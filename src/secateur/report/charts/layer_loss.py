"""Accuracy where one layer alone loses filters."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from secateur.report.charts.theme import LIGHT, SERIES, new_figure, themed

_MARKERS = "osD^vP"


@themed
def layer_loss(
    layers: Sequence[str],
    accuracy: Mapping[float, Sequence[float | None]],
    dense: float | None,
    metric: str,
) -> Figure:
    """Draw the accuracy by layer, one line a share of filters removed.

    Args:
        layers: names, in the order the network runs.
        accuracy: by share removed (0–1): for each layer, in %; None where it was not measured.
        dense: of the dense network, in %.
        metric: name of the accuracy.
    """
    figure, (axes,) = new_figure(6.8, 3.6)
    if dense is not None:
        axes.axhline(dense, color=LIGHT["dense"], linewidth=1, linestyle="--", label="dense")
    for number, (share, values) in enumerate(sorted(accuracy.items())):
        known = [(place, each) for place, each in enumerate(values) if each is not None]
        (line,) = axes.plot(
            [place for place, _ in known],
            [each for _, each in known],
            color=SERIES[number % len(SERIES)],
            marker=_MARKERS[number % len(_MARKERS)],
            label=f"{share:.0%} removed",
        )
        line.set_gid("mark")
    axes.set_xticks(range(len(layers)), layers, rotation=60, ha="right")
    axes.set_ylabel(f"{metric}, %")
    axes.grid(axis="y")
    figure.legend(loc="outside right upper")
    return figure
