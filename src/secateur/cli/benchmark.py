"""``secateur benchmark``: the speed of networks, side by side."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from secateur.cli.console import ConsoleReporter, open_console, say
from secateur.cli.options import Json, choice
from secateur.cli.table import add_row, fits, make_table, narrow
from secateur.runtimes.table import RUNTIMES

if TYPE_CHECKING:
    from secateur.benchmark.benchmark import Benchmark, Measurement
    from secateur.benchmark.memory import Memory
    from secateur.benchmark.timing import Times


def benchmark(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL",
            help="Network files, exported .onnx and .xml files, and torchvision:NAME, the trained "
            "weights of an SSD. All are compared with the first.",
        ),
    ],
    runtimes: Annotated[
        list[str] | None,
        choice(
            "--runtime", RUNTIMES, "Runtime. Default: chosen by each file's format. Repeatable."
        ),
    ] = None,
    batch: Annotated[str, typer.Option(metavar="N,N", help="Batch sizes, such as 1 or 1,8.")] = "1",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads. Default: one for each core.")
    ] = None,
    shape: Annotated[
        str | None,
        typer.Option(
            metavar="HEIGHTxWIDTH",
            help="Picture size in pixels, for networks that do not resize their pictures. Default: "
            "the network's nominal size.",
        ),
    ] = None,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compile networks that torch runs.")
    ] = False,
    seconds: Annotated[
        float,
        typer.Option(min=0, help="Approximate time for each network, runtime and batch size."),
    ] = 10.0,
    runs: Annotated[
        int | None, typer.Option(min=1, help="Timed passes of each; replaces --seconds.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Pictures to run on. Default: random bytes."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="File for all measurements.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure the speed of networks on the CPU, side by side.

    Two times are measured: the network alone, from bytes to raw outputs, and the total, with
    decoding and NMS. NMS takes longer if more objects are found. A trained network finds few in
    random bytes, so give real pictures with --data if this matters.

    Each network has its own process, and the processes take turns, so that other load on the
    machine affects all equally. The table shows medians with quartiles, and how many times fewer
    MACs there are. Memory is the peak of a process, beyond Python and its libraries.

    ONNX Runtime and OpenVINO run a network file as export would write it, in fp32.
    """
    from secateur.benchmark.benchmark import batch_sizes
    from secateur.benchmark.benchmark import benchmark as measure
    from secateur.benchmark.preparation import Conditions
    from secateur.export.target import picture_shape
    from secateur.files.atomic_write import check_output, write_json

    if out is not None:
        check_output(out, [*map(Path, models), data])
    reporter = ConsoleReporter(open_console(stderr=True))
    conditions = Conditions(
        runtimes=runtimes or (),
        batches=batch_sizes(batch),
        threads=threads,
        shape=picture_shape(shape),
        compiled=compiled,
        seconds=seconds,
        runs=runs,
        data=data,
    )
    result = measure(models, conditions, reporter.bar)
    if as_json:
        typer.echo(json.dumps(asdict(result), indent=2))
    else:
        show_benchmark(open_console(), result)
    if out is not None:
        write_json(out, asdict(result))
        reporter.say(f"written: {out}")


def show_benchmark(console: Console, benchmark: "Benchmark") -> None:
    """Print a row for each measurement; what all rows have in common is printed above the table."""
    table, common = _table(benchmark, quartiles=True)
    if not fits(table, console):
        table, common = _table(benchmark, quartiles=False)
        narrow(table)
        common.append("medians; the quartiles are in the JSON")
    say(console, ", ".join(common))
    console.print(table)


def _table(benchmark: "Benchmark", *, quartiles: bool) -> tuple[Table, list[str]]:
    """Make the table, and list what all its rows have in common."""
    measured = benchmark.measurements
    groups = [_group(each) for each in measured]
    precisions = [each.precision for each in measured]
    common = [f"{benchmark.threads} thread{'s' if benchmark.threads > 1 else ''}"]
    common.append(benchmark.pictures)
    names = _short_names([each.model for each in measured])
    if len(set(names)) > 1:
        common.append(f"compared with {names[0]}")
    if len(set(precisions)) == 1:
        common.insert(0, precisions[0])
    if len(set(groups)) == 1:
        common.insert(0, groups[0])
    indent = "  " if len(set(groups)) > 1 else ""
    whole = "with NMS" if any(each.network and each.whole for each in measured) else "total"
    columns: list[tuple[str, list[str]]] = [
        ("", [indent + name for name in names]),
        ("precision", [*precisions] if len(set(precisions)) > 1 else []),
        ("network\nms", [_median(each.network, quartiles) for each in measured]),
        ("times\nfaster", [_ratio(each.network_times_faster) for each in measured]),
        (f"{whole}\nms", [_median(each.whole, quartiles) for each in measured]),
        ("times\nfaster", [_ratio(each.whole_times_faster) for each in measured]),
        ("pictures\nper s", [_figures(each.pictures_per_second) for each in measured]),
        ("peak\nMB", [_megabytes(each.memory) for each in measured]),
        ("times\nfewer\nMACs", [_ratio(each.times_fewer_macs) for each in measured]),
    ]
    # A column is empty where nothing has it: classifiers have no time of the network alone.
    columns = [column for column in columns if any(column[1])]
    table = make_table(*(name for name, _ in columns))
    printed = None if indent else groups[0]
    for group, row in zip(groups, zip(*(cells for _, cells in columns), strict=True), strict=True):
        if group != printed:
            table.add_section()
            add_row(table, group)
            printed = group
        add_row(table, *(cell or "-" for cell in row))
    return table, common


def _group(measured: "Measurement") -> str:
    """Name the conditions within which measurements are compared."""
    compiled = " compiled" if measured.compiled else ""
    return f"{measured.runtime}{compiled}, batch {measured.batch}"


def _short_names(models: Sequence[str]) -> list[str]:
    """Drop the folders of files, unless two files have the same name."""
    short = {model: Path(model).name for model in models}
    return [short[model] if len(set(short.values())) == len(short) else model for model in models]


def _figures(value: float) -> str:
    """Format with three significant figures, or all those before the decimal point."""
    return f"{value:,.{2 if value < 10 else 1 if value < 100 else 0}f}"


def _median(times: "Times | None", quartiles: bool) -> str:
    """Format a median and, if wanted, its quartiles in brackets."""
    if times is None:
        return ""
    median = _figures(times.median)
    return f"{median} ({_figures(times.lower)}–{_figures(times.upper)})" if quartiles else median


def _ratio(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def _megabytes(memory: "Memory | None") -> str:
    return f"{memory.peak / 1e6:,.0f}" if memory else ""
