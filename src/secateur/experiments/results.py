"""What all comparisons have in common: the error of a mean, and the file of the results."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import stdev
from typing import Any

from secateur.config.recipe import Recipe
from secateur.files.atomic_write import write_json
from secateur.run.context import provenance


def standard_error(values: Sequence[float]) -> float | None:
    """Give the standard error of the mean; None of one value."""
    return stdev(values) / len(values) ** 0.5 if len(values) > 1 else None


def write_result(
    path: Path, recipe: Recipe, result: Mapping[str, Any], packages: Sequence[str] = ()
) -> None:
    """Write what was found, with the recipe and with what made it.

    Args:
        path: of the JSON file.
        recipe: what was compared.
        result: what was found.
        packages: names of those whose versions are told beside the usual ones.
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
