"""``secateur init``: a first recipe for a folder of pictures."""

from pathlib import Path
from typing import Annotated

import typer

from secateur.cli.console import open_console, say


def init(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="Annotated pictures in VOC, COCO, YOLO or GTSDB layout; for a classifier "
            "train/CLASS/picture.",
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="Recipe to write; never overwritten.")
    ] = Path("recipe.yaml"),
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="A trained torchvision SSD300 or SSD512: a state dict, a checkpoint or a "
            "safetensors file. It is then compressed without being trained first.",
        ),
    ] = None,
) -> None:
    """Write a first recipe for your own pictures.

    Comments in the recipe explain it. The layout is detected, every picture and annotation is
    checked, and training lengths are chosen from the number of pictures.
    """
    from secateur.run.init_recipe import write_first_recipe

    first = write_first_recipe(folder, out, weights)
    console = open_console()
    say(console, first.summary)
    say(console, first.hint)
    say(console, f"recipe written to {out}; next: secateur compress {out} --plan")
