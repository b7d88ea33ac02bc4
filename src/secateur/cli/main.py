"""The command line. It has no logic of its own: a command reads, calls one function and prints.

What needs torch is imported inside the commands, so that help comes at once.
"""

# ruff: noqa: PLC0415 # imports inside the commands, for the reason above

import atexit
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from secateur.cli.console import (
    ConsoleReporter,
    complain,
    detections_table,
    evaluation_tables,
    export_table,
    front_table,
    layer_table,
    open_console,
    say,
    show_benchmark,
    show_comparison,
    show_duration,
    show_plan,
    show_scales,
    summary_table,
    sweep_totals,
)
from secateur.distributed.rank import own_rank
from secateur.errors import (
    DivergedError,
    LostError,
    PruningError,
    RecipeError,
    RunError,
    SecateurError,
)
from secateur.files.signals import (
    TERMINATED,
    asked_to_end,
    handle_sigterm,
    ignore_signals,
    lost_signals_resent,
)

if TYPE_CHECKING:  # it imports torch
    from secateur.runtimes.table import Runtime

WRONG_INPUT = 2
INTERRUPTED = 130  # by Ctrl-C
# Commands that go on where they were stopped.
RESUMED = {"compress", "train", "compare", "scales", "sweep"}
# Commands that several processes can do together.
SHARED = {"compress", "train"}

app = typer.Typer(
    name="secateur",
    help="Make SSD object detectors and VGG16 classifiers several times smaller and faster.",
    epilog="Begin with: secateur init FOLDER (a folder of annotated pictures).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# For an option that can be given again, which takes no Literal.
_Runtime = StrEnum("_Runtime", ["torch", "onnxruntime", "openvino"])

Recipe = Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe, a YAML file.")]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change an entry for this run: --set train.steps=100, or "
        "--set compress.phases.0.layers=conv1_1-conv3_3. Can be given again.",
    ),
]
RunFolder = Annotated[
    Path | None,
    typer.Option(
        "--run", metavar="DIR", help="Folder of the run; runs/NAME of the recipe if not given."
    ),
]
Model = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A network file, such as slim.safetensors.")
]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"secateur {version('secateur')}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    _: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the version and end.",
        ),
    ] = False,
) -> None:
    """Take the options that stand before a command."""
    command = context.invoked_subcommand
    if own_rank().world_size > 1 and command not in SHARED:
        raise RunError(
            f"secateur {command} works in one process, so start it without torchrun; "
            f"{' and '.join(sorted(SHARED))} can share their work"
        )


@app.command(epilog="Example: secateur compress recipes/quickstart.yaml --set seed=1 --run runs/1")
def compress(
    recipe: Recipe,
    changes: Changes = None,
    run: RunFolder = None,
    plan_only: Annotated[
        bool,
        typer.Option(
            "--plan",
            help="Only say what would happen, and time a few steps of training; keeps nothing.",
        ),
    ] = False,
) -> None:
    """Train a network, make it small, evaluate both.

    Every step is kept in the run's folder. A stopped run goes on when the same command is given
    again, and at most the last minutes of a training are lost; a changed recipe redoes only what
    depends on the change. The results are dense.safetensors, slim.safetensors, summary.json and
    report.html.
    """
    from secateur.config.recipe import load_recipe

    loaded = load_recipe(recipe, changes or ())
    console = open_console()
    if plan_only:
        from secateur.run.duration import measure_duration
        from secateur.run.plan import plan

        planned = plan(loaded)
        show_plan(console, planned)
        if planned.pictures is not None:
            show_duration(console, measure_duration(loaded, planned.pictures))
        return
    from secateur.report.report import write_report
    from secateur.run.pipeline import compress_recipe

    folder = run or Path("runs", loaded.name)
    reporter = ConsoleReporter(console)
    summary = compress_recipe(loaded, folder, reporter)
    if own_rank().rank > 0:
        return
    page = write_report(folder, bar=reporter.bar)
    say(console, f"{loaded.name}, on {summary['split']}:")
    console.print(summary_table(summary))
    say(console, f"the small network: {folder / 'slim.safetensors'}")
    say(console, f"what happened: {page}")


