"""What a run's report says in words and commands."""

import shlex

from secateur.models.network_file import read_header
from secateur.report.run_record import LATENCY_FILE, RunRecord


def subtitle(run: RunRecord) -> str:
    """The network, the pictures and the date."""
    data = run.recipe.data
    parts = [f"pictures in {data.root} ({data.format})"]
    if run.dense:
        network = read_header(run.dense.network).architecture
        classes = f"{len(network.classes)} classes"
        parts = [f"{network.network} at {network.size} pixels", classes, *parts]
    if run.summary:
        parts.append(f"done {str(run.summary.provenance.get('date'))[:10]}")
    return " · ".join(parts)


def unfinished(run: RunRecord) -> str:
    """How far a run has come that is not finished."""
    last = next(reversed(run.seconds), None)
    done = f"the last step that is done is {last}" if last else "no step is done yet"
    return f"Not finished: {done}. The command that began it goes on from there."


def split_note(run: RunRecord) -> str:
    """What to know about the pictures of the final evaluation, and about its fairness."""
    note = "Read once, at the end, for both networks alike."
    if run.recipe.data.test is None:
        note = (
            "The recipe names no test pictures, so these are the ones that every decision went "
            "by; expect less of others."
        )
    phases = [run.recipe.phase(phase.number) for phase in run.phases]
    further = sum(sparsify.steps + retrain.steps for _, sparsify, _, retrain in phases)
    return (
        f"{note} The dense network was trained for {run.recipe.train.steps:,} steps, and what "
        f"became the slim one for {further:,} more."
    )


def selection_note(run: RunRecord) -> str:
    """How to read the charts of the selection."""
    if any(run.recipe.phase(phase.number)[2].s_F is not None for phase in run.phases):
        return (
            "Every filter by the share of zeros in it (F) and in what reads it (G). What lies in "
            "the shaded region goes."
        )
    return (
        "Every filter by the share of zeros in it (F) and in what reads it (G). A budget has no "
        "fixed region: filters went in the order of what they lose for what they save, until it "
        "was met."
    )


def command(run: RunRecord) -> str:
    """What repeats the run."""
    return f"secateur compress {shlex.quote(str(run.folder / 'recipe.json'))} --run runs/again"


def speed_command(run: RunRecord) -> str:
    """What measures the speed of both networks, and brings it into the report."""
    dense, slim, out = (
        shlex.quote(str(run.folder / name))
        for name in ("dense.safetensors", "slim.safetensors", LATENCY_FILE)
    )
    again = shlex.quote(str(run.folder))
    return f"secateur benchmark {dense} {slim} --out {out}\nsecateur report {again}"
