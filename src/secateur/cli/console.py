"""What people see in the terminal: lines, progress bars and tables.

Names of files, layers and classes go through ``rich.text.Text``, which takes them as they are;
in plain strings rich would read ``[brackets]`` as markup and ``:words:`` as emoji.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from secateur.distributed.rank import own_rank

if TYPE_CHECKING:  # they import torch, and `secateur --help` is to be quick
    from secateur.benchmark.benchmark import Benchmark, Measurement
    from secateur.benchmark.memory import Memory
    from secateur.benchmark.times import Times
    from secateur.experiments.compare import Comparison
    from secateur.experiments.scales import Scales
    from secateur.experiments.sweep.result import Dense, Point, Sweep
    from secateur.export.export import Export
    from secateur.inference.evaluate import Evaluation
    from secateur.models.layer_costs import LayerCost
    from secateur.run.duration import Duration
    from secateur.run.plan import Plan

_COUNTS = {"params": "parameters", "macs": "MACs", "bytes": "bytes of the file"}
# Characters; in a file or a pipe nothing is folded.
_PLAIN_WIDTH = 1000


def open_console(*, stderr: bool = False) -> Console:
    """Give a console for a standard stream; of several processes, only the first's shows."""
    quiet = own_rank().rank > 0
    console = Console(stderr=stderr, quiet=quiet)
    if console.is_terminal:
        return console
    return Console(stderr=stderr, width=_PLAIN_WIDTH, quiet=quiet)


def complain(text: str) -> None:
    """Print a line to the standard error stream, whichever process this is."""
    console = open_console(stderr=True)
    console.quiet = False
    say(console, text)


def say(console: Console, text: str) -> None:
    """Print a line as it is, however long."""
    console.print(Text(_shown(text)), soft_wrap=True)


def _shown(text: str) -> str:
    """Write out what would command the terminal instead of standing in it."""
    return "".join(c if c.isprintable() or c in "\n\t\xa0" else repr(c)[1:-1] for c in text)


class ConsoleReporter:
    """Tells of a run in the terminal; without one, a line now and then."""

    # Seconds between plain lines of one bar, so that short work leaves no trace in a log.
    patience = 10.0

    def __init__(self, console: Console) -> None:
        self.console = console

    def say(self, text: str) -> None:
        """Print a line."""
        say(self.console, text)

    @contextmanager
    def bar(self, title: str, total: int, done: int = 0) -> Iterator[Callable[..., None]]:
        """Show progress with the time left; give ``advance(count=1, note="")``.

        Args:
            title: of what is done.
            total: all there is to do.
            done: what was done before, in no time of this one's.
        """
        if not self.console.is_terminal:
            yield self._plain_bar(title, total, done)
            return
        with Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self.console,
            transient=True,
        ) as progress:
            task = progress.add_task(title, total=total, completed=done, note="")

            def advance(count: int = 1, note: str = "") -> None:
                progress.update(task, advance=count, note=note)

            yield advance

    def _plain_bar(self, title: str, total: int, done: int) -> Callable[..., None]:
        start = said_at = time.monotonic()
        before = done
        said = 10 * done // max(1, total)
        spoke = False

        def advance(count: int = 1, note: str = "") -> None:
            nonlocal done, said, said_at, spoke
            done += count
            now = time.monotonic()
            tenth = 10 * done // max(1, total)
            ends = spoke and done == total
            if not ends and (tenth == said or now - said_at < self.patience):
                return
            said, said_at, spoke = tenth, now, True
            left = (now - start) / (done - before) * (total - done)
            self.say(
                f"{title}: {done / total:.0%}, {done} of {total}, {_time(now - start)} gone, "
                f"{_time(left)} left{', ' if note else ''}{note}"
            )

        return advance


# ---- tables --------------------------------------------------------------------------------


def summary_table(summary: Mapping[str, Any]) -> Table:
    """Dense against slim: the counts with their ratio, the metrics with their difference."""
    dense, slim = summary["dense"], summary["slim"]
    table = _table("", "dense", "slim", "")
    for key, name in _COUNTS.items():
        ratio = dense[key] / slim[key]
        _add(table, name, f"{dense[key]:,}", f"{slim[key]:,}", f"{ratio:.2f} times fewer")
    for name, before in dense.items():
        if isinstance(before, float):
            after = slim[name]
            _add(table, name, f"{before:.2f}", f"{after:.2f}", f"{after - before:+.2f}")
    return table


