"""The tables of a run's report."""

from secateur.report.charts.number_text import compact
from secateur.report.figures import class_metric
from secateur.report.headline import latencies
from secateur.report.layer_counts import LayerCounts
from secateur.report.run_record import RunRecord
from secateur.report.table import Cell, Table, change, count, percent

# The most pairs of classes that a table lists.
CONFUSIONS = 30


def layers_table(counts: LayerCounts | None) -> Table | None:
    """Filters of each layer after every phase, and its parameters and MACs; None if not known."""
    if counts is None:
        return None
    columns = ["layer", *counts.stages, "kept"]
    columns += ["parameters, dense", "parameters, slim", "MACs, dense", "MACs, slim"]
    rows = []
    for row in counts.rows:
        kept = row.filters[-1] / row.filters[0]
        costs = (row.before.params, row.after.params, row.before.macs, row.after.macs)
        rows.append(
            [
                Cell(row.name),
                *map(count, row.filters),
                Cell(f"{kept:.0%}", kept),
                *map(count, costs),
            ]
        )
    total = [Cell("total"), *(Cell("") for _ in range(len(counts.stages) + 1))]
    total += [count(sum(int(row[place].number or 0) for row in rows)) for place in range(-4, 0)]
    return Table(
        columns,
        rows,
        "layers.csv",
        "Filters of the dense network and after every phase. MACs are for one picture of the "
        "network's nominal size; test pictures may have another.",
        total,
    )


def attempts_table(run: RunRecord) -> Table | None:
    """The sizes that phases with max_drop tried; None if there are none."""
    rows = []
    for phase in run.phases:
        rows += [
            [
                Cell(f"phase {phase.number}, attempt {each.number}"),
                count(each.remove.result.params),
                count(each.remove.result.macs),
                percent(run.accuracy(each.last)),
                Cell("–" if each.held is None else "yes" if each.held else "no"),
                Cell("yes" if phase.last is each.last else ""),
            ]
            for each in phase.attempts
        ]
    if not rows:
        return None
    return Table(
        [
            *("size tried", "parameters", "MACs", f"{run.metric} on validation"),
            *("within the drop", "taken"),
        ],
        rows,
        caption="MACs are for one picture of the network's nominal size.",
    )


def reconstruction_table(run: RunRecord) -> Table | None:
    """How far each reconstructed layer is from the uncut network's; None if there was none."""
    rows = []
    names = run.layer_names
    for phase in run.phases:
        done = phase.remove.result.reconstruction if phase.remove else None
        for path, errors in (done.errors if done else {}).items():
            shares = (Cell(f"{error:.1%}", error) for error in errors)
            rows.append([Cell(f"phase {phase.number}"), Cell(names.get(path, path)), *shares])
    if not rows:
        return None
    return Table(
        ["phase", "layer", "error after the removal", "error after the reconstruction"],
        rows,
        "reconstruction.csv",
        "Squared error of the outputs that are kept, against the uncut network, as a share of "
        "their variance; on pictures that the reconstruction did not use.",
    )


def metrics_table(run: RunRecord) -> Table | None:
    """Every metric of both networks; None until both are evaluated."""
    if set(run.evaluations) != {"dense", "slim"}:
        return None
    dense, slim = (run.evaluations[role].result.metrics for role in ("dense", "slim"))
    return Table(
        ["metric, %", "dense", "slim", "points"],
        [
            [Cell(name), percent(dense[name]), percent(slim[name]), change(dense[name], slim[name])]
            for name in dense
            if name in slim
        ],
    )


def classes_table(run: RunRecord) -> Table | None:
    """Accuracy by class of both networks; None until both are evaluated."""
    if set(run.by_class) != {"dense", "slim"}:
        return None
    metric = class_metric(run)
    dense, slim = run.by_class["dense"].by_class, run.by_class["slim"].by_class
    amount = "pictures" if run.by_class["slim"].confusion else "objects"
    rows = []
    for name in slim:
        before, after = dense.get(name, {}).get(metric), slim[name].get(metric)
        rows.append(
            [
                Cell(name),
                count(int(slim[name].get(amount) or 0)),
                percent(before),
                percent(after),
                change(before, after),
            ]
        )
    return Table(
        ["class", amount, f"{metric}, dense", f"{metric}, slim", "points"], rows, "classes.csv"
    )


def confusions_table(run: RunRecord) -> Table | None:
    """The pairs of classes that the slim classifier confuses most; None for a detector."""
    dense, slim = (run.by_class.get(role) for role in ("dense", "slim"))
    if dense is None or slim is None or not dense.confusion or not slim.confusion:
        return None
    names = list(slim.by_class)
    wrong = [
        (slim.confusion[i][j], dense.confusion[i][j], i, j)
        for i in range(len(names))
        for j in range(len(names))
        if i != j and slim.confusion[i][j] + dense.confusion[i][j]
    ]
    return Table(
        ["true class", "predicted class", "times, dense", "times, slim"],
        [
            [Cell(names[i]), Cell(names[j]), count(before), count(after)]
            for after, before, i, j in sorted(wrong, key=lambda each: (-each[0], -each[1]))[
                :CONFUSIONS
            ]
        ],
        "confusions.csv",
        "The classes that the slim network confuses most often.",
    )


def latency_table(run: RunRecord) -> Table | None:
    """The latency of both networks; None if it was not measured."""
    costs = latencies(run)
    if not costs:
        return None
    return Table(
        ["measured with", "dense, ms", "slim, ms", "times faster"],
        [
            [
                Cell(cost.how),
                *(Cell(compact(value), value) for value in (cost.dense, cost.slim, cost.times)),
            ]
            for cost in costs
        ],
    )


def times_table(run: RunRecord) -> Table:
    """The time of every step."""
    rows = [[Cell(stage.folder.name), _time(stage.seconds)] for stage in run.stages]
    rows.append([Cell("total"), _time(sum(stage.seconds for stage in run.stages))])
    return Table(["step", "time"], rows)


def provenance_table(run: RunRecord) -> Table | None:
    """Seed, versions, machine and date; None until the run is finished."""
    if run.summary is None:
        return None
    made = run.summary.provenance
    rows = {"seed": run.summary.seed, **made.versions, **made.machine, "date": made.date}
    return Table(
        ["made with", ""],
        [[Cell(n), Cell("none" if value is None else str(value))] for n, value in rows.items()],
    )


def _time(seconds: float) -> Cell:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return Cell(f"{hours}:{minutes:02}:{rest:02}", seconds)
