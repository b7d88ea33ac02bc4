"""``secateur recipes``: the recipes that are part of the package."""

from pathlib import Path
from typing import Annotated

import typer

from secateur.cli.console import open_console, say
from secateur.cli.table import add_row, make_table


def recipes(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A shipped recipe to print or copy.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Copy the recipe to this file, to edit it; never overwritten.",
        ),
    ] = None,
) -> None:
    """List the shipped recipes; or print one, or copy it to a file.

    Commands that take a RECIPE accept these names: secateur compress quickstart.
    """
    from secateur.config.shipped import copy_recipe, shipped_recipe, shipped_recipes

    if name is None:
        if out is not None:
            raise typer.BadParameter("needs the NAME of a recipe", param_hint="--out")
        table = make_table("recipe", "what it does", "what it needs", left=3)
        for recipe in shipped_recipes().values():
            add_row(table, recipe.name, recipe.summary, recipe.needs)
        open_console().print(table)
    elif out is None:
        typer.echo(shipped_recipe(name).text, nl=False)
    else:
        copy_recipe(name, out)
        say(open_console(), f"recipe written to {out}; next: secateur compress {out} --plan")
