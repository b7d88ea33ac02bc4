"""``secateur evaluate``: the accuracy of a network file."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from secateur.cli.console import ConsoleReporter, open_console, say
from secateur.cli.options import Json, Model
from secateur.cli.table import add_row, make_table, percent

if TYPE_CHECKING:
    from secateur.inference.evaluate import Evaluation


def evaluate(
    model: Model,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="RECIPE|FOLDER",
            help="A recipe, or a folder of annotated pictures (VOC, COCO, YOLO, GTSDB; for a "
            "classifier SPLIT/CLASS/picture). Default: the recipe of MODEL's run folder.",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Split to evaluate on. Default: test, if there is one. 'validation' of a recipe "
            "is the part that it holds out from training.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure a network's accuracy, overall and for each class.

    MODEL is a network file, or an ONNX or OpenVINO file that export wrote. The data must have the
    network's classes. A missing picture, a box outside its picture or an unknown class is an error
    that names the file: nothing is skipped.
    """
    from secateur.inference.evaluate import evaluate_file

    result = evaluate_file(model, data, split, ConsoleReporter(open_console(stderr=True)).bar)
    if as_json:
        typer.echo(json.dumps(asdict(result), indent=2))
        return
    console = open_console()
    say(console, f"{model}: {result.pictures:,} pictures of {result.split}")
    if result.note:
        say(console, f"note: {result.note}")
    for table in evaluation_tables(result):
        console.print(table)


def evaluation_tables(evaluation: "Evaluation") -> tuple[Table, Table]:
    """Give a table of all metrics, and one of the accuracy by class."""
    metrics = make_table("metric", "%")
    for name, value in evaluation.metrics.items():
        add_row(metrics, name, percent(value))
    count, *names = next(iter(evaluation.by_class.values()))
    classes = make_table("class", count, *names)
    for name, found in evaluation.by_class.items():
        add_row(classes, name, f"{found[count]:,}", *(percent(found[metric]) for metric in names))
    return metrics, classes