@app.command(epilog="Example: secateur train recipes/quickstart.yaml --set train.steps=2000")
def train(recipe: Recipe, changes: Changes = None, run: RunFolder = None) -> None:
    """Train only the dense network; compress then goes on from it.

    The network is written to dense.safetensors in the run's folder.
    """
    from secateur.config.recipe import load_recipe
    from secateur.files.lock import lock
    from secateur.models.layer_costs import DENSE_FILE
    from secateur.models.network_file import save_network
    from secateur.run.run import open_run
    from secateur.run.stages import train_dense

    loaded = load_recipe(recipe, changes or ())
    folder = run or Path("runs", loaded.name)
    console = open_console()
    with lock(folder):
        opened = open_run(loaded, folder, ConsoleReporter(console))
        dense, step = train_dense(opened)
        provenance = {
            "run": loaded.name,
            "role": "dense",
            "metric": loaded.evaluate.metric,
            "split": "validation",
            "value": step.result["metric"],
        }
        save_network(opened.folder / DENSE_FILE, dense.model, dense.architecture, provenance)
    say(console, f"the dense network: {folder / DENSE_FILE}")


@app.command(epilog="Example: secateur evaluate runs/mine/slim.safetensors --data recipe.yaml")
def evaluate(
    model: Model,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="RECIPE|FOLDER",
            help="A recipe, or a folder of annotated pictures (VOC, COCO, YOLO, GTSDB; for a "
            "classifier SPLIT/CLASS/picture). If not given, the recipe of the run that MODEL lies "
            "in.",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Which pictures; test if there are any. With a recipe, validation is what it "
            "keeps from training.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Measure a network's accuracy, overall and by class.

    MODEL may be a network file, or an ONNX or OpenVINO file that export wrote. The classes of the
    pictures must be the network's own. A missing picture, a box outside its picture or an unknown
    class is an error that names the file: nothing is left out in silence.
    """
    from secateur.inference.evaluate import evaluate_file

    if data is None:
        data = model.parent / "recipe.json"
        if not data.is_file():
            raise RecipeError(f"{model}: lies in no run's folder; name pictures by --data")
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


@app.command(epilog="Example: secateur inspect slim.safetensors --against full")
def inspect(
    model: Model,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL|full",
            help="Compare with this network file, or with the same network at full widths. "
            "Otherwise with dense.safetensors beside MODEL, if it is there.",
        ),
    ] = None,
) -> None:
    """Show every layer's filters, parameters and MACs.

    Beside a network to compare with, it shows filters before and after, and the shares kept.

    A MAC is one multiply-add of a convolution or linear layer, for one picture of the network's
    nominal size. A norm's parameters are counted with the convolution before it.
    """
    from secateur.models.layer_costs import costs_before, layer_costs
    from secateur.models.network_file import load_network

    network = load_network(model)
    architecture = network.architecture
    before = costs_before(model, architecture, against)
    console = open_console()
    say(console, f"{model}: {architecture.network} at {architecture.size} pixels")
    console.print(layer_table(layer_costs(network.model, architecture), before))
    say(console, f"classes: {', '.join(architecture.classes)}")
    for key, value in network.provenance.items():
        say(console, f"{key}: {value}")


@app.command(epilog="Example: secateur export runs/mine/slim.safetensors --precision int8")
def export(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A network file, such as slim.safetensors, or torchvision:NAME of trained weights "
            "of an SSD, such as torchvision:SSD300_VGG16_Weights.COCO_V1.",
        ),
    ],
    file_format: Annotated[
        Literal["onnx", "openvino", "torch"],
        typer.Option(
            "--format",
            help="onnx; openvino, an .xml with its .bin; or torch, a network file with its batch "
            "norms folded away.",
        ),
    ] = "onnx",
    precision: Annotated[
        Literal["fp32", "fp16", "int8"],
        typer.Option(
            help="Of the arithmetic. int8 is calibrated, and its accuracy measured, on validation "
            "pictures."
        ),
    ] = "fp32",
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The file to write; beside MODEL if not given."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="RECIPE|FOLDER",
            help="Annotated pictures to check the export on; those of the run that MODEL lies in "
            "if not given, or else drawn ones.",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Which of them; if not given, a recipe's validation, or a folder's train.",
        ),
    ] = None,
    nms: Annotated[
        bool,
        typer.Option(
            "--nms/--raw",
            help="Decode and suppress inside the file, which then gives boxes, labels and scores; "
            "or give the raw outputs of the heads and the default boxes.",
        ),
    ] = True,
    dynamic_batch: Annotated[
        bool, typer.Option("--dynamic-batch", help="Take any number of pictures at once, not one.")
    ] = False,
    shape: Annotated[
        str | None,
        typer.Option(
            metavar="HEIGHTxWIDTH",
            help="Fix the pictures' size, for a network that takes them as they are; any size if "
            "not given. Pixels.",
        ),
    ] = None,
    score: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Least confidence of what the file gives, 0 to 1; the recipe's."
        ),
    ] = None,
    max_drop: Annotated[
        float, typer.Option(min=0, help="Points of the metric that int8 may cost.")
    ] = 1.0,
) -> None:
    """Write a network for ONNX Runtime or OpenVINO, and check it against the network.

    The file takes RGB pictures as bytes (N, 3, H, W) and gives boxes in pixels, labels from 1 and
    scores, the surest first, rows of zeros behind the last. It holds standard operators only, and
    its metadata have the classes and the input's size.

    It is tried before it is handed over: in fp32, 998 of 1,000 objects must have a counterpart
    within 0.5 pixels and 0.001 of score (NMS may choose otherwise between boxes that are almost
    alike), and for int8 the metric on validation may fall by MAX_DROP at most.
    What fails is deleted. FILE.json says what was measured.
    """
    from secateur.export.export import export as export_network
    from secateur.export.source import load_source
    from secateur.export.target import Target, picture_shape

    target = Target(
        file_format, precision, not nms, dynamic_batch, picture_shape(shape), score, max_drop
    )
    source = load_source(model)
    file = out or target.file_for(model)
    reporter = ConsoleReporter(open_console(stderr=True))
    result = export_network(source, file, target, data=data, split=split, bar=reporter.bar)
    console = open_console()
    console.print(export_table(result))
    say(console, f"written: {file}")


@app.command(epilog="Example: secateur detect slim.safetensors photo.jpg street/ --out found")
def detect(
    model: Model,
    pictures: Annotated[
        list[Path],
        typer.Argument(
            metavar="PICTURE|FOLDER|VIDEO", help="Pictures, folders of them, and videos."
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where the drawn copies and detections.json go.")
    ],
    score: Annotated[
        float, typer.Option(min=0, max=1, help="Least confidence of what is drawn, 0 to 1.")
    ] = 0.4,
    runtime: Annotated[
        Literal["torch", "onnxruntime", "openvino"] | None,
        typer.Option(help="What runs the network; the format's own if not given."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Find objects in pictures and videos and draw them on copies.

    MODEL may be a network file, or an ONNX or OpenVINO file that export wrote.

    Each box has its class and its confidence.

    DIR/detections.json lists, for each picture, class, score and box (x1, y1, x2, y2 in pixels);
    for each video, frame and time in seconds too.
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


@app.command(
    epilog="Example: secateur benchmark dense.safetensors slim.safetensors --runtime onnxruntime"
)
def benchmark(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL",
            help="Network files, exported .onnx and .xml files, and torchvision:NAME of trained "
            "weights of an SSD. The first is what the others are compared with.",
        ),
    ],
    runtimes: Annotated[
        list[_Runtime] | None,
        typer.Option(
            "--runtime",
            help="What runs them; each format's own if not given. Can be given again.",
        ),
    ] = None,
    batch: Annotated[
        str, typer.Option(metavar="N,N", help="Pictures at once, such as 1 or 1,8.")
    ] = "1",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of the processor; one a core if not given.")
    ] = None,
    shape: Annotated[
        str | None,
        typer.Option(
            metavar="HEIGHTxWIDTH",
            help="Of the pictures, for networks that take them as they are; the network's nominal "
            "size if not given. Pixels.",
        ),
    ] = None,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Have torch compile what it runs.")
    ] = False,
    seconds: Annotated[
        float,
        typer.Option(min=0, help="How long, for each network, runtime and batch size; about."),
    ] = 10.0,
    runs: Annotated[
        int | None, typer.Option(min=1, help="How many passes of each count; instead of --seconds.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Pictures to run on; random bytes if not given."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Where to write all that was measured.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure how fast networks are on the processor, one beside the other.

    Timed are the network alone, from bytes to raw outputs, and all of it, with decoding and NMS.
    How long these take depends on how much is found: random bytes show a trained network little,
    so name pictures by --data where it matters.

    Each network has a process of its own, and they take turns, so that what else the machine does
    falls on all. Medians are shown with their quartiles, beside the times fewer MACs. The memory
    is what a process took at its peak, beyond Python and its libraries.

    ONNX Runtime and OpenVINO run a network file as export would write it, in fp32.
    """
    from secateur.benchmark.benchmark import batch_sizes
    from secateur.benchmark.benchmark import benchmark as measure
    from secateur.export.target import picture_shape
    from secateur.files.atomic_write import write_json

    reporter = ConsoleReporter(open_console(stderr=True))
    result = measure(
        models,
        cast("list[Runtime]", [each.value for each in runtimes or ()]),
        batch_sizes(batch),
        threads,
        shape=picture_shape(shape),
        compiled=compiled,
        seconds=seconds,
        runs=runs,
        data=data,
        bar=reporter.bar,
    )
    if as_json:
        typer.echo(json.dumps(asdict(result), indent=2))
    else:
        show_benchmark(open_console(), result)
    if out is not None:
        write_json(out, asdict(result))
        reporter.say(f"written: {out}")


@app.command(epilog="Example: secateur report runs/mine")
def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN", help="Folders of runs, finished or not; several are compared."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where to write the page alone; report.html in the run's folder, or in the one "
            "that holds the folders of several, if not given. Markdown is printed if no FILE is "
            "given.",
        ),
    ] = None,
    markdown: Annotated[
        bool,
        typer.Option("--markdown", help="Tables in Markdown, for a pull request or a model card."),
    ] = False,
) -> None:
    """Write a page that shows what a run did, or one that compares several.

    The page is one file that opens from disk and needs nothing else. It has what was gained,
    filters by layer, accuracy at every step, for every class and on test pictures, the weights,
    the threshold and the selection, and how to repeat it all. Its charts also go to RUN/figures,
    as SVG and PNG.

    It is made from the run's own files: no picture is read, and no network is run. Of several runs,
    which must be finished and measured alike, it shows which networks no other surpasses.
    """
    from secateur.files.atomic_write import write_text
    from secateur.report.report import markdown_report, write_comparison, write_report

    console = open_console()
    if markdown:
        text = "\n".join(markdown_report(run) for run in runs)
        if out is None:
            typer.echo(text, nl=False)
            return
        if out.suffix != ".md":
            raise RunError(f"{out}: is no name of a Markdown file; give one that ends in .md")
        write_text(out, text)
    elif len(runs) > 1:
        out = write_comparison(runs, out)
    else:
        out = write_report(runs[0], out, ConsoleReporter(open_console(stderr=True)).bar)
    say(console, f"written: {out}")