def layer_table(
    after: Mapping[str, "LayerCost"], before: Mapping[str, "LayerCost"] | None
) -> Table:
    """Filters, parameters and MACs of every layer, beside those of ``before`` if it is given."""
    if before is None:
        table = _table("layer", "filters", "parameters", "MACs")
        for name, cost in after.items():
            _add(table, name, f"{cost.filters:,}", f"{cost.params:,}", f"{cost.macs:,}")
        table.add_section()
        params, macs = _totals(after)
        _add(table, "together", "", f"{params:,}", f"{macs:,}")
        return table
    table = _table("layer", "filters", "parameters", "kept", "MACs", "kept")
    for name in dict.fromkeys([*before, *after]):
        old_filters, old_params, old_macs = _counts(before.get(name))
        filters, params, macs = _counts(after.get(name))
        _add(
            table,
            name,
            f"{old_filters} → {filters}",
            f"{params:,}",
            _kept(old_params, params),
            f"{macs:,}",
            _kept(old_macs, macs),
        )
    table.add_section()
    (old_params, old_macs), (params, macs) = _totals(before), _totals(after)
    _add(
        table,
        "together",
        "",
        f"{params:,}",
        _kept(old_params, params),
        f"{macs:,}",
        _kept(old_macs, macs),
    )
    return table


def evaluation_tables(evaluation: "Evaluation") -> tuple[Table, Table]:
    """All metrics, and accuracy by class."""
    metrics = _table("metric", "%")
    for name, value in evaluation.metrics.items():
        _add(metrics, name, _percent(value))
    count, *names = next(iter(evaluation.by_class.values()))
    classes = _table("class", count, *names)
    for name, found in evaluation.by_class.items():
        _add(classes, name, f"{found[count]:,}", *(_percent(found[metric]) for metric in names))
    return metrics, classes


def show_comparison(console: Console, comparison: "Comparison") -> None:
    """Print the metric of every way at every budget, and what to make of it."""
    console.print(comparison_table(comparison))
    if max(mean.seeds for mean in comparison.means) == 1:
        say(console, "one seed: small differences may be chance; --seeds 3 tells how large it is")
    if comparison.poor:
        say(console, "the dense network finds next to nothing: these figures tell little")


def comparison_table(comparison: "Comparison") -> Table:
    """A row for each way, a column for each budget: the metric on test, with its standard error."""
    budgets = list(dict.fromkeys(mean.keep_macs for mean in comparison.means))
    name = f"{comparison.metric} on {comparison.split}"
    table = _table(name, *(f"{budget:.0%} of MACs" for budget in budgets))
    _add(table, "dense", *[_around(comparison.dense, None)] * len(budgets))
    for variant in dict.fromkeys(mean.variant for mean in comparison.means):
        found = {m.keep_macs: m for m in comparison.means if m.variant == variant}
        _add(table, variant, *(_around(found[b].test, found[b].test_error) for b in budgets))
    return table


def show_scales(console: Console, scales: "Scales") -> None:
    """Print what detectors with more and more detection layers cost, and the metric of each."""
    table = _table(
        "layers",
        "last\nmap",
        "largest\nbox, px",
        "dense\nM params",
        "slim\nM params",
        "slim\nG MACs",
        f"dense\n{scales.metric}",
        f"slim\n{scales.metric}",
    )
    for mean in scales.means:
        _add(
            table,
            str(mean.layers),
            str(mean.cells),
            f"{mean.box:.0f}",
            f"{mean.dense_params / 1e6:.3f}",
            f"{mean.params / 1e6:.3f}",
            f"{mean.macs / 1e9:.3f}",
            _around(mean.dense, mean.dense_error),
            _around(mean.slim, mean.slim_error),
        )
    if _width(console, table) > console.width:
        table.padding = (0, 1, 0, 0)
    say(console, f"by number of detection layers, on {scales.split}:")
    console.print(table)


def front_table(sweep: "Sweep") -> Table:
    """A row for the dense network and each that no other surpasses, the largest first."""
    dense, metric = sweep.dense, sweep.metric
    timed = "latency" in sweep.objectives
    columns = [f"{metric} on validation", f"on {sweep.split}", "parameters", "", "MACs", ""]
    table = _table("trial", *columns, *(["ms a picture"] if timed else []))

    def add(name: str, network: "Dense | Point", *latency: str) -> None:
        test = None if network.test is None else network.test[metric]
        counts = []
        for before, after in ((dense.params, network.params), (dense.macs, network.macs)):
            fewer = f"{before / after:.2f} times fewer" if network is not dense else ""
            counts += [f"{after:,}", fewer]
        _add(table, name, f"{network.validation:.2f}", _percent(test), *counts, *latency)

    add("dense", dense, *(["-"] if timed else []))
    for point in sweep.front:
        add(str(point.trial), point, *([] if point.latency is None else [f"{point.latency:.2f}"]))
    return table


