"""``secateur compress``: the whole flow of a recipe, or its plan."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from secateur.cli.console import ConsoleReporter, complain, open_console, say
from secateur.cli.options import Changes, RecipeArgument, RunFolder, run_folder
from secateur.cli.table import add_row, make_table, percent, times_fewer
from secateur.distributed.rank import own_rank

if TYPE_CHECKING:
    from secateur.run.duration import Duration
    from secateur.run.plan import Plan
    from secateur.run.records import Summary


def compress(
    recipe: RecipeArgument,
    changes: Changes = None,
    run: RunFolder = None,
    plan_only: Annotated[
        bool,
        typer.Option(
            "--plan",
            help="Only show what would happen, in what the recipe differs from that of the run "
            "folder, and time a few training steps; writes nothing.",
        ),
    ] = False,
    no_training: Annotated[
        bool,
        typer.Option(
            "--no-training",
            help="Train nothing after the dense network: remove filters, and reconstruct the rest "
            "from pictures, which takes minutes. The same as --set compress.training=false.",
        ),
    ] = False,
) -> None:
    """Train a network, compress it, and evaluate both.

    Every step is saved in the run folder. Give the same command again to resume a stopped run
    after the last completed step or, in a training, the last checkpoint. If the recipe has changed,
    only the steps that depend on the change are repeated, and what they replace is kept. The
    results are
    dense.safetensors, slim.safetensors, summary.json and report.html.
    """
    from secateur.config.recipe import load_recipe

    changes = [*(changes or ()), *(["compress.training=false"] if no_training else [])]
    loaded = load_recipe(recipe, changes)
    console = open_console()
    if plan_only:
        from secateur.run.duration import measure_duration
        from secateur.run.plan import plan

        planned = plan(loaded, run_folder(run, loaded))
        show_plan(console, planned)
        if planned.pictures is not None:
            show_duration(console, measure_duration(loaded, planned.pictures))
        return
    from secateur.report.report import write_report
    from secateur.run.pipeline import compress_recipe

    folder = run_folder(run, loaded)
    reporter = ConsoleReporter(console)
    summary = compress_recipe(loaded, folder, reporter)
    if own_rank().rank > 0:
        return
    page = write_report(folder, bar=reporter.bar)
    say(console, f"{loaded.name}, on {summary.split}:")
    console.print(summary_table(summary))
    say(console, f"slim network: {folder / 'slim.safetensors'}")
    say(console, f"report: {page}")


def summary_table(summary: "Summary") -> Table:
    """Compare slim with dense: the ratio of the counts, the difference of the metrics."""
    dense, slim = summary.dense, summary.slim
    counts = {
        "parameters": (dense.params, slim.params),
        "MACs": (dense.macs, slim.macs),
        "bytes of the file": (dense.bytes, slim.bytes),
    }
    table = make_table("", "dense", "slim", "")
    for name, (before, after) in counts.items():
        add_row(table, name, f"{before:,}", f"{after:,}", times_fewer(before, after))
    for name, old in dense.metrics.items():
        new = slim.metrics[name]
        change = "-" if old is None or new is None else f"{new - old:+.2f}"
        add_row(table, name, percent(old), percent(new), change)
    return table


def show_plan(console: Console, plan: "Plan") -> None:
    """Print what a run would do."""
    for missing in plan.missing:
        complain(f"warning: a run would stop at once: {missing}")
    architecture = plan.architecture
    say(
        console,
        f"{plan.name}: {architecture.network}, {architecture.size} by {architecture.size} pixels, "
        f"{len(architecture.classes)} classes",
    )
    training = f"trained for {plan.train_steps:,} steps" if plan.train_steps else "not trained"
    say(console, f"dense network: {plan.params:,} parameters, {plan.macs:,} MACs; {training}")
    table = make_table(
        "phase",
        "layers",
        "groups",
        "filters",
        "sparsify",
        "retrain",
        "parameters ≤",
        "MACs ≤",
        left=2,
    )
    for number, phase in enumerate(plan.phases, start=1):
        add_row(
            table,
            str(number),
            phase.layers,
            f"{len(phase.filters):,}",
            f"{sum(phase.filters.values()):,}",
            f"{phase.sparsify_steps:,}",
            f"{phase.retrain_steps:,}",
            _limit(phase.budget.params),
            _limit(phase.budget.macs),
        )
    console.print(table)
    if not any(phase.retrain_steps for phase in plan.phases):
        say(console, "nothing is trained in the phases: what remains is reconstructed")
    for number, phase in enumerate(plan.phases, start=1):
        filters = ", ".join(f"{name} ({count})" for name, count in phase.filters.items())
        say(console, f"phase {number}, {phase.goal}; prunes {filters}")
    for reason in dict.fromkeys(plan.fixed.values()):
        names = [name for name, why in plan.fixed.items() if why == reason]
        say(console, f"never pruned ({reason}): {', '.join(names)}")
    if plan.untouched:
        say(console, f"not pruned by any phase: {', '.join(plan.untouched)}")
    for note in plan.notes:
        say(console, f"note: {note}")
    for found in plan.found:
        say(console, found)


def show_duration(console: Console, duration: "Duration") -> None:
    """Print how long the trainings of a run would take."""
    phases = [f"{_span(s)} for phase {n}" for n, s in enumerate(duration.phases, start=1)]
    *some, last = phases
    at_most = f"at most {', '.join(some)} and {last}" if some else f"at most {last}"
    dense = f"about {_span(duration.dense)} for the dense network, then " if duration.dense else ""
    say(
        console,
        f"training on {duration.device}: {dense}{at_most}, less as the network shrinks; "
        "evaluations and threshold searches take further time",
    )


def _limit(count: float | None) -> str:
    return "any" if count is None else f"{count:,.0f}"


def _span(seconds: float) -> str:
    """Format a duration in its largest unit of which there are two."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}s"
    return f"{max(1, round(seconds))} second{'' if round(seconds) <= 1 else 's'}"
