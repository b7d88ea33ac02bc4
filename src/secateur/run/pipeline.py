"""The whole flow over a run folder: data, dense network, phases, evaluation, summary.

Every stage is an artifact. A run that was stopped resumes after the last complete one; a changed
recipe redoes what depends on the change, and nothing else.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from secateur.config.recipe import Recipe
from secateur.files.arguments import checked
from secateur.models.network import build_network, layer_widths
from secateur.models.network_file import save_network
from secateur.pruning.phase import Outcome, Phase, run_phase
from secateur.run.context import Handle, Reporter, Run, open_run, provenance
from secateur.run.example_pictures import choose_examples
from secateur.run.folder import locked_run
from secateur.run.network_stages import evaluate_network, train_dense
from secateur.run.phase_steps import PhaseSteps
from secateur.run.phases import network_groups, phase_groups, recipe_phases
from secateur.run.records import (
    AttemptSummary,
    EvaluationRecord,
    PhaseSummary,
    Provenance,
    Summary,
    TrainingRecord,
    write_record,
)
from secateur.run.stage import Step

# Called with each complete stage of a phase; what it raises ends the phases.
Watch = Callable[[Step], None]


@dataclass(frozen=True, slots=True)
class Compressed:
    """What the phases made of the dense network, before anything is evaluated on test.

    Attributes:
        dense: the network before the phases.
        slim: the network after the last.
        phases: what the summary says of each.
        steps: all stages, in order.
    """

    dense: Handle
    slim: Handle
    phases: list[PhaseSummary]
    steps: list[Step]


@checked
def compress_recipe(
    recipe: Recipe,
    folder: str | os.PathLike[str],
    reporter: Reporter,
    pool: str | os.PathLike[str] | None = None,
) -> Summary:
    """Train, compress phase by phase, evaluate once on test, and write the summary.

    Args:
        recipe: what to do.
        folder: of the run; created if absent, resumed if present.
        reporter: prints progress.
        pool: a folder of stages that several runs share; None for none.

    Raises:
        SecateurError: anything is wrong with the recipe, the data or the run; what was done before
            is kept.
    """
    folder, pool = Path(folder), None if pool is None else Path(pool)
    with locked_run(folder):
        return _compress(open_run(recipe, folder, reporter, pool))


def _compress(run: Run) -> Summary:
    recipe = run.recipe
    found = run_phases(run)
    steps = list(found.steps)
    networks = {"dense": found.dense, "slim": found.slim}
    evaluations = {name: evaluate_network(run, name, each) for name, each in networks.items()}
    steps += [*evaluations.values(), choose_examples(run, *evaluations.values())]
    dense, slim = (cast(EvaluationRecord, step.result) for step in evaluations.values())
    summary = Summary(
        name=recipe.name,
        metric=recipe.evaluate.metric,
        split=recipe.data.test or "validation",
        dense=dense,
        slim=slim,
        phases=found.phases,
        seed=recipe.seed,
        recipe=recipe.model_dump(mode="json"),
        provenance=Provenance.model_validate(provenance()),
        seconds={step.folder.name: step.seconds for step in steps},
    )
    for record in (dense, slim):
        network = networks[record.network]
        save_network(
            run.folder / f"{record.network}.safetensors",
            network.load(),
            network.architecture,
            {
                "run": recipe.name,
                "role": record.network,
                "metric": summary.metric,
                "split": summary.split,
                "value": record.metrics[summary.metric],
            },
        )
    write_record(run.folder / "summary.json", summary)
    return summary


def run_phases(run: Run, watch: Watch = lambda _: None) -> Compressed:
    """Train the dense network and compress it phase by phase, deciding by validation alone.

    Args:
        run: what to do, and where.
        watch: called with each complete stage.
    """
    dense, trained = train_dense(run)
    record = cast(TrainingRecord, trained.result)
    dense_metric = record.metrics[run.recipe.evaluate.metric] or 0.0
    model = build_network(run.architecture)
    graph = network_groups(model, run.architecture, record.fixed)
    phases = recipe_phases(run.recipe, model, graph)
    slim, summaries, steps = dense, [], [trained]
    for phase in phases:
        section, sparsify, select, retrain = run.recipe.phase(phase.number)
        settings = (sparsify, select, retrain)
        run.reporter.say(f"phase{phase.number}: {section.layers}")
        floor = None
        if phase.goal.max_drop is not None:
            floor = phase.goal.floor(dense_metric, phase.number, len(phases))
        phase_steps = PhaseSteps(run, section, settings, dense, record.fixed, watch)
        outcome = run_phase(_on(phase_steps, phase, slim, floor), slim, phase_steps)
        summaries.append(_summary(run, phase_steps, slim, outcome))
        run.trail.add_phase(summaries[-1])
        steps += phase_steps.done
        slim = outcome.network
    return Compressed(dense, slim, summaries, steps)


def _on(steps: PhaseSteps, phase: Phase, before: Handle, floor: float | None) -> Phase:
    """The phase with the groups of the network it cuts, and the least metric after it."""
    ignore = steps.run.recipe.compress.ignore
    groups = phase_groups(steps.section, before.load(), steps.graph(before), ignore)
    return replace(phase, groups=tuple(groups), floor=floor)


def _summary(run: Run, steps: PhaseSteps, before: Handle, outcome: Outcome[Handle]) -> PhaseSummary:
    """What the summary says of a phase."""
    sparsify, select, _ = steps.settings
    attempts = [
        AttemptSummary(share=each.keep, metric=each.metric, held=each.held)
        for each in outcome.attempts
        if each.keep is not None
    ]
    taken = outcome.taken + 1 if attempts and outcome.taken is not None else None
    sparsified, threshold = steps.record("sparsify"), steps.record("threshold")
    none_held = outcome.taken is None
    removal = None if none_held else steps.record("remove", taken)
    retrained = None if none_held else steps.record("retrain", taken)
    records = {
        "sparsified": sparsified,
        "thresholded": threshold,
        "removed": removal,
        "retrained": retrained,
    }
    metric = run.recipe.evaluate.metric
    return PhaseSummary(
        layers=steps.section.layers,
        criterion=select.criterion,
        penalty=sparsify.penalty if sparsified else None,
        strength=sparsified.strength if sparsified else None,
        group_strength=sparsify.group_strength if sparsified else None,
        zeros=sparsified.zeros if sparsified else None,
        threshold=threshold,
        round_to=select.round_to,
        rounding=removal.rounding if removal else None,
        filters_before=layer_widths(before.load()),
        filters_after=layer_widths(outcome.network.load()),
        metrics={name: each.metrics[metric] if each else None for name, each in records.items()},
        slim_minus_masked=removal.slim_minus_masked if removal else 0.0,
        attempts=attempts,
        taken=taken,
    )
