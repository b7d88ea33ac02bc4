"""The charts of comparisons, as files."""

from pathlib import Path

from secateur.experiments.compare import Comparison
from secateur.experiments.scales import Scales
from secateur.experiments.variants import OURS
from secateur.report.charts.comparison import Curve, comparison
from secateur.report.charts.scales import Scale, detection_scales
from secateur.report.charts.theme import inline_svg, write_figure


def draw_comparison(result: Comparison, folder: Path) -> None:
    """Write ``comparison.svg`` and ``comparison.png``.

    Args:
        result: what was compared.
        folder: where to.
    """
    curves = []
    names = dict.fromkeys(mean.variant for mean in result.means)
    for variant in sorted(names, key=lambda name: name != OURS):  # ours is drawn strongest
        means = sorted(
            (mean for mean in result.means if mean.variant == variant),
            key=lambda mean: mean.keep_macs,
        )
        curves.append(
            Curve(
                variant,
                [mean.keep_macs for mean in means],
                [mean.test for mean in means],
                [mean.test_error for mean in means],
            )
        )
    metric = f"{result.metric} on {result.split}"
    figure = comparison(curves, result.dense, metric)
    svg = inline_svg(figure, "comparison", f"{metric} against the MACs kept")
    write_figure(figure, svg, folder, "comparison")


def draw_scales(result: Scales, folder: Path) -> None:
    """Write ``scales.svg`` and ``scales.png``.

    Args:
        result: what was compared.
        folder: where to.
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
