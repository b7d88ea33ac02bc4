"""The page of several runs: which of their networks are on the Pareto front."""

from collections.abc import Sequence

from secateur.config.recipe import Recipe
from secateur.errors import RunError
from secateur.report.charts.pareto import Point, pareto, pareto_front
from secateur.report.figures import Chart
from secateur.report.headline import Headline, headline
from secateur.report.rendering import render
from secateur.report.run_record import RunRecord
from secateur.report.table import Cell, Table, change, percent


def comparison_page(runs: Sequence[RunRecord]) -> str:
    """Write the page of several finished runs on the same pictures, with the same metric.

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
    """Summarise each run, and check that all were evaluated on the same pictures alike."""
    headlines = []
    first = runs[0].recipe
    pictures = _pictures(first)
    for run in runs:
        found = headline(run)
        if found is None:
            raise RunError(
                f"{run.folder}: the run is not finished; give its command again, or leave it out"
            )
        data, metric = run.recipe.data, run.recipe.evaluate.metric
        if metric != first.evaluate.metric:
            raise RunError(
                f"{run.folder}: its metric is {metric}, that of {runs[0].folder} is "
                f"{first.evaluate.metric}; compare runs with the same metric"
            )
        if _settings(run.recipe) != _settings(first):
            raise RunError(
                f"{run.folder}: its evaluation settings (score, nms, candidates, boxes) are not "
                f"those of {runs[0].folder}; compare runs with the same settings"
            )
        if _pictures(run.recipe) != pictures:
            raise RunError(
                f"{run.folder}: evaluated on {data.test or 'validation'} of {data.root}, but "
                f"{runs[0].folder} on {first.data.test or 'validation'} of {first.data.root}, or "
                "their classes or splits differ; compare runs on the same pictures"
            )
        headlines.append(found)
    return headlines


def _settings(recipe: Recipe) -> dict[str, object]:
    """The evaluation settings that accuracy depends on."""
    return recipe.evaluate.model_dump(exclude={"batch_size"})


def _pictures(recipe: Recipe) -> list[object]:
    """What the pictures and classes of the final evaluation depend on."""
    data = recipe.data
    entries: list[object] = [data.format, data.root, data.classes, data.test]
    # Without a test split it is validation, a random part of the training pictures.
    return entries if data.test else [*entries, data.train, data.validation, recipe.seed]


def _points(found: dict[str, Headline], kind: tuple[str, str, str]) -> list[Point]:
    """Every network by one cost; a dense network that several runs share is listed once."""
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
        columns += [cost.name, f"× {cost.better}"]
        points = _points(found, cost.kind)
        for index in pareto_front(points):
            name, role, *_ = points[index]
            if role == "slim":
                best[name].append(cost.name)
    columns += [f"{first.metric}, dense", f"{first.metric}, slim", "points", "Pareto front in"]
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
    """Name runs by their folders, or by the middle parts of the paths, in which they differ."""
    names = [run.folder.resolve().name for run in runs]
    if len(set(names)) == len(names):
        return names
    paths = [run.folder.resolve().parts for run in runs]
    while min(map(len, paths)) > 1 and len({path[0] for path in paths}) == 1:
        paths = [path[1:] for path in paths]
    while min(map(len, paths)) > 1 and len({path[-1] for path in paths}) == 1:
        paths = [path[:-1] for path in paths]
    return ["/".join(path) for path in paths]
