"""Arguments and options that several commands take."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from secateur.config.recipe import Recipe

RecipeArgument = Annotated[
    Path,
    typer.Argument(
        metavar="RECIPE",
        help="A YAML file, or the name of a shipped recipe ('secateur recipes' lists them).",
    ),
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a recipe entry for this run: --set train.steps=100, or "
        "--set compress.phases.0.layers=conv1_1-conv3_3. Repeatable.",
    ),
]
RunFolder = Annotated[
    Path | None,
    typer.Option(
        "--run", metavar="DIR", help="Run folder. Default: runs/NAME, with the recipe's name."
    ),
]
Model = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A network file, such as slim.safetensors.")
]
Seeds = Annotated[int, typer.Option(min=1, help="Runs of each, with seeds 0, 1, …")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


def choice(flag: str, table: Iterable[str], text: str) -> Any:
    """Make an option whose values are the names of a table.

    Args:
        flag: such as ``--format``.
        table: the names.
        text: the help.
    """
    names = list(table)

    def parse(name: str) -> str:
        if name not in names:
            raise typer.BadParameter(f"{name!r} is not one of {', '.join(names)}")
        return name

    return typer.Option(flag, parser=parse, metavar="|".join(names), help=text)


def run_folder(folder: Path | None, recipe: "Recipe", suffix: str = "") -> Path:
    """Give the folder that ``--run`` names, or else ``runs/NAME`` and the suffix."""
    return folder or Path("runs", recipe.name + suffix)
