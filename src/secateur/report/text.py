"""What a run's report says in words and commands."""

import shlex

from secateur.models.network_file import read_header
from secateur.report.run_record import LATENCY_FILE, RunRecord

_ORDER = {
    "cost": "in the order of what they lose for what they save, until it was",
    "share": "so that every layer keeps the same share",
    "importance": "so that all layers are cut at one worth",
}


def subtitle(run: RunRecord) -> str:
    """The network, the pictures and the date."""
    data = run.recipe.data
    parts = [f"pictures in {data.root} ({data.format})"]
    if run.dense:
        network = read_header(run.dense.network).architecture
        count = len(network.classes)
        classes = f"{count} class{'es' if count > 1 else ''}"
        parts = [f"{network.network} at {network.size} pixels", classes, *parts]
    if run.summary:
        parts.append(f"done {str(run.summary.provenance.get('date', 'once'))[:10]}")
    return " · ".join(parts)


def unfinished(run: RunRecord) -> str:
    """How far a run has come that is not finished."""
    last = next(reversed(run.seconds), None)
    if last == "dense":
        there = "is trained" if run.recipe.train.steps else "is taken as it is"
        return f"Not compressed: the dense network {there}, and nothing else is done yet."
    done = f"the last step that is done is {last}" if last else "no step is done yet"
    return f"Not finished: {done}."


def split_note(run: RunRecord) -> str:
    """What to know about the pictures of the final evaluation, and about its fairness."""
    note = "Read once, at the end, for both networks alike."
    if run.recipe.data.test is None:
        note = (
            "The recipe names no test pictures, so these are the ones that every decision went "
            "by; expect less of others."
        )
    further = 0
    for phase in run.phases:
        _, sparsify, _, retrain = run.recipe.phase(phase.number)
        further += sparsify.steps if phase.sparsify and not phase.failed else 0
        further += retrain.steps if phase.retrain else 0
    steps = run.recipe.train.steps
    if steps == 0:
        return (
            f"{note} The dense network was trained elsewhere, and what became the slim one for "
            f"{further:,} steps more."
        )
    return (
        f"{note} The dense network was trained for {steps:,} steps, and what became the slim one "
        f"for {further:,} more."
    )


def selection_note(run: RunRecord) -> str:
    """How to read the charts of the selection."""
    selects = [run.recipe.phase(phase.number)[2] for phase in run.phases]
    notes = ["Every filter by the share of zeros in it (F) and in what reads it (G)."]
    if any(select.s_F is not None for select in selects):
        notes.append("What lies in the shaded region goes, but for the fewest that a layer keeps.")
    ways = {(s.criterion, s.way_of_allocation) for s in selects if s.s_F is None}
    for criterion, allocation in sorted(ways):
        by = "" if criterion == "sparsity" else f" by the criterion {criterion}"
        notes.append(
            f"A size to be reached has no fixed region: filters went{by} {_ORDER[allocation]}."
        )
    steps = sorted({str(select.round_to) for select in selects if select.round_to != 1})
    if steps:
        notes.append(f"Layers that lose filters keep a multiple of {' or '.join(steps)}.")
    return " ".join(notes)


def failures(run: RunRecord) -> str:
    """Which phases changed nothing, and why; empty where none."""
    numbers = [str(phase.number) for phase in run.phases if phase.failed]
    if not numbers:
        return ""
    return (
        f"In phase {' and '.join(numbers)} no size that was tried held the drop: the network went "
        "on as it was before it."
    )


def command(run: RunRecord) -> str:
    """What repeats the run, or goes on with it."""
    recipe = shlex.quote(str(run.folder / "recipe.json"))
    folder = "runs/again" if run.summary else shlex.quote(str(run.folder))
    return f"secateur compress {recipe} --run {folder}"


def speed_command(run: RunRecord) -> str:
    """What measures the speed of both networks, and brings it into the report."""
    dense, slim, out = (
        shlex.quote(str(run.folder / name))
        for name in ("dense.safetensors", "slim.safetensors", LATENCY_FILE)
    )
    again = shlex.quote(str(run.folder))
    return f"secateur benchmark {dense} {slim} --out {out}\nsecateur report {again}"
