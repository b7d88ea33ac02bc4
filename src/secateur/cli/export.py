"""``secateur export``: a file for ONNX Runtime or OpenVINO, or a torch file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from secateur.cli.console import ConsoleReporter, open_console, say
from secateur.cli.options import choice
from secateur.cli.table import add_row, make_table
from secateur.export.table import EXPORTS, PRECISIONS

if TYPE_CHECKING:
    from secateur.export.export import Export


def export(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A network file, such as slim.safetensors; or torchvision:NAME, the trained "
            "weights of an SSD, such as torchvision:SSD300_VGG16_Weights.COCO_V1.",
        ),
    ],
    file_format: Annotated[
        str,
        choice("--format", EXPORTS, ". ".join(f"{n}: {e.description}" for n, e in EXPORTS.items())),
    ] = "onnx",
    precision: Annotated[
        str,
        choice(
            "--precision",
            PRECISIONS,
            "Arithmetic precision. int8 is calibrated on pictures, and its accuracy is measured on "
            "validation.",
        ),
    ] = "fp32",
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File to write. Default: in the folder of MODEL."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="RECIPE|FOLDER",
            help="Annotated pictures to verify the export on. Default: those of the run folder "
            "that holds MODEL, otherwise drawn ones.",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Split of --data. Default: validation of a recipe, train of a folder.",
        ),
    ] = None,
    nms: Annotated[
        bool,
        typer.Option(
            "--nms/--raw",
            help="Include decoding and NMS, so that the file returns boxes, labels and scores; or "
            "return the raw outputs of the heads and the default boxes.",
        ),
    ] = True,
    dynamic_batch: Annotated[
        bool,
        typer.Option("--dynamic-batch", help="Accept any batch size instead of 1."),
    ] = False,
    shape: Annotated[
        str | None,
        typer.Option(
            metavar="HEIGHTxWIDTH",
            help="Fixed picture size in pixels, for a network that does not resize its pictures. "
            "Default: any size.",
        ),
    ] = None,
    score: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Score below which the file returns no object. Default: the recipe's.",
        ),
    ] = None,
    max_drop: Annotated[
        float, typer.Option(min=0, help="Points of the metric that int8 may lose.")
    ] = 1.0,
) -> None:
    """Write a network for ONNX Runtime or OpenVINO, and verify it.

    The file takes RGB pictures as bytes (N, 3, H, W). It returns boxes in pixels, labels from 1 and
    scores, highest score first, padded with rows of zeros. It has standard operators only; its
    metadata hold the classes and the input size.

    The file is compared with the original network. In fp32, 998 of 1,000 objects must have a
    counterpart within 0.5 pixels and 0.001 of score (NMS may choose differently between nearly
    equal boxes). In int8, the metric on validation may fall by MAX_DROP at most. A file that fails
    is deleted. FILE.json holds the measurements.
    """
    from secateur.export.export import export_network
    from secateur.export.target import Target, picture_shape
    from secateur.inference.torch_network import TorchNetwork

    target = Target(
        file_format,
        precision,
        not nms,
        dynamic_batch,
        picture_shape(shape),
        score,
        max_drop,
    )
    network = TorchNetwork.load(model)
    file = out or target.file_for(model)
    reporter = ConsoleReporter(open_console(stderr=True))
    result = export_network(network, file, target, data=data, split=split, bar=reporter.bar)
    console = open_console()
    console.print(export_table(result))
    say(console, f"written: {file}")


def export_table(export: "Export") -> Table:
    """List what was written and how far it agrees with the original network."""
    table = make_table("", "export")
    header = export.header
    add_row(table, "bytes", f"{export.bytes:,}")
    add_row(table, "precision", header["precision"])
    add_row(table, "outputs", header["outputs"])
    shape = header["shape"]
    sides = f"{shape[0]} by {shape[1]} pixels" if shape else "any size"
    add_row(table, "pictures", f"{header['batch'] or 'any number'}, {sides}")
    provenance = header["provenance"]
    if "score" in provenance and "boxes" in provenance:
        limits = (
            f"at most {provenance['boxes']} per picture, with scores above {provenance['score']:g}"
        )
        add_row(table, "boxes", limits)
    add_row(table, "verified on", export.checked_on)
    if export.agreement:
        found = export.agreement
        add_row(table, "predictions that agree", f"{found.matched:,} of {found.objects:,}")
        add_row(table, "largest difference", f"{found.worst_pixels:.2g} pixels")
        add_row(table, "", f"{found.worst_score:.2g} of score")
        if not found.found:
            add_row(table, "", "no objects were found: choose other pictures with --data")
    if export.before is not None and export.after is not None:
        add_row(table, f"{export.metric} before", f"{export.before:.2f}")
        add_row(table, f"{export.metric} after", f"{export.after:.2f}")
    return table
