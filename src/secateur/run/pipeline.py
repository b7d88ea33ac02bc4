"""The whole flow over a run folder: data, dense network, phases, evaluation, summary.

Every step is an artifact (``run_folder.run_step``). A run that was stopped goes on behind the
last one that is whole; a changed recipe redoes what depends on the change, and no more.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from secateur.config.compress import Phase, Select
from secateur.config.recipe import Recipe
from secateur.files.atomic_write import write_json
from secateur.files.lock import lock
from secateur.models.network import layer_widths
from secateur.models.network_file import save_network
from secateur.pruning.selection.budget import Budget, halve_sizes, size_between
from secateur.run.example_pictures import choose_examples
from secateur.run.folder import Step, clear_drafts, fingerprint
from secateur.run.phases import network_groups, phase_budgets, phase_groups
from secateur.run.removing import Removal
from secateur.run.run import Network, Reporter, Run, load_step, open_run, provenance
from secateur.run.stages import (
    evaluate_network,
    remove_from_network,
    retrain_network,
    sparsify_network,
    threshold_network,
    train_dense,
)

# Told of each training with the penalty, removal and retraining; what it raises ends the phases.
Watch = Callable[[Step], None]


@dataclass(frozen=True, slots=True)
class Compressed:
    """What the phases made of the dense network, before anything is evaluated.

    Attributes:
        dense: before them.
        slim: behind the last.
        phases: what the summary says of each.
        steps: all that were done or found, in their order.
    """

    dense: Network
    slim: Network
    phases: list[dict[str, Any]]
    steps: list[Step]


def compress_recipe(
    recipe: Recipe, folder: Path, reporter: Reporter, pool: Path | None = None
) -> dict[str, Any]:
    """Train, compress phase by phase, evaluate once on test, and write the summary.

    Args:
        recipe: what to do.
        folder: the run's; made if absent, gone on with if present.
        reporter: told of what goes on.
        pool: a folder of steps that several runs share; None for none.

    Returns:
        The summary, as in ``summary.json``.

    Raises:
        SecateurError: anything is wrong with the recipe, the data or the run; nothing of what
            was done before is lost.
    """
    with lock(folder):
        run = open_run(recipe, folder, reporter, pool)
        clear_drafts(run.folder)
        return _compress(run)


def _compress(run: Run) -> dict[str, Any]:
    recipe = run.recipe
    found = run_phases(run)
    dense, slim, steps = found.dense, found.slim, list(found.steps)
    evaluations = {}
    for name, network in (("dense", dense), ("slim", slim)):
        done_step = evaluate_network(run, name, network)
        evaluations[name] = done_step
        steps.append(done_step)
    steps.append(choose_examples(run, evaluations["dense"], evaluations["slim"]))
    summary: dict[str, Any] = {
        "name": recipe.name,
        "metric": recipe.evaluate.metric,
        "split": recipe.data.test or "validation",
        "dense": evaluations["dense"].result,
        "slim": evaluations["slim"].result,
        "phases": found.phases,
        "architecture": slim.architecture.model_dump(mode="json"),
        "seed": recipe.seed,
        "recipe": recipe.model_dump(mode="json"),
        "provenance": provenance(),
        "seconds": {step.folder.name: step.seconds for step in steps},
    }
    for name, network in (("dense", dense), ("slim", slim)):
        save_network(
            run.folder / f"{name}.safetensors",
            network.model,
            network.architecture,
            {
                "run": recipe.name,
                "role": name,
                "metric": recipe.evaluate.metric,
                "split": summary["split"],
                "value": summary[name][recipe.evaluate.metric],
            },
        )
    write_json(run.folder / "summary.json", summary)
    return summary


def run_phases(run: Run, watch: Watch = lambda _: None) -> Compressed:
    """Train the dense network, and compress it phase by phase; every decision is validation's.

    Args:
        run: what to do, and where.
        watch: told of steps while they are done.
    """
    dense, trained = train_dense(run)
    slim, phases, steps = dense, [], [trained]
    for number in range(1, len(run.recipe.compress.phases) + 1):
        slim, record, done = run_phase(run, number, dense, slim, trained.result["metric"], watch)
        phases.append(record)
        steps += done
    return Compressed(dense, slim, phases, steps)


def run_phase(
    run: Run, number: int, dense: Network, before: Network, dense_metric: float, watch: Watch
) -> tuple[Network, dict[str, Any], list[Step]]:
    """Sparsify, threshold, select, remove and retrain over one stretch of layers.

    Returns:
        The network after the phase, what the summary says of it, and its steps.
    """
    recipe = run.recipe
    phase, sparsify, select, retrain = recipe.phase(number)
    name = f"phase{number}"
    run.reporter.say(f"{name}: {phase.layers}")
    # Criteria of comparison have no use for what they do not look at.
    steps: list[Step] = []
    sparsified = threshold = None
    thresholded = sparse = before
    if select.sparsifies:
        sparse, sparsified = sparsify_network(run, name, phase, before, sparsify)
        thresholded = sparse
        steps.append(sparsified)
        watch(sparsified)
    if sparsified and select.by_sparsity:
        threshold = threshold_network(run, name, phase, sparse, sparsified.result["metric"])
        # Known by its threshold, however that was found: another metric may find the same.
        found = [sparse.key, phase.layers, recipe.compress.threshold.scope]
        key = fingerprint([*found, threshold.result["threshold"]])
        thresholded = replace(load_step(threshold), key=key)
        steps.append(threshold)

    def attempt(tag: str, budget: Budget | None) -> tuple[Network, list[Step]]:
        step_name = f"{name}-{tag}remove"
        removal = Removal(step_name, phase, sparse, thresholded, select, budget, retrain)
        removed = remove_from_network(run, removal)
        slim = load_step(removed)
        watch(removed)
        step = retrain_network(run, f"{name}-{tag}retrain", slim, retrain, dense)
        watch(step)
        return load_step(step), [removed, step]

    if select.max_drop is not None:
        floor = dense_metric - select.max_drop * number / len(recipe.compress.phases)
        after, done, trace = _smallest_within(run, attempt, before, phase, select, floor)
    else:
        budget = None
        if select.s_F is None:
            graph = network_groups(dense.model, dense.architecture)
            budget = phase_budgets(recipe, dense.model, dense.architecture, graph)[number - 1]
        after, done = attempt("", budget)
        trace = []
    steps += done
    removal, retraining = done[-2:] if done else (None, None)
    record = {
        "layers": phase.layers,
        "penalty": sparsify.penalty,
        "strength": sparsify.strength,
        "group_strength": sparsify.group_strength,
        "zeros": sparsified.result["zeros"] if sparsified else None,
        "threshold": threshold.result["threshold"] if threshold else None,
        "threshold_status": threshold.result["status"] if threshold else None,
        "threshold_trace": threshold.result["trace"] if threshold else [],
        "threshold_pictures": threshold.result.get("pictures", []) if threshold else [],
        "round_to": select.round_to,
        "width_steps": removal.result.get("width_steps") if removal else None,
        "filters_before": layer_widths(before.model),
        "filters_after": layer_widths(after.model),
        "metric": {
            "sparsified": sparsified.result["metric"] if sparsified else None,
            "thresholded": threshold.result["metric"] if threshold else None,
            "removed": removal.result["metric"] if removal else None,
            "retrained": retraining.result["metric"] if retraining else None,
        },
        "slim_minus_masked": removal.result["slim_minus_masked"] if removal else 0.0,
        "attempts": trace,
    }
    return after, record, steps


def _smallest_within(
    run: Run,
    attempt: Callable[[str, Budget | None], tuple[Network, list[Step]]],
    before: Network,
    phase: Phase,
    select: Select,
    floor: float,
) -> tuple[Network, list[Step], list[list[float]]]:
    """Look for the smallest network that holds the metric.

    Each size is removed and retrained in full, so what is promised is what was measured. Where
    no attempt holds, the network stays as it was.

    Returns:
        The network, its steps, and each attempt's share of the removable that was kept, with
        its metric.
    """
    graph = network_groups(before.model, before.architecture)
    groups = phase_groups(phase, before.model, before.architecture, graph)
    best: tuple[Network, list[Step]] = (before, [])
    trace: list[list[float]] = []

    def holds(keep: float) -> bool:
        nonlocal best
        budget = size_between(graph, groups, keep, select.min_filters, select.least_round_to)
        network, steps = attempt(f"try{len(trace) + 1}-", budget)
        metric = steps[-1].result["metric"]
        trace.append([keep, metric])
        if metric >= floor:
            best = network, steps
        return bool(metric >= floor)

    halve_sizes(select.attempts, holds)
    if not best[1]:
        run.reporter.say("  no size holds the drop: the phase leaves the network as it was")
    return *best, trace