def sweep_totals(sweep: "Sweep") -> str:
    """How many trials there were, and what giving hopeless ones up was good for."""
    states = [row.state for row in sweep.trials]
    through, hopeless = states.count("complete"), states.count("given up")
    ends = f"{through} went through" + (f", {hopeless} were given up" if hopeless else "")
    steps = f"{sweep.steps:,} of {sweep.steps + sweep.spared:,} training steps were taken"
    return f"{through + hopeless} trials: {ends}; {steps}"


def export_table(export: "Export") -> Table:
    """What was written, and how it was found to behave."""
    table = _table("", "export")
    description = export.description
    _add(table, "bytes", f"{export.bytes:,}")
    _add(table, "precision", description["precision"])
    _add(table, "outputs", description["outputs"])
    shape = description["shape"]
    sides = f"{shape[0]} by {shape[1]} pixels" if shape else "any size"
    _add(table, "pictures", f"{description['batch'] or 'any number'}, {sides}")
    inside = description["provenance"]
    if "score" in inside and "boxes" in inside:
        kept = f"at most {inside['boxes']} a picture, of a score above {inside['score']:g}"
        _add(table, "boxes", kept)
    _add(table, "checked on", export.checked_on)
    if export.agreement:
        found = export.agreement
        _add(table, "predictions that agree", f"{found.matched:,} of {found.objects:,}")
        _add(table, "largest difference", f"{found.worst_pixels:.2g} pixels")
        _add(table, "", f"{found.worst_score:.2g} of score")
        if not found.found:
            _add(table, "", "nothing was found: name other pictures by --data")
    if export.before is not None and export.after is not None:
        _add(table, f"{export.metric} before", f"{export.before:.2f}")
        _add(table, f"{export.metric} after", f"{export.after:.2f}")
    return table


def show_benchmark(console: Console, benchmark: "Benchmark") -> None:
    """Print how fast networks are; what all have in common stands above the table."""
    table, common = _benchmark_table(benchmark, quartiles=True)
    if _width(console, table) > console.width:
        table, common = _benchmark_table(benchmark, quartiles=False)
        table.padding = (0, 1, 0, 0)
        common.append("medians; their quartiles are in the JSON")
    say(console, ", ".join(common))
    console.print(table)


def _benchmark_table(benchmark: "Benchmark", *, quartiles: bool) -> tuple[Table, list[str]]:
    """Give the table, and in words what all its rows have in common."""
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
    whole = "with NMS" if any(each.network and each.whole for each in measured) else "in all"
    columns: list[tuple[str, list[str]]] = [
        ("", [indent + name for name in names]),
        ("precision", [*precisions] if len(set(precisions)) > 1 else []),
        ("network\nms", [_spread(each.network, quartiles) for each in measured]),
        ("times\nfaster", [_ratio(each.network_times_faster) for each in measured]),
        (f"{whole}\nms", [_spread(each.whole, quartiles) for each in measured]),
        ("times\nfaster", [_ratio(each.whole_times_faster) for each in measured]),
        ("pictures\na second", [_figures(each.pictures_per_second) for each in measured]),
        ("peak\nMB", [_megabytes(each.memory) for each in measured]),
        ("times\nfewer\nMACs", [_ratio(each.times_fewer_macs) for each in measured]),
    ]
    columns = [column for column in columns if any(column[1])]  # of classifiers, no network alone
    table = _table(*(name for name, _ in columns))
    said = None if indent else groups[0]
    for group, row in zip(groups, zip(*(cells for _, cells in columns), strict=True), strict=True):
        if group != said:
            table.add_section()
            _add(table, group)
            said = group
        _add(table, *(cell or "-" for cell in row))
    return table, common


def _group(measured: "Measurement") -> str:
    """What a measurement is to be compared within."""
    compiled = " compiled" if measured.compiled else ""
    return f"{measured.runtime}{compiled}, batch {measured.batch}"


def _short_names(models: Sequence[str]) -> list[str]:
    """Leave out the folders of files, unless two have the same name."""
    short = {model: Path(model).name for model in models}
    return [short[model] if len(set(short.values())) == len(short) else model for model in models]


