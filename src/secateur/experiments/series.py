"""A series of runs: checked first, announced with the time left, averaged over seeds, written."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from statistics import stdev
from typing import Any, TypeVar

from secateur.config.architecture import recipe_architecture
from secateur.config.recipe import Recipe
from secateur.data.source import read_splits
from secateur.errors import RunError
from secateur.files.atomic_write import write_json
from secateur.run.context import Reporter, provenance
from secateur.run.phases import check_phases
from secateur.run.records import Metric

# Folder of a series in which its runs share their steps.
POOL = "pool"
# The first runs train dense networks that later ones reuse, so the last runs predict best.
RECENT = 3

Key = TypeVar("Key")
Item = TypeVar("Item")


def check_recipes(recipe: Recipe, variations: Iterable[Recipe]) -> tuple[str, ...]:
    """Check the phases of all recipes of a series, before the first one is trained.

    Args:
        recipe: names the data, which all share.
        variations: the recipes to check.

    Returns:
        The classes of the data.

    Raises:
        SecateurError: the data cannot be read, or as for ``check_phases``.
    """
    classes = read_splits(recipe.data, recipe.model.input_size, recipe.seed).train.classes
    for each in variations:
        check_phases(each, recipe_architecture(each, classes))
    return classes


def announced(runs: Sequence[tuple[str, Item]], reporter: Reporter) -> Iterator[Item]:
    """Yield each run after printing its number, its title and the time left.

    Args:
        runs: the title of each run, and what to yield.
        reporter: prints the lines.
    """
    starts: list[float] = []
    for title, run in runs:
        starts.append(time.monotonic())
        reporter.say(f"== {len(starts)} of {len(runs)}: {title}{time_left(starts, len(runs))}")
        yield run


def time_left(starts: Sequence[float], total: int) -> str:
    """Format the time spent and the estimated time left; empty before the second run.

    Args:
        starts: start of each run, in seconds of one clock; the last run starts now.
        total: number of runs.
    """
    if len(starts) < 2:
        return ""
    recent = starts[-RECENT - 1 :]
    each = (recent[-1] - recent[0]) / (len(recent) - 1)
    spent, left = (
        timedelta(seconds=round(seconds))
        for seconds in (starts[-1] - starts[0], each * (total - len(starts) + 1))
    )
    return f" ({spent} spent, about {left} left)"


def grouped(rows: Iterable[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    """Group rows by a key, in the order in which the keys first appear."""
    groups: dict[Key, list[Item]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def standard_error(values: Sequence[float]) -> float | None:
    """Compute the standard error of the mean; None for a single value."""
    return stdev(values) / len(values) ** 0.5 if len(values) > 1 else None


def metric_value(metrics: Mapping[Key, Metric], name: Key) -> float:
    """Look up a metric.

    Raises:
        RunError: it has no value, because the split has nothing to measure it on.
    """
    value = metrics[name]
    if value is None:
        raise RunError(f"{name} has no value: the split has no object or class that counts for it")
    return value


def write_result(
    path: Path, recipe: Recipe, result: Mapping[str, Any], packages: Sequence[str] = ()
) -> None:
    """Write a result with its recipe and its provenance.

    Args:
        path: the JSON file.
        recipe: the recipe that was varied.
        result: what the runs found.
        packages: further packages whose versions belong to the provenance.
    """
    made_by = provenance()
    made_by["versions"] |= {package: version(package) for package in packages}
    content = {
        "name": recipe.name,
        **result,
        "recipe": recipe.model_dump(mode="json"),
        "provenance": made_by,
    }
    write_json(path, content)