@app.command(epilog="Example: secateur compare recipes/quickstart.yaml --criteria ours,l1,random")
def compare(
    recipe: Recipe,
    criteria: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME",
            help="Ways to choose filters: ours; baselines random, l1, l2, geometric_median, "
            "norm_scale, taylor, scratch, and group_norm, which is Torch-Pruning and needs the "
            "extra dev; ours with parts taken away or changed: uniform, layer_threshold, F_only, "
            "G_only, "
            "no_penalty, subgradient, uneven, unmended, one_phase, four_phases, gradual, distill, "
            "fine_tune. docs/method.md says what each does. If not given: ours, random, l1, l2, "
            "geometric_median, norm_scale where there are batch norms, taylor and scratch.",
        ),
    ] = None,
    keep_macs: Annotated[
        str, typer.Option(metavar="SHARE,SHARE", help="Budgets: shares of the MACs that are left.")
    ] = "0.5,0.3,0.15",
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each, with seeds 0, 1, …")] = 3,
    changes: Changes = None,
    run: Annotated[
        Path | None,
        typer.Option(
            "--run", metavar="DIR", help="Folder; runs/NAME-compare of the recipe if not given."
        ),
    ] = None,
) -> None:
    """Compare ways to compress under equal conditions.

    All have the same dense network, pictures, schedule and budget; a way that does not sparsify
    retrains for as many pictures more. The recipe's own goal and round_to are not used.

    Every way, budget and seed is a run, DIR/seedS/WAY/keepSHARE, which report makes a page of like
    of any other; but scratch is a training and nothing more. A comparison that was stopped goes on
    when the same command is given again. DIR/comparison.json has all figures, and
    DIR/comparison.svg draws them.
    """
    from secateur.config.recipe import load_recipe
    from secateur.experiments.chart import draw_comparison
    from secateur.experiments.compare import compare as compare_ways
    from secateur.experiments.compare import shares
    from secateur.experiments.variants import usual_ways

    loaded = load_recipe(recipe, changes or ())
    folder = run or Path("runs", f"{loaded.name}-compare")
    console = open_console()
    names = usual_ways(loaded)
    if criteria is not None:
        names = [name.strip() for name in criteria.split(",")]
    result = compare_ways(loaded, folder, names, shares(keep_macs), seeds, ConsoleReporter(console))
    draw_comparison(result, folder)
    show_comparison(console, result)
    say(console, f"written: {folder / 'comparison.json'}, and drawn in comparison.svg")


