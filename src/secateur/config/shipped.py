"""The recipes that are part of the package, each known by its bare name."""

import difflib
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from secateur.errors import RecipeError
from secateur.files.atomic_write import write_text

_SUFFIX = ".yaml"
_NEEDS = "# Needs: "


@dataclass(frozen=True, slots=True)
class ShippedRecipe:
    """A recipe of the package.

    Attributes:
        name: given to a command in place of a file.
        summary: its first comment line.
        needs: data and networks that must be there before it runs.
        text: the YAML.
    """

    name: str
    summary: str
    needs: str
    text: str


def shipped_recipes() -> dict[str, ShippedRecipe]:
    """Give the recipes of the package by name, in alphabetical order."""
    return {name: _read(name, file) for name, file in _files().items()}


def is_shipped(path: Path) -> bool:
    """Whether a path is the bare name of a shipped recipe."""
    return str(path) in _files()


def find_recipe(path: Path) -> Traversable:
    """Give the file of a recipe: ``path`` or, if it is not a file, the shipped recipe it names.

    Raises:
        RecipeError: ``path`` is a bare name, but neither a file nor a shipped recipe.
    """
    name = str(path)
    if path.is_file() or path.suffix or path.name != name:  # "a/quickstart" is not a bare name
        return path
    shipped = _files()
    if name in shipped:
        return shipped[name]
    if path.exists():
        return path
    raise _unknown(name)


def copy_recipe(name: str, out: Path) -> None:
    """Write a copy of a shipped recipe, to be edited.

    Raises:
        RecipeError: no such recipe is shipped, or ``out`` exists.
        RunError: ``out`` cannot be written.
    """
    recipe = shipped_recipe(name)
    if out.exists():
        raise RecipeError(f"{out}: exists and is not overwritten; give another with --out")
    write_text(out, recipe.text)


def shipped_recipe(name: str) -> ShippedRecipe:
    """Give one recipe of the package.

    Raises:
        RecipeError: no such recipe is shipped; the message lists near names.
    """
    shipped = _files()
    if name not in shipped:
        raise _unknown(name)
    return _read(name, shipped[name])


def _files() -> dict[str, Traversable]:
    found = (file for file in files("secateur.config").joinpath("recipes").iterdir())
    named = {f.name.removesuffix(_SUFFIX): f for f in found if f.name.endswith(_SUFFIX)}
    return dict(sorted(named.items()))


def _read(name: str, file: Traversable) -> ShippedRecipe:
    text = file.read_text(encoding="utf-8")
    lines = text.splitlines()
    needs = next(line for line in lines if line.startswith(_NEEDS))
    return ShippedRecipe(name, lines[0].removeprefix("# "), needs.removeprefix(_NEEDS), text)


def _unknown(name: str) -> RecipeError:
    near = difflib.get_close_matches(name, _files(), cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "'secateur recipes' lists them"
    return RecipeError(f"{name}: is neither a file nor a shipped recipe; {hint}")
