"""Which filters a removal takes, and the smaller network that is left: steps 2 and 3 of a phase."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from secateur.config.compress import Phase, Select
from secateur.config.train import Training
from secateur.models.architecture import Architecture
from secateur.models.cost import count_macs, count_params
from secateur.models.network import example_input, raw_network
from secateur.models.network_file import load_network, save_network
from secateur.models.shapes import shrink_to_state
from secateur.pruning.recalibration import fold_means, reestimate_norms
from secateur.pruning.removal import remove_filters, verify_removal
from secateur.pruning.selection.budget import Budget
from secateur.pruning.selection.measured_rounding import (
    WidthSteps,
    measure_width_steps,
    select_within_reach,
)
from secateur.pruning.selection.rounding import RoundTo
from secateur.pruning.selection.select import Choice
from secateur.run.phases import network_groups, phase_groups
from secateur.run.run import Network, Run, batch_losses
from secateur.run.selecting import TAYLOR_BATCHES, choose_filters


@dataclass(frozen=True, slots=True)
class Removal:
    """One removal.

    Attributes:
        name: the step's.
        phase: whose layers lose filters.
        sparse: the network they are removed from.
        thresholded: the one whose weights tell which.
        select: the phase's own entries.
        budget: what the network may have behind it; None for the published levels.
        retrain: the training behind it, whose batches the criterion and the repair look at.
    """

    name: str
    phase: Phase
    sparse: Network
    thresholded: Network
    select: Select
    budget: Budget | None
    retrain: Training


def removal_depends_on(run: Run, removal: Removal) -> dict[str, Any]:
    """All that a removal depends on; what the way taken has no use for may change."""
    settings, select, budget = run.recipe.compress.remove, removal.select, removal.budget
    depends_on: dict[str, Any] = {
        "sparse": removal.sparse.key,
        "thresholded": removal.thresholded.key,
        "layers": removal.phase.layers,
        "way": select.model_dump(
            exclude={"round_to", "runtime", "criterion", "allocation", "balance"}
        )
        if budget is None
        else {k: v for k, v in asdict(budget).items() if v is not None},
        "min_filters": select.min_filters,
        "round_to": select.round_to,
        "criterion": [select.criterion, select.way_of_allocation],
    }
    if select.round_to == "auto":
        depends_on["runtime"] = select.runtime
    if budget is not None and select.way_of_allocation == "cost" and select.balance:
        depends_on["balance"] = select.balance
    if select.criterion == "taylor":
        depends_on["batches"] = [run.data_key, removal.retrain.batch_size, TAYLOR_BATCHES]
    if settings.fold_means or settings.reestimate_norms:
        depends_on["remove"] = [settings.model_dump(), run.data_key, removal.retrain.batch_size]
    return depends_on


def remove(run: Run, removal: Removal, folder: Path) -> dict[str, Any]:
    """Write the smaller network into the step's folder, and tell what was chosen and proved."""
    settings, select, sparse = run.recipe.compress.remove, removal.select, removal.sparse
    thresholded, retrain = removal.thresholded, removal.retrain
    seed = run.seed(f"{removal.name} repair")

    def passes(model: nn.Module, architecture: Architecture) -> Iterator[Tensor]:
        return batch_losses(run, model, architecture, retrain, settings.batches, seed)

    whole_model = load_network(sparse.path).model
    raw = raw_network(whole_model)
    example = example_input(sparse.architecture)
    graph = network_groups(sparse.model, sparse.architecture)
    names = phase_groups(removal.phase, sparse.model, sparse.architecture, graph)

    def choose(round_to: RoundTo) -> Choice:
        return choose_filters(
            run, select, removal.budget, graph, names, thresholded, retrain, round_to
        )

    measured: dict[str, Any] = {}
    if select.round_to == "auto":
        expected = {group: len(kept) for group, kept in choose(1).kept.items()}
        whole = run.task.evaluation_input(sparse.architecture, run.splits.validation)
        run.reporter.say(f"  timing layers of several widths on {select.runtime}: some minutes")
        found = measure_width_steps(raw, whole, graph, expected, runtime=select.runtime)
        choice, used = select_within_reach(choose, found.steps)
        measured["width_steps"] = _width_steps_record(select.runtime, found, used)
    else:
        choice = choose(select.round_to)
    if settings.fold_means:
        fold_means(raw, graph, choice.kept, passes(whole_model, sparse.architecture))
    slim_raw = remove_filters(raw, graph, choice.kept)
    batch = torch.randn(2, *example.shape[1:], generator=torch.Generator().manual_seed(0))
    difference = verify_removal(raw, slim_raw, graph, choice.kept, batch)
    architecture = sparse.architecture
    model = shrink_to_state(whole_model, slim_raw.state_dict())
    if settings.reestimate_norms:
        reestimate_norms(model, passes(model, architecture))
    removed = sum(graph.groups[g].channels - len(kept) for g, kept in choice.kept.items())
    if removed == 0:
        run.reporter.say("  nothing was removed: lower the levels, or raise the strength")
    save_network(folder / "network.safetensors", model, architecture, {"step": removal.name})
    return {
        "slim_minus_masked": difference,
        "removed": removed,
        "params": count_params(model),
        "macs": count_macs(raw_network(model), example),
        "selection": _selection_record(choice),
        **measured,
    }


def width_steps_line(record: dict[str, Any]) -> str:
    """Say how many layers have each width step, and whether the budget called for finer ones."""
    groups = Counter(record["used"].values())
    steps = ", ".join(f"{step} for {groups[step]}" for step in sorted(groups))
    finer = max(record["measured"].values()) > max(groups)
    note = "; coarser ones that were measured are out of the budget's reach" if finer else ""
    return f"  width steps on {record['runtime']}, by number of layers: {steps}{note}"


def _selection_record(choice: Choice) -> dict[str, Any]:
    """Every filter's levels and fate, by group."""
    return {
        name: {
            "kept": kept.tolist(),
            "F": [round(v, 4) for v in choice.levels[name].F.tolist()],
            "G": [round(v, 4) for v in choice.levels[name].G.tolist()],
        }
        for name, kept in choice.kept.items()
    }


def _width_steps_record(runtime: str, found: WidthSteps, used: dict[str, int]) -> dict[str, Any]:
    """What was measured, which is this machine's, and the width steps that were taken."""
    return {
        "runtime": runtime,
        "seconds": {
            name: [[width, seconds] for width, seconds in times.items()]
            for name, times in found.times.items()
        },
        "measured": found.steps,
        "used": used,
    }
