"""The charts of a run's report, and the records each is drawn from."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from secateur.report.charts.accuracy import accuracy_by_step
from secateur.report.charts.class_accuracy import MOST_CLASSES, class_accuracy
from secateur.report.charts.confusion import confusion
from secateur.report.charts.filters import filters
from secateur.report.charts.headline import Cost as CostBar
from secateur.report.charts.headline import headline as headline_chart
from secateur.report.charts.nonzeros import nonzeros
from secateur.report.charts.precision_recall import precision_recall
from secateur.report.charts.selection import selection
from secateur.report.charts.theme import inline_svg
from secateur.report.charts.threshold import threshold_search
from secateur.report.charts.training import training_curve
from secateur.report.charts.weights import weight_histogram
from secateur.report.headline import headline
from secateur.report.layer_counts import LayerCounts
from secateur.report.run_record import PhaseRecord, RunRecord, Stage
from secateur.report.weights import non_zeros, weight_histograms
from secateur.run.records import ByClassRecord, ThresholdRecord


@dataclass(frozen=True)
class Chart:
    """A figure with its title and caption.

    Attributes:
        name: unique within the page.
        title: short.
        figure: the drawing.
        caption: what it shows; may be empty.
    """

    name: str
    title: str
    figure: Figure
    caption: str = ""

    @property
    def key(self) -> str:
        """The name, with characters that no file name or id can have replaced."""
        return re.sub(r"[^\w-]", "_", self.name, flags=re.ASCII)

    @cached_property
    def svg(self) -> Markup:
        """The drawing for the page; its texts are escaped."""
        return Markup(inline_svg(self.figure, self.key, self.title))  # noqa: S704


@dataclass(frozen=True, slots=True)
class Charts:
    """A run's charts; None or empty for stages that are not complete."""

    headline: Chart | None = None
    filters: Chart | None = None
    accuracy: Chart | None = None
    training: list[Chart] = field(default_factory=list)
    class_accuracy: Chart | None = None
    precision_recall: list[Chart] = field(default_factory=list)
    confusion: list[Chart] = field(default_factory=list)
    weights: list[Chart] = field(default_factory=list)
    nonzeros: Chart | None = None
    threshold: list[Chart] = field(default_factory=list)
    selection: list[Chart] = field(default_factory=list)

    def __iter__(self) -> Iterator[Chart]:
        """Iterate over all charts that exist."""
        for each in fields(self):
            value = getattr(self, each.name)
            yield from value if isinstance(value, list) else [value] if value else []


def is_key(key: str) -> bool:
    """Whether a chart may have this key; the names of old figures are recognised by it."""
    alone = "headline|filters|accuracy|class-accuracy|nonzeros"
    several = "training|precision-recall|confusion|weights|threshold|selection"
    return bool(re.fullmatch(rf"{alone}|({several})-[\w-]+", key, re.ASCII))


def draw_charts(run: RunRecord, counts: LayerCounts | None) -> Charts:
    """Draw every chart for which a run has the records."""
    dense, slim = run.by_class.get("dense"), run.by_class.get("slim")
    return Charts(
        headline=_headline(run),
        filters=_filters(counts),
        accuracy=_accuracy(run),
        training=_training(run),
        class_accuracy=_class_accuracy(run, dense, slim),
        precision_recall=_precision_recall(run, dense, slim),
        confusion=_confusion(run),
        weights=_weights(run),
        nonzeros=_nonzeros(run),
        threshold=_threshold(run),
        selection=_selection(run),
    )


def _headline(run: RunRecord) -> Chart | None:
    found = headline(run)
    if found is None:
        return None
    costs = {
        cost.name: CostBar(cost.dense, cost.slim, *cost.texts, cost.better) for cost in found.costs
    }
    figure = headline_chart(costs, found.metric, found.dense, found.slim, found.split)
    return Chart("headline", "Slim against dense", figure)


def _filters(counts: LayerCounts | None) -> Chart | None:
    if counts is None:
        return None
    rows = [row for row in counts.rows if row.backbone]
    stages = [
        (stage, [row.filters[number] for row in rows]) for number, stage in enumerate(counts.stages)
    ]
    return Chart("filters", "Filters by layer", filters([row.name for row in rows], stages))


def _accuracy(run: RunRecord) -> Chart | None:
    if run.dense is None:
        return None
    stages: list[tuple[str, Stage[Any], int]] = [("dense", run.dense, 0)]
    for phase in run.phases:
        if phase.failed:  # the network after it is the network before it
            continue
        stages += [
            (label, stage, phase.number)
            for label, stage in (
                ("sparsified", phase.sparsify),
                ("thresholded", phase.threshold),
                ("removed", phase.remove),
                ("retrained", phase.retrain),
            )
            if stage
        ]
    values = [(label, run.accuracy(stage), phase) for label, stage, phase in stages]
    steps = [(label, value, phase) for label, value, phase in values if value is not None]
    if not steps:
        return None
    return Chart("accuracy", "Accuracy after every step", accuracy_by_step(steps, run.metric))


def _training(run: RunRecord) -> list[Chart]:
    trained = [(run.dense, run.recipe.train.steps)]
    for phase in run.phases:
        _, sparsify, _, retrain = run.recipe.phase(phase.number)
        trained += [(phase.sparsify, sparsify.steps), (phase.retrain, retrain.steps)]
    return [
        Chart(
            f"training-{step.folder.name}",
            step.folder.name,
            training_curve(step.folder.name, step.result.loss, steps),
        )
        for step, steps in trained
        if step and step.result.loss
    ]


