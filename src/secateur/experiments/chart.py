"""The charts of comparisons, as files."""

from pathlib import Path

from secateur.experiments.compare import Comparison
from secateur.experiments.methods import OURS
from secateur.experiments.scales import Scales
from secateur.experiments.series import grouped
from secateur.report.charts.comparison import Curve, comparison
from secateur.report.charts.scales import Scale, detection_scales
from secateur.report.charts.theme import inline_svg, write_figure


def draw_comparison(result: Comparison, folder: Path) -> None:
    """Write ``comparison.svg`` and ``comparison.png``: the test metric by MACs kept.

    Args:
        result: the comparison.
        folder: folder of the files.
    """
    means = sorted(result.means, key=lambda mean: (mean.method != OURS, mean.keep_macs))
    curves = [  # the chart draws the first curve strongest
        Curve(
            method,
            [mean.keep_macs for mean in some],
            [mean.test for mean in some],
            [mean.test_error for mean in some],
        )
        for method, some in grouped(means, lambda mean: mean.method).items()
    ]
    metric = f"{result.metric} on {result.split}"
    figure = comparison(curves, result.dense, metric)
    svg = inline_svg(figure, "comparison", f"{metric} against the MACs kept")
    write_figure(figure, svg, folder, "comparison")


def draw_scales(result: Scales, folder: Path) -> None:
    """Write ``scales.svg`` and ``scales.png``: the test metric by number of detection layers.

    Args:
        result: the comparison.
        folder: folder of the files.
    """
    scales = [
        Scale(
            mean.layers,
            mean.params,
            (mean.dense, mean.dense_error),
            (mean.slim, mean.slim_error),
        )
        for mean in result.means
    ]
    metric = f"{result.metric} on {result.split}"
    figure = detection_scales(scales, metric)
    svg = inline_svg(figure, "scales", f"{metric} against the number of detection layers")
    write_figure(figure, svg, folder, "scales")
