"""The command line's entry point: its commands, global options, exit codes and errors.

A command parses its arguments, calls one function of the library and prints the result. What
imports torch is imported inside the commands, so that help is printed at once.
"""

import atexit
import io
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Annotated, Any

import typer

from secateur.cli.benchmark import benchmark
from secateur.cli.compare import compare
from secateur.cli.compress import compress
from secateur.cli.console import complain
from secateur.cli.curve import curve
from secateur.cli.detect import detect
from secateur.cli.evaluate import evaluate
from secateur.cli.export import export
from secateur.cli.init import init
from secateur.cli.inspect import inspect
from secateur.cli.recipes import recipes
from secateur.cli.report import report
from secateur.cli.scales import scales
from secateur.cli.sweep import sweep
from secateur.cli.train import train
from secateur.distributed.rank import own_rank
from secateur.errors import (
    DivergedError,
    LostError,
    PruningError,
    RecipeError,
    RunError,
    SecateurError,
)
from secateur.files.signals import TERMINATED, ignore_signals, is_terminating, signals_raised

WRONG_INPUT = 2
INTERRUPTED = 130  # by Ctrl-C

# In the order of --help, each with its example.
COMMANDS: dict[Callable[..., None], str] = {
    compress: "compress quickstart --set seed=1 --run runs/1",
    train: "train quickstart --set train.steps=2000",
    curve: "curve runs/mine/dense.safetensors --out runs/mine-curve",
    evaluate: "evaluate runs/mine/slim.safetensors --data mine.yaml",
    inspect: "inspect slim.safetensors --against full",
    export: "export runs/mine/slim.safetensors --precision int8",
    detect: "detect slim.safetensors photo.jpg street/ --out found",
    benchmark: "benchmark dense.safetensors slim.safetensors --runtime onnxruntime",
    report: "report runs/mine",
    compare: "compare quickstart --criteria ours,l1,random",
    scales: "scales quickstart --layers 2,3,4 --seeds 1",
    sweep: "sweep quickstart --trials 30",
    init: "init my/pictures --out mine.yaml",
    recipes: "recipes quickstart --out mine.yaml",
}
RESUMABLE = {"compress", "train", "curve", "compare", "scales", "sweep"}
DISTRIBUTED = {"compress", "train"}  # can run in several processes

app = typer.Typer(
    name="secateur",
    help="Make SSD object detectors and other convolutional networks several times smaller and "
    "faster, by filter pruning.",
    epilog="Start with: secateur compress quickstart; or, for your own pictures: secateur init "
    "FOLDER.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command, _example in COMMANDS.items():
    app.command(epilog=f"Example: secateur {_example}")(_command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"secateur {version('secateur')}")
        raise typer.Exit


@app.callback()
def _global_options(
    context: typer.Context,
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    command = context.invoked_subcommand
    if own_rank().world_size > 1 and command not in DISTRIBUTED:
        raise RunError(
            f"secateur {command} runs in one process, so start it without torchrun; only "
            f"{' and '.join(sorted(DISTRIBUTED))} can run in several"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Args:
        arguments: without the program's name; None for those of the process.

    Raises:
        SystemExit: always. 0: done; 2: wrong input; 130: Ctrl-C; 143: SIGTERM.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A character that the terminal's encoding lacks must not end a run.
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            with signals_raised():
                app(arguments)
            return
        except SecateurError as error:
            ignore_signals()
            if is_terminating():  # the error follows from processes that the signal ended too
                raise SystemExit(TERMINATED) from None
            message = " ".join(str(error).splitlines()) if _is_ours_to_print(error) else None
    except SystemExit as end:
        if end.code in (INTERRUPTED, TERMINATED):
            ignore_signals()
            _say_stopped(sys.argv[1:] if arguments is None else arguments)
        raise
    # Outside the except clause, so that what the error's traceback holds in memory is free.
    if message is not None:
        complain(f"error: {message}")
    # At exit torch sums up compile times, which takes memory. If memory ran short, that would print
    # a traceback after our line.
    compiler: Any = sys.modules.get("torch._dynamo.utils")
    if sum_up := getattr(compiler, "dump_compile_times", None):
        atexit.unregister(sum_up)
    sys.exit(WRONG_INPUT)


def _say_stopped(arguments: Sequence[str]) -> None:
    command = next((each for each in arguments if not each.startswith("-")), None)
    hint = "; give the same command again to resume" if command in RESUMABLE else ""
    if own_rank().local_rank == 0:
        complain(f"stopped{hint}")


def _is_ours_to_print(error: SecateurError) -> bool:
    """Whether this process prints an error.

    An error that all processes have is printed by the first of each machine. An error of one
    process, such as a picture that it could not read, is printed by that process.
    """
    if own_rank().local_rank == 0:
        return True
    from secateur.distributed.processes import is_connected

    shared = isinstance(error, DivergedError | LostError | PruningError | RecipeError)
    return is_connected() and not shared