def detections_table(found: Mapping[str, list[dict[str, Any]]]) -> Table:
    """One row for each object, under the picture's name."""
    table = _table("picture", "class", "score", "box: x1, y1, x2, y2", left=2)
    for path, objects in found.items():
        if not objects:
            _add(table, path, "nothing", "", "")
        for number, each in enumerate(objects):
            box_text = ", ".join(f"{side:.0f}" for side in each["box"])
            name = path if number == 0 else ""
            _add(table, name, each["class"], f"{each['score']:.0%}", box_text)
    return table


def show_plan(console: Console, plan: "Plan") -> None:
    """Print what a run would do."""
    architecture = plan.architecture
    say(
        console,
        f"{plan.name}: {architecture.network}, {architecture.size} by {architecture.size} pixels, "
        f"{len(architecture.classes)} classes",
    )
    say(
        console,
        f"dense network: {plan.params:,} parameters, {plan.macs:,} MACs; "
        + (f"trained for {plan.train_steps:,} steps" if plan.train_steps else "taken as it is"),
    )
    table = _table(
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
        _add(
            table,
            str(number),
            phase.layers,
            f"{len(phase.filters):,}",
            f"{sum(phase.filters.values()):,}",
            f"{phase.sparsify_steps:,}",
            f"{phase.retrain_steps:,}",
            _allowed(phase.budget.params),
            _allowed(phase.budget.macs),
        )
    console.print(table)
    for number, phase in enumerate(plan.phases, start=1):
        filters = ", ".join(f"{name} ({count})" for name, count in phase.filters.items())
        say(console, f"phase {number}, {phase.goal}; takes filters from {filters}")
    for reason in dict.fromkeys(plan.fixed.values()):
        names = [name for name, why in plan.fixed.items() if why == reason]
        say(console, f"never lose filters ({reason}): {', '.join(names)}")
    if plan.untouched:
        say(console, f"no phase takes filters from: {', '.join(plan.untouched)}")
    for note in plan.notes:
        say(console, f"note: {note}")


def show_duration(console: Console, duration: "Duration") -> None:
    """Print how long a run's trainings would take."""
    *some, last = [f"phase {n} {_span(s)}" for n, s in enumerate(duration.phases, start=1)]
    phases = f"{', '.join(some)} and {last}" if some else last
    dense = f"about {_span(duration.dense)} for the dense network, and " if duration.dense else ""
    say(
        console,
        f"on {duration.device} training takes {dense}{phases} at most, for networks that grow "
        "smaller; evaluations and the searches for thresholds come on top",
    )


def _table(*columns: str, left: int = 1) -> Table:
    """Give a table whose first ``left`` columns are words, and the others numbers."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, name in enumerate(columns):
        words = number < left
        table.add_column(
            Text(name), justify="left" if words else "right", overflow="fold", no_wrap=not words
        )
    return table


def _width(console: Console, table: Table) -> int:
    """Give the columns of the terminal that a table would fill."""
    room = console.options.update(width=_PLAIN_WIDTH)
    return console.measure(table, options=room).maximum


def _add(table: Table, *cells: str) -> None:
    table.add_row(*(Text(_shown(cell)) for cell in cells))


def _totals(costs: Mapping[str, "LayerCost"]) -> tuple[int, int]:
    return sum(c.params for c in costs.values()), sum(c.macs for c in costs.values())


def _counts(cost: "LayerCost | None") -> tuple[int, int, int]:
    """Filters, parameters and MACs; of a layer that was dropped, none."""
    return (cost.filters, cost.params, cost.macs) if cost else (0, 0, 0)


def _kept(before: int, after: int) -> str:
    return f"{after / before:.1%}" if before else "-"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _around(value: float, error: float | None) -> str:
    """A mean with its standard error, if it has one."""
    return f"{value:.2f}" if error is None else f"{value:.2f} ± {error:.2f}"


def _figures(value: float) -> str:
    """Three figures, or more where there are more before the point."""
    return f"{value:,.{2 if value < 10 else 1 if value < 100 else 0}f}"


def _spread(times: "Times | None", quartiles: bool) -> str:
    """The median and, in brackets, the quartiles."""
    if times is None:
        return ""
    median = _figures(times.median)
    return f"{median} ({_figures(times.lower)}–{_figures(times.upper)})" if quartiles else median


def _ratio(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def _megabytes(memory: "Memory | None") -> str:
    return f"{memory.peak / 1e6:,.0f}" if memory else ""


def _allowed(count: int | None) -> str:
    return "any" if count is None else f"{count:,}"


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _span(seconds: float) -> str:
    """A length of time in the unit that people would take."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}s"
    return f"{max(1, round(seconds))} second{'' if round(seconds) <= 1 else 's'}"
