"""A run in a few tables of Markdown, for a pull request or a model card."""

import re

from secateur.report.headline import headline
from secateur.report.layer_counts import LayerCounts
from secateur.report.run_record import RunRecord
from secateur.report.table import Cell, Table
from secateur.report.tables import (
    attempts_table,
    classes_table,
    layers_table,
    metrics_table,
    provenance_table,
    times_table,
)
from secateur.report.text import command, failures, split_text, unfinished


def run_markdown(run: RunRecord, counts: LayerCounts | None) -> str:
    """Write a run's headline, accuracy, layers, and how it was made."""
    found = headline(run)
    parts = [f"# {escaped(run.recipe.name)}"]
    if found:
        gains = [f"**{cost.factor}** {cost.gain}" for cost in found.costs]
        parts.append(", ".join([*gains, escaped(found.accuracy)]) + ".")
        rows = [
            [
                Cell(f"{cost.name} ({cost.how})" if cost.how else cost.name),
                *map(Cell, cost.texts),
                Cell(f"{cost.factor} {cost.word}".strip()),
            ]
            for cost in found.costs
        ]
        parts.append(_table(Table(["", "dense", "slim", ""], rows)))
    else:
        parts.append(escaped(unfinished(run)))
    if failed := failures(run):
        parts.append(failed)
    accuracy = metrics_table(run)
    if accuracy:
        parts += [f"## Accuracy on {escaped(run.split)}", split_text(run), _table(accuracy)]
    counted = layers_table(counts)
    if counted:
        parts += ["## Layers", _table(counted)]
    attempts = attempts_table(run)
    if attempts:
        parts += ["## Sizes that were tried", _table(attempts)]
    classes = classes_table(run)
    if classes:
        parts += ["## Classes", _table(classes)]
    parts += ["## How to reproduce it", f"```console\n{command(run)}\n```"]
    parts.append(_table(times_table(run)))
    made = provenance_table(run)
    if made:
        parts.append(_table(made))
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Escape what Markdown or HTML would interpret; underscores within words stay."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    # GitHub notifies people after an @, links addresses, and typesets formulas.
    text = re.sub(r"@(?=\w)|(?<=\w):(?=//)", "\\g<0>\u200b", text)
    return re.sub(r"[\\`*{}\[\]>|#!~$]|\b_|_\b", r"\\\g<0>", text)


def _table(table: Table) -> str:
    lines = [
        [escaped(name) for name in table.columns],
        ["---:" if number else "---" for number in table.numbers],
        *([escaped(cell.text) for cell in row] for row in [*table.rows, table.total] if row),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
