"""The page of several runs: which networks no other surpasses."""

from collections.abc import Sequence

from secateur.config.recipe import Recipe
from secateur.errors import RunError
from secateur.report.charts.pareto import Point, front, pareto
from secateur.report.figures import Chart
from secateur.report.headline import Headline, headline
from secateur.report.rendering import render
from secateur.report.run_record import RunRecord
from secateur.report.table import Cell, Table, change, percent


def comparison_page(runs: Sequence[RunRecord]) -> str:
    """Write the page of several finished runs on the same pictures, by the same metric.

    Raises:
        RunError: a run is not finished, or they cannot be compared.
    """
    found = dict(zip(_names(runs), _comparable(runs), strict=True))
    first = next(iter(found.values()))
    charts = [
        Chart(
            f"pareto-{cost.name}",
            f"{first.metric} against {cost.name}",
            pareto(points, f"{cost.name}, {cost.unit}".removesuffix(", "), first.metric),
            cost.how,
        )
        for cost in first.costs
        if (points := _points(found, cost.kind))
    ]
    return render(
        "comparison.html.jinja",
        names=list(found),
        metric=first.metric,
        split=first.split,
        charts=charts,
        runs=_table(found),
    )


def _comparable(runs: Sequence[RunRecord]) -> list[Headline]:
    """Sum up each run; all were measured on the same pictures in the same way."""
    headlines = []
    first = runs[0].recipe
    pictures = _pictures(first)
    for run in runs:
        found = headline(run)
        if found is None:
            raise RunError(
                f"{run.folder}: is not finished, and has nothing to compare; give its command "
                "again, or leave it out"
            )
        data, metric = run.recipe.data, run.recipe.evaluate.metric
        if metric != first.evaluate.metric:
            raise RunError(
                f"{run.folder}: is measured by {metric}, and {runs[0].folder} by "
                f"{first.evaluate.metric}; compare runs of one metric"
            )
        if _measuring(run.recipe) != _measuring(first):
            raise RunError(
                f"{run.folder}: is measured with other settings of evaluate (score, nms, "
                f"candidates, boxes) than {runs[0].folder}, and accuracy depends on them; compare "
                "runs of the same"
            )
        if _pictures(run.recipe) != pictures:
            raise RunError(
                f"{run.folder}: is measured on {data.test or 'validation'} of {data.root}, and "
                f"{runs[0].folder} on {first.data.test or 'validation'} of {first.data.root}, or "
                "their classes or splits differ; compare runs on the same pictures"
            )
        headlines.append(found)
    return headlines


def _measuring(recipe: Recipe) -> dict[str, object]:
    """What accuracy depends on beside network and pictures."""
    return recipe.evaluate.model_dump(exclude={"batch_size"})


def _pictures(recipe: Recipe) -> list[object]:
    """What the pictures of the final evaluation, and their classes, depend on."""
    data = recipe.data
    entries: list[object] = [data.format, data.root, data.classes, data.test]
    # Without test it is validation, which the seed cuts from the training pictures.
    return entries if data.test else [*entries, data.train, data.validation, recipe.seed]


def _points(found: dict[str, Headline], kind: tuple[str, str, str]) -> list[Point]:
    """Every network by one cost; a dense network that several runs share is there once."""
    points: dict[tuple[float, float], Point] = {}
    slim: list[Point] = []
    for name, run in found.items():
        for each in run.costs:
            if each.kind == kind:
                points.setdefault((each.dense, run.dense), (name, "dense", each.dense, run.dense))
                slim.append((name, "slim", each.slim, run.slim))
    return [*points.values(), *slim]


def _table(found: dict[str, Headline]) -> Table:
    first = next(iter(found.values()))
    best: dict[str, list[str]] = {name: [] for name in found}
    columns = ["run"]
    for cost in first.costs:
        columns += [cost.name, f"times {cost.better}"]
        points = _points(found, cost.kind)
        for place in front(points):
            name, role, *_ = points[place]
            if role == "slim":
                best[name].append(cost.name)
    columns += [f"{first.metric}, dense", f"{first.metric}, slim", "points", "not surpassed in"]
    rows = []
    for name, run in found.items():
        row = [Cell(name)]
        for cost in first.costs:
            own = next((c for c in run.costs if c.kind == cost.kind), None)
            row += (
                [Cell(own.text(own.slim), own.slim), Cell(f"{own.times:.1f}", own.times)]
                if own
                else [Cell("–"), Cell("–")]
            )
        row += [percent(run.dense), percent(run.slim), change(run.dense, run.slim)]
        rows.append([*row, Cell(", ".join(best[name]) or "–")])
    return Table(columns, rows, "runs.csv")


def _names(runs: Sequence[RunRecord]) -> list[str]:
    """Name runs by their folders, or by what paths do not have in common at both ends."""
    names = [run.folder.resolve().name for run in runs]
    if len(set(names)) == len(names):
        return names
    paths = [run.folder.resolve().parts for run in runs]
    while min(map(len, paths)) > 1 and len({path[0] for path in paths}) == 1:
        paths = [path[1:] for path in paths]
    while min(map(len, paths)) > 1 and len({path[-1] for path in paths}) == 1:
        paths = [path[:-1] for path in paths]
    return ["/".join(path) for path in paths]
