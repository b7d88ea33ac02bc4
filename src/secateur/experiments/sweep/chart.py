"""The chart of a sweep, as files."""

from pathlib import Path

from secateur.experiments.sweep.result import Sweep
from secateur.report.charts.sweep import Tried
from secateur.report.charts.sweep import sweep as draw
from secateur.report.charts.theme import inline_svg, write_figure

_COSTS = ("parameters", "MACs", "ms per picture")


def draw_sweep(result: Sweep, folder: Path) -> None:
    """Write ``sweep.svg`` and ``sweep.png``: accuracy on validation by each cost.

    Args:
        result: the sweep.
        folder: folder of the files.
    """
    front = {point.trial for point in result.front}
    count = len(result.objectives) - 1
    tried = []
    for row in result.trials:
        found = row.outcome
        costs = (found.params, found.macs, found.latency)[:count]
        if row.state == "complete" and found.accuracy is not None:
            numbers = [float(cost) for cost in costs if cost is not None]
            tried.append(Tried(str(row.number), found.accuracy, numbers, row.number in front))
    dense = result.dense
    metric = f"{result.metric} on validation"
    figure = draw(tried, (dense.validation, (dense.params, dense.macs)), _COSTS[:count], metric)
    svg = inline_svg(figure, "sweep", f"{metric} against the cost of a network, by trial")
    write_figure(figure, svg, folder, "sweep")