def _class_accuracy(
    run: RunRecord, dense: ByClassRecord | None, slim: ByClassRecord | None
) -> Chart | None:
    if dense is None or slim is None:
        return None
    metric = class_metric(run)
    names = [name for name, each in slim.by_class.items() if each.get(metric) is not None]
    if not names:
        return None
    figure = class_accuracy(
        names,
        [dense.by_class.get(name, {}).get(metric) for name in names],
        [slim.by_class[name].get(metric) for name in names],
        metric,
    )
    caption = []
    if len(names) < len(slim.by_class):
        caption.append(f"Classes without objects, not shown: {len(slim.by_class) - len(names)}.")
    if len(names) > MOST_CLASSES:
        caption.append(f"The {MOST_CLASSES} of {len(names)} classes that changed most.")
    return Chart("class-accuracy", f"{metric} by class", figure, " ".join(caption))


def class_metric(run: RunRecord) -> str:
    """Name the metric of the accuracy by class."""
    return run.metric if run.metric in ("AP50_voc07", "top1") else "AP50_area"


def _precision_recall(
    run: RunRecord, dense: ByClassRecord | None, slim: ByClassRecord | None
) -> list[Chart]:
    if dense is None or slim is None or dense.curves is None or slim.curves is None:
        return []
    metric = class_metric(run)

    def difference(name: str) -> float:
        before, after = dense.by_class[name].get(metric), slim.by_class[name].get(metric)
        return abs((after or 0.0) - (before or 0.0))

    def curve(side: ByClassRecord, name: str) -> tuple[list[float], list[float], float] | None:
        curves, value = side.curves or {}, side.by_class[name].get(metric)
        if name not in curves or value is None or not curves[name].recall:
            return None
        return curves[name].recall, curves[name].precision, value

    both = [name for name in slim.by_class if name in dense.by_class]
    names = [name for name in both if curve(dense, name) or curve(slim, name)]
    shown = set(sorted(names, key=difference, reverse=True)[:MOST_CLASSES])
    return [
        Chart(
            f"precision-recall-{number:03}",
            name,
            precision_recall(name, curve(dense, name), curve(slim, name)),
        )
        for number, name in enumerate(names)
        if name in shown
    ]


def _confusion(run: RunRecord) -> list[Chart]:
    return [
        Chart(f"confusion-{role}", role, confusion(found.confusion, list(found.by_class)))
        for role, found in run.by_class.items()
        if found.confusion
    ]


def _weights(run: RunRecord) -> list[Chart]:
    return [
        Chart(
            f"weights-phase{each.phase}-{each.layer}",
            _of_phase(run, each.phase, each.layer),
            weight_histogram(
                _of_phase(run, each.phase, each.layer),
                each.edges,
                each.before,
                each.after,
                each.threshold,
            ),
        )
        for each in weight_histograms(run)
    ]


def _nonzeros(run: RunRecord) -> Chart | None:
    found = non_zeros(run)
    if found is None:
        return None
    return Chart("nonzeros", "Weights that are not zero", nonzeros(found.layers, found.stages))


def _threshold(run: RunRecord) -> list[Chart]:
    return [chart for phase in run.phases if (chart := _threshold_chart(run, phase))]


def _threshold_chart(run: RunRecord, phase: PhaseRecord) -> Chart | None:
    reference = run.accuracy(phase.sparsify) if phase.sparsify else None
    if phase.threshold is None or reference is None:
        return None
    settings = run.recipe.compress.threshold
    found = phase.threshold.result
    by_layer = settings.scope == "layer"
    estimated = _estimated(found)
    caption = [
        f"t = {found.threshold:.3g}{' standard deviations of each layer' if by_layer else ''} "
        f"zeroes {found.zeros:.1%} of the phase's weights. Tolerance: {settings.max_drop:g} "
        f"point{'' if settings.max_drop == 1 else 's'} "
        f"below {reference:.1f}, the accuracy of the sparsified network."
    ]
    if found.status != "found":
        caption.append("No threshold is within the tolerance.")
    if estimated:
        caption.append(
            f"Hollow: {len(estimated)} of {len(found.trace)} trials, estimated on at most "
            f"{max(estimated.values())} pictures because their drop is clearly too large."
        )
    figure = threshold_search(
        [(trial.threshold, trial.zeros, trial.metric) for trial in found.trace],
        found.threshold,
        reference,
        reference - settings.max_drop,
        run.metric,
        "magnitude, in standard deviations of the layer" if by_layer else "magnitude",
        estimated,
    )
    return Chart(
        f"threshold-phase{phase.number}", f"phase {phase.number}", figure, " ".join(caption)
    )


def _estimated(found: ThresholdRecord) -> dict[float, int]:
    """Pictures by threshold, for the trials that did not use all of validation."""
    return {trial.threshold: trial.pictures for trial in found.trace if trial.pictures is not None}


def _selection(run: RunRecord) -> list[Chart]:
    charts = []
    names = run.layer_names
    for phase in run.phases:
        if phase.remove is None:
            continue
        select = run.recipe.phase(phase.number)[2]
        levels = None
        if select.s_F is not None and select.s_F_both is not None and select.s_G is not None:
            levels = (select.s_F, select.s_F_both, select.s_G)
        for group, seen in phase.remove.result.selection.items():
            layer = names.get(group, group)
            kept = set(seen.kept)
            charts.append(
                Chart(
                    f"selection-phase{phase.number}-{layer}",
                    _of_phase(run, phase.number, layer),
                    selection(
                        _of_phase(run, phase.number, layer),
                        seen.F,
                        seen.G,
                        [i in kept for i in range(len(seen.F))],
                        levels,
                    ),
                )
            )
    return charts


def _of_phase(run: RunRecord, phase: int, layer: str) -> str:
    return f"phase {phase}: {layer}" if len(run.phases) > 1 else layer
