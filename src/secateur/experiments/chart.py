"""The charts of comparisons, as files."""

from pathlib import Path

from secateur.experiments.compare import Comparison
from secateur.experiments.curve import Curve as SizeCurve
from secateur.experiments.methods import OURS
from secateur.experiments.scales import Scales
from secateur.experiments.series import grouped
from secateur.report.charts.comparison import Curve, comparison
from secateur.report.charts.layer_loss import layer_loss
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


def draw_curve(result: SizeCurve, folder: Path) -> None:
    """Write ``curve.svg`` and ``.png``, and ``layers.svg`` and ``.png`` if layers were measured.

    A chart is left out where the pictures have nothing to measure on.

    Args:
        result: the curve.
        folder: folder of the files.
    """
    metric = f"{result.metric} on {result.split}"
    if result.agreement:
        metric = f"agreement, {metric}"
    dense = result.sizes[0].value
    some = [(size.keep, size.value) for size in result.sizes if size.value is not None]
    if dense is not None:
        shares, values = zip(*some, strict=True)
        curve = Curve("without training", shares, values, [None] * len(some))
        figure = comparison([curve], dense, metric)
        svg = inline_svg(figure, "curve", f"{metric} against the MACs kept, without training")
        write_figure(figure, svg, folder, "curve")
    if result.layers:
        names = list(dict.fromkeys(each.layer for each in result.layers))
        found = {(each.layer, each.removed): each.value for each in result.layers}
        removed = sorted({each.removed for each in result.layers})
        accuracy = {share: [found.get((name, share)) for name in names] for share in removed}
        figure = layer_loss(names, accuracy, dense, metric)
        svg = inline_svg(figure, "layers", f"{metric} where one layer alone loses filters")
        write_figure(figure, svg, folder, "layers")