@app.command(epilog="Example: secateur scales recipes/quickstart.yaml --layers 2,3,4 --seeds 1")
def scales(
    recipe: Recipe,
    layers: Annotated[
        str | None,
        typer.Option(
            metavar="K,K",
            help="How many detection layers; 1, 2, … up to the recipe's if not given.",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each, with seeds 0, 1, …")] = 3,
    changes: Changes = None,
    run: Annotated[
        Path | None,
        typer.Option(
            "--run", metavar="DIR", help="Folder; runs/NAME-scales of the recipe if not given."
        ),
    ] = None,
) -> None:
    """Tell how many detection layers a detector needs.

    For each number k it keeps the first k detection layers and no layer behind them, trains that
    detector, compresses it by the recipe, and measures both on test. A phase that reaches beyond
    the last layer ends there; one that is about nothing else is left out, and the last phase then
    retrains for as many pictures more. Shares that the recipe keeps are of each detector's own
    parameters and MACs.

    Large objects need late detection layers: the table shows the side of the largest default box
    beside what is gained and what it costs.

    Every k and seed is a run, DIR/kK/seedS, which report makes a page of like of any other. A
    comparison that was stopped goes on when the same command is given again. DIR/scales.json has
    all figures, and DIR/scales.svg draws them.
    """
    from secateur.config.recipe import load_recipe
    from secateur.experiments.chart import draw_scales
    from secateur.experiments.scales import compare_scales

    loaded = load_recipe(recipe, changes or ())
    folder = run or Path("runs", f"{loaded.name}-scales")
    console = open_console()
    result = compare_scales(loaded, folder, layers, seeds, ConsoleReporter(console))
    draw_scales(result, folder)
    show_scales(console, result)
    say(console, f"written: {folder / 'scales.json'}, and drawn in scales.svg")


@app.command(epilog="Example: secateur sweep recipes/quickstart.yaml --trials 30")
def sweep(
    recipe: Recipe,
    trials: Annotated[
        int, typer.Option(min=1, help="How many, over all processes that share a storage.")
    ],
    goal: Annotated[
        Literal["budget", "levels"],
        typer.Option(
            help="How far each trial goes: by shares of parameters and MACs that are kept, or of "
            "these the one that the recipe names; or by the published levels s_F, s_F_both, s_G."
        ),
    ] = "budget",
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="A database for several processes or machines to share, such as "
            "postgresql://user:password@host/name; DIR/sweep.db if not given.",
        ),
    ] = None,
    latency: Annotated[
        bool,
        typer.Option(
            "--latency",
            help="Prefer quick networks too: each is timed on torch, one picture at a time. Let "
            "nothing else run meanwhile.",
        ),
    ] = False,
    changes: Changes = None,
    run: Annotated[
        Path | None,
        typer.Option(
            "--run", metavar="DIR", help="Folder; runs/NAME-sweep of the recipe if not given."
        ),
    ] = None,
) -> None:
    """Search for the settings that leave the smallest and most accurate networks.

    A trial is the recipe with other strengths, learning rates, phases and goals, around its own,
    as docs/method.md tells; the first is the recipe as it stands, with what it does not say in the
    middle of what is tried. Trials go by accuracy on validation, parameters and
    MACs, and hopeless ones are given up before they are retrained. Test is read once, at the end,
    for the networks that no other surpasses.

    DIR/sweep.json has all trials, DIR/sweep.svg draws them, and DIR/front has a recipe for compress
    and a network for each that is not surpassed. Their runs are in DIR/trials, which report shows.

    To share the work, give the same command several times: in one folder, on one machine; or on
    several machines, with --storage, where each trains a dense network of its own. A sweep that was
    stopped goes on when the command is given again. If a process dies, another does its trial
    again, or the next that is started.
    """
    from secateur.config.recipe import load_recipe
    from secateur.files.optional import require

    require("optuna")
    from secateur.experiments.sweep.chart import draw_sweep
    from secateur.experiments.sweep.finish import FRONT
    from secateur.experiments.sweep.sweep import sweep as sweep_recipe

    loaded = load_recipe(recipe, changes or ())
    folder = run or Path("runs", f"{loaded.name}-sweep")
    console = open_console()
    result = sweep_recipe(
        loaded,
        folder,
        trials,
        ConsoleReporter(console),
        storage=storage,
        goal=goal,
        latency=latency,
    )
    draw_sweep(result, folder)
    console.print(front_table(result))
    say(console, sweep_totals(result))
    files = f"{folder / 'sweep.json'}, and drawn in sweep.svg"
    say(console, f"written: {files}; recipes and networks are in {folder / FRONT}")


