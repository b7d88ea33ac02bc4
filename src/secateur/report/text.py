"""The sentences and commands of a run's report."""

import shlex

from secateur.models.network_file import read_structure
from secateur.report.run_record import LATENCY_FILE, RunRecord

_ALLOCATIONS = {
    "cost": "in order of importance lost per cost saved",
    "share": "with the same share kept in every layer",
    "importance": "below the same importance in all layers",
}


def subtitle(run: RunRecord) -> str:
    """The network, the pictures and the date."""
    data = run.recipe.data
    parts = [f"pictures in {data.root} ({data.format})"]
    if run.dense:
        network = read_structure(run.dense.network).architecture
        count = len(network.classes)
        classes = f"{count} class{'es' if count > 1 else ''}"
        parts = [f"{network.network} at {network.size} pixels", classes, *parts]
    if run.summary:
        parts.append(f"finished {run.summary.provenance.date[:10]}")
    return " · ".join(parts)


def unfinished(run: RunRecord) -> str:
    """The progress of a run that is not finished."""
    if run.dense and len(run.stages) == 1:
        done = "trained" if run.recipe.train.steps else "loaded"
        return f"Not compressed: the dense network is {done}, and no other step is complete."
    last = run.stages[-1].folder.name if run.stages else None
    done = f"the last complete step is {last}" if last else "no step is complete"
    return f"Not finished: {done}."


def split_text(run: RunRecord) -> str:
    """How the split of the final evaluation was used, and how long each network was trained."""
    text = "Read once, at the end, for both networks."
    if run.recipe.data.test is None:
        text = (
            "The recipe names no test split, so these are the validation pictures that every "
            "decision used; expect lower accuracy on other pictures."
        )
    further = 0
    for phase in run.phases:
        _, sparsify, _, retrain = run.recipe.phase(phase.number)
        further += sparsify.steps if phase.sparsify and not phase.failed else 0
        further += retrain.steps if phase.retrain else 0
    steps = run.recipe.train.steps
    trained = f"was trained for {steps:,} steps" if steps else "was trained elsewhere"
    return f"{text} The dense network {trained}; the slim one for {further:,} steps more."


def selection_text(run: RunRecord) -> str:
    """How to read the charts of the selection."""
    selects = [run.recipe.phase(phase.number)[2] for phase in run.phases]
    text = ["Each filter by the share of zeros in its weights (F) and in those that read it (G)."]
    if any(select.s_F is not None for select in selects):
        text.append("Filters in the shaded region are removed, down to the layer's minimum.")
    criteria = {(s.criterion, s.settings.divides_by) for s in selects if s.s_F is None}
    for criterion, allocation in sorted(criteria):
        text.append(
            f"For a size goal, no region is fixed: filters are removed by the criterion "
            f"{criterion}, {_ALLOCATIONS[allocation]}."
        )
    multiples = sorted({str(select.round_to) for select in selects if select.round_to != 1})
    if multiples:
        text.append(f"Layers that lose filters keep a multiple of {' or '.join(multiples)}.")
    return " ".join(text)


def failures(run: RunRecord) -> str:
    """Which phases did not change the network, and why; empty if there are none."""
    numbers = [str(phase.number) for phase in run.phases if phase.failed]
    if not numbers:
        return ""
    return (
        f"Phase {' and '.join(numbers)}: no size tried stays within the drop, so the network "
        "was not changed."
    )


def command(run: RunRecord) -> str:
    """The command that repeats a finished run, or resumes an unfinished one."""
    recipe = shlex.quote(str(run.folder / "recipe.json"))
    folder = "runs/again" if run.summary else shlex.quote(str(run.folder))
    return f"secateur compress {recipe} --run {folder}"


def latency_command(run: RunRecord) -> str:
    """The commands that measure the latency of both networks and update the report."""
    dense, slim, out = (
        shlex.quote(str(run.folder / name))
        for name in ("dense.safetensors", "slim.safetensors", LATENCY_FILE)
    )
    again = shlex.quote(str(run.folder))
    return f"secateur benchmark {dense} {slim} --out {out}\nsecateur report {again}"
