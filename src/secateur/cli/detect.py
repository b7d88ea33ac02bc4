"""``secateur detect``: objects in pictures and videos, drawn and listed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from secateur.cli.console import ConsoleReporter, open_console, say
from secateur.cli.options import Json, Model, choice
from secateur.cli.table import add_row, make_table
from secateur.runtimes.table import RUNTIMES


def detect(
    model: Model,
    pictures: Annotated[
        list[Path],
        typer.Argument(
            metavar="PICTURE|FOLDER|VIDEO", help="Pictures, folders of pictures, and videos."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder for the drawn copies and detections.json."),
    ],
    score: Annotated[
        float, typer.Option(min=0, max=1, help="Minimum score of an object, 0 to 1.")
    ] = 0.4,
    runtime: Annotated[
        str | None,
        choice("--runtime", RUNTIMES, "Runtime. Default: chosen by the file's format."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Find objects in pictures and videos, and draw them on copies.

    MODEL is a network file, or an ONNX or OpenVINO file that export wrote. Each box is drawn with
    its class and score.

    DIR/detections.json lists the objects of each picture with class, score and box (x1, y1, x2, y2
    in pixels); for videos also with frame number and time in seconds.
    """
    from secateur.inference.detect import detect_and_draw

    reporter = ConsoleReporter(open_console(stderr=True))
    found = detect_and_draw(model, pictures, out, score, reporter.bar, runtime)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    console = open_console()
    console.print(detections_table(found))
    say(console, f"drawn on copies in {out}")


def detections_table(found: Mapping[str, list[dict[str, Any]]]) -> Table:
    """List the objects of each picture, one a row."""
    table = make_table("picture", "class", "score", "box: x1, y1, x2, y2", left=2)
    for path, objects in found.items():
        if not objects:
            add_row(table, path, "nothing", "", "")
        for number, each in enumerate(objects):
            sides = ", ".join(f"{side:.0f}" for side in each["box"])
            name = path if number == 0 else ""
            add_row(table, name, each["class"], f"{each['score']:.0%}", sides)
    return table