@app.command(epilog="Example: secateur init my/pictures --out my.yaml")
def init(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="Annotated pictures: VOC, COCO, YOLO or GTSDB; or train/CLASS/picture.",
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="The recipe to write; never overwritten.")
    ] = Path("recipe.yaml"),
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="A trained torchvision SSD300 (or SSD512) of your own, as state dict, checkpoint "
            "or safetensors: it is then compressed as it is, and not trained first.",
        ),
    ] = None,
) -> None:
    """Write a first recipe for your own pictures.

    Its comments explain it. The layout is found out, every picture and annotation is checked,
    and the lengths of the trainings are chosen by the number of pictures.
    """
    from secateur.run.init_recipe import write_first_recipe

    first = write_first_recipe(folder, out, weights)
    console = open_console()
    say(console, first.summary)
    say(console, first.hint)
    say(console, f"recipe written to {out}; next: secateur compress {out} --plan")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process.

    Args:
        arguments: without the program's name; None for those of the process.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A file name or an arrow that the terminal's encoding lacks must not end a run.
            stream.reconfigure(errors="backslashreplace")
    handle_sigterm()
    try:
        try:
            with lost_signals_resent():
                app(arguments)
            return
        except SecateurError as error:
            ignore_signals()
            if asked_to_end():  # and so were the processes that load pictures
                raise SystemExit(TERMINATED) from None
            told = f"error: {' '.join(str(error).splitlines())}" if _tells(error) else None
    except SystemExit as end:
        if end.code in (INTERRUPTED, TERMINATED):
            ignore_signals()
            given = sys.argv[1:] if arguments is None else arguments
            command = next((each for each in given if not each.startswith("-")), None)
            again = "; give the same command again: it goes on from what was last saved"
            if own_rank().local_rank == 0:
                complain(f"stopped{again if command in RESUMED else ''}")
        raise
    # Behind it all, for an error holds on to all that was in memory when it was raised.
    if told is not None:
        complain(told)
    # At the end torch sums up compile times that nobody asked for, which takes memory: if that is
    # what ran short, a traceback would stand behind our line.
    if sum_up := getattr(sys.modules.get("torch._dynamo.utils"), "dump_compile_times", None):
        atexit.unregister(sum_up)
    sys.exit(WRONG_INPUT)


def _tells(error: SecateurError) -> bool:
    """Whether this process is to print an error.

    One that all processes run into is told by the first of each machine. What went wrong in one
    alone, such as a picture that it could not read, it tells itself.
    """
    if own_rank().local_rank == 0:
        return True
    from secateur.distributed.processes import is_connected

    alike = isinstance(error, DivergedError | LostError | PruningError | RecipeError)
    return is_connected() and not alike
