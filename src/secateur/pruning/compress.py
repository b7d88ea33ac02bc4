"""The whole method on a user's own network: phases of sparsify, threshold, select, remove, retrain.

Training and evaluation are the user's functions; all else happens here, in memory.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from secateur.errors import PruningError
from secateur.models.copying import copy_model
from secateur.models.example_inputs import ExampleInputs, map_tensors
from secateur.pruning.graph.trace import ChannelGraph, channel_groups, evaluating
from secateur.pruning.penalties import (
    Penalties,
    default_strength,
    make_penalty,
    prunable_weights,
    zero_share,
)
from secateur.pruning.removal import remove_filters, verify_removal
from secateur.pruning.result import Measure, PhaseResult, Result
from secateur.pruning.selection.budget import (
    Budget,
    halve_sizes,
    share_out,
    size_between,
    within_reach,
)
from secateur.pruning.selection.rounding import RoundTo
from secateur.pruning.selection.select import (
    Choice,
    check_goal,
    match_groups,
    select_by_budget,
    select_by_sparsity,
)
from secateur.pruning.threshold import check_resolution, search_threshold, thresholded
from secateur.pruning.trial_verification import fix_unverified

_log = logging.getLogger("secateur")

Train = Callable[[nn.Module, Penalties], object]
Evaluate = Callable[[nn.Module], float]


def compress(
    model: nn.Module,
    example_inputs: ExampleInputs,
    *,
    train: Train,
    evaluate: Evaluate,
    retrain: Train | None = None,
    keep_params: float | None = None,
    keep_macs: float | None = None,
    max_drop: float | None = None,
    s_F: float | None = None,
    s_F_both: float | None = None,
    s_G: float | None = None,
    phases: Sequence[str | Sequence[str]] | None = None,
    penalty: Literal["proximal", "subgradient"] = "proximal",
    strength: float | None = None,
    group_strength: float = 0.0,
    threshold_drop: float | None = None,
    resolution: float = 0.01,
    min_filters: int = 4,
    round_to: RoundTo = 1,
    attempts: int = 4,
    report: Callable[[str], None] = _log.info,
) -> Result:
    """Make a trained network smaller, by the user's own training and evaluation.

    Each phase trains with a penalty, finds a threshold, selects filters, removes them (proved by
    comparing outputs with the masked network's), and retrains without the penalty. How far to go
    is said in one way: ``keep_params`` and/or ``keep_macs``; ``max_drop``; or the published
    levels ``s_F``, ``s_F_both`` and ``s_G``.

    Args:
        model: the trained dense network, left as it is. Frozen parameters stay frozen: they are
            not penalised, but lose filters like others.
        example_inputs: what the network is called with: a tensor, a tuple of arguments, or a
            mapping of them by name. Real values are best, for removal is proved on them; floating
            tensors that hold one value throughout are replaced by noise.
        train: trains the network it is given, in place; calls ``penalty.attach(optimizer)`` once
            behind the making of its optimiser.
        evaluate: the metric of the network it is given, in evaluation mode, on data kept for
            validation; higher is better. Called some fifteen times a phase.
        retrain: trains without the penalty; by default ``train``, with a penalty that does nothing.
        keep_params: share of the dense network's parameters left after the last phase, 0–1.
        keep_macs: share of its MACs likewise.
        max_drop: the metric that the slim network may lose, in the metric's unit; each phase looks
            for the smallest size that loses no more than its part.
        s_F: sparsity level of a filter that is enough by itself, 0–1 (paper, Algorithm 1).
        s_F_both: the paper's s'_F, the level of a filter that is enough beside ``s_G``.
        s_G: sparsity level of the weights that read the channel.
        phases: for each, the layers that lose filters in it, as paths or patterns (``layer1.*``).
            By default one phase of all: enough for most networks; the paper's SSDs took four.
        penalty: ``proximal`` makes exact zeros, and so leaves little to the threshold;
            ``subgradient`` is the published one.
        strength: λ of the penalty, in units of the loss; by default such that each phase's penalty
            starts as 0.1, for losses about 1. The one to try first: where the sparsified network
            is much worse, take a third; where few weights become zero, threefold.
        group_strength: λ of the penalty on whole blocks beside it; 0: none.
        threshold_drop: the metric that the threshold may cost; by default a hundredth of what the
            sparsified network has, as retraining gives that back easily.
        resolution: how near the search for the threshold comes, in shares of the phase's weights.
        min_filters: kept in every group; below four, a layer hardly passes anything on.
        round_to: what the channels kept are a multiple of, in every group that loses some: one
            number, or numbers by the group's name, where groups not named take 1.
        attempts: sizes tried a phase for ``max_drop``; each is retrained.
        report: told each step's outcome in a line, ``print`` for example; by default the logger
            ``secateur``.

    Raises:
        PruningError: an argument is wrong, a pattern matches nothing that can be pruned, ``train``
            did not use the penalty or ``evaluate`` gave no number, or a removal is not proved.
        BudgetError: the budget is out of reach; known before anything is trained.
    """
    levels = {"s_F": s_F, "s_F_both": s_F_both, "s_G": s_G}
    keeps = {"keep_params": keep_params, "keep_macs": keep_macs}
    check_goal(**keeps, **levels, max_drop=max_drop, min_filters=min_filters)
    _check_arguments(model, train=train, retrain=retrain or train, evaluate=evaluate)
    check_resolution(resolution)
    if not isinstance(attempts, int) or attempts < 1:
        raise PruningError(f"attempts is {attempts}; give a whole number, 1 or more")
    if threshold_drop is not None and not 0 <= threshold_drop < math.inf:
        raise PruningError(f"threshold_drop is {threshold_drop}; give a loss of the metric")
    task = _Task(
        train=train,
        retrain=retrain or train,
        evaluate=evaluate,
        inputs=_lively(example_inputs),
        kind=penalty,
        strength=strength,
        group_strength=group_strength,
        threshold_drop=threshold_drop,
        resolution=resolution,
        levels={name: level for name, level in levels.items() if level is not None},
        min_filters=min_filters,
        round_to=round_to,
        attempts=attempts,
        report=report,
    )
    slim = copy_model(model)
    graph = task.trace(slim)
    runs = _phase_groups(graph, phases)
    budgets = within_reach(
        graph,
        runs,
        share_out(graph, runs, keep_params, keep_macs),
        [min_filters] * len(runs),
        [round_to] * len(runs),
    )
    for names in runs:
        task.penalty(slim, graph, names)  # what is wrong with it shows now

    params, macs = graph.cost()
    dense = Measure(params, macs, task.measure(slim))
    report(f"dense: {params:,} parameters, {macs:,} MACs, metric {dense.metric:.5g}")
    metric, records = dense.metric, []
    for number, (names, budget) in enumerate(zip(runs, budgets, strict=True), start=1):
        report(f"phase {number} of {len(runs)}: {', '.join(names)}")
        floor = None if max_drop is None else dense.metric - max_drop * number / len(runs)
        slim, record = _run_phase(task, slim, metric, names, budget, floor)
        metric = record.metric.get("retrained", metric)
        records.append(record)

    result = Result(
        slim,
        dense,
        Measure(*channel_groups(copy_model(slim).cpu(), task.inputs).cost(), metric),
        tuple(records),
        {name: group.channels for name, group in graph.prunable().items()},
        _kept_of_dense(graph, records),
        {
            name: group.fixed
            for name, group in graph.groups.items()
            if group.fixed is not None and group.producers
        },
    )
    report(str(result))
    return result


@dataclass(frozen=True, slots=True)
class _Task:
    """What all phases have in common."""

    train: Train
    retrain: Train
    evaluate: Evaluate
    inputs: ExampleInputs
    kind: Literal["proximal", "subgradient"]
    strength: float | None
    group_strength: float
    threshold_drop: float | None
    resolution: float
    levels: dict[str, float]
    min_filters: int
    round_to: RoundTo
    attempts: int
    report: Callable[[str], None]

    def measure(self, model: nn.Module) -> float:
        """Give the user's metric, which must be a number."""
        with evaluating(model), torch.no_grad():
            given: Any = self.evaluate(model)
        try:
            metric = float(given)
        except (TypeError, ValueError, RuntimeError):
            metric = math.nan
        if not math.isfinite(metric):
            raise PruningError(
                f"evaluate() returned {given}; it must return a finite number, higher is better"
            )
        return metric

    def trace(self, model: nn.Module) -> ChannelGraph:
        """Find the channel groups on the CPU, wherever the user trains.

        Those whose removal could not be proved are fixed before anything is trained.
        """
        copied = copy_model(model).cpu()
        return fix_unverified(copied, channel_groups(copied, self.inputs), self.inputs)

    def penalty(
        self, model: nn.Module, graph: ChannelGraph, names: Sequence[str]
    ) -> tuple[Penalties, float]:
        """Give a phase's penalty, and its strength."""
        strength = self.strength
        if strength is None:
            strength = default_strength(prunable_weights(model, graph, names))
        penalty = make_penalty(
            model,
            graph,
            names,
            kind=self.kind,
            strength=strength,
            group_strength=self.group_strength,
        )
        return penalty, strength

    def sparsify(self, model: nn.Module, graph: ChannelGraph, names: Sequence[str]) -> float:
        """Step 1: the user's training, with the penalty; gives its strength."""
        penalty, strength = self.penalty(model, graph, names)
        try:
            self.train(model, penalty)
        finally:
            penalty.detach()
        if penalty.steps == 0:
            raise PruningError(
                "train() attached the penalty to an optimiser that took no step; attach it to the "
                "one that trains the model"
                if penalty.attached
                else "train() never called penalty.attach(optimizer); call it once, behind the "
                "making of the optimiser"
            )
        broken = [n for n, p in model.named_parameters() if not bool(p.isfinite().all())]
        if broken:
            raise PruningError(
                f"{broken[0]} is not finite after train(): the training diverged; lower the "
                "learning rate, or the strength"
            )
        if penalty.unreached:
            raise PruningError(
                f"{penalty.unreached[0]} is penalised but had no gradient, or no optimiser with "
                "the penalty attached, in train(); train it, freeze it, or name other layers"
            )
        return strength

    def remove(
        self, model: nn.Module, graph: ChannelGraph, kept: Mapping[str, Tensor]
    ) -> tuple[nn.Module, float]:
        """Step 3, on the CPU, for not every device has the double precision of the proof."""
        device = next(model.parameters()).device
        whole = copy_model(model).cpu()
        slim = remove_filters(whole, graph, kept)
        difference = verify_removal(whole, slim, graph, kept, self.inputs)
        return slim.to(device), difference


def _run_phase(
    task: _Task,
    model: nn.Module,
    before: float,
    names: Sequence[str],
    budget: Budget,
    floor: float | None,
) -> tuple[nn.Module, PhaseResult]:
    """Sparsify, threshold, select, remove and retrain; the model given stays as it is."""
    graph = task.trace(model)
    names = [name for name in names if name in graph.prunable()]
    sparse = copy_model(model)
    strength = task.sparsify(sparse, graph, names)
    weights = prunable_weights(sparse, graph, names)
    zeros = zero_share(weights)
    metric = {"sparsified": task.measure(sparse)}
    much_worse = before - metric["sparsified"] > abs(before) / 10
    note = f" (much worse than {before:.5g}: a smaller strength may serve better)"
    task.report(
        f"  sparsified, strength {strength:.2g}: {zeros:.1%} exact zeros, "
        f"metric {metric['sparsified']:.5g}{note if much_worse else ''}"
    )

    drop = task.threshold_drop
    drop = abs(metric["sparsified"]) / 100 if drop is None else drop
    threshold = search_threshold(
        weights, lambda: task.measure(sparse), metric["sparsified"] - drop, task.resolution
    )
    metric["thresholded"] = threshold.metric
    note = "" if threshold.status == "found" else " (no threshold holds the drop)"
    task.report(
        f"  threshold {threshold.value:.3g}: {threshold.zeros:.1%} zeros, "
        f"metric {threshold.metric:.5g}{note}"
    )

    def attempt(budget: Budget) -> _Attempt:
        with thresholded(weights, threshold.value):
            choice = _select(task, graph, names, sparse, budget)
        slim, difference = task.remove(sparse, graph, choice.kept)
        left = {name: len(kept) for name, kept in choice.kept.items()}
        gone = sum(graph.groups[name].channels for name in names) - sum(left.values())
        removed = task.measure(slim)
        params, macs = graph.cost(left)
        task.report(
            f"  removed {gone or 'no'} filters: {params:,} parameters, {macs:,} MACs, "
            f"metric {removed:.5g}"
        )
        task.retrain(slim, Penalties())
        retrained = task.measure(slim)
        task.report(f"  retrained: metric {retrained:.5g}")
        return _Attempt(slim, choice.kept, removed, retrained, difference)

    trace: list[tuple[float, float]] = []
    best: _Attempt | None = None
    if floor is None:
        best = attempt(budget)
    else:
        best = _smallest_within(task, graph, names, attempt, floor, trace)
    if best is not None:
        metric |= {"removed": best.removed, "retrained": best.retrained}
    channels = {name: graph.groups[name].channels for name in names}
    record = PhaseResult(
        channels,
        strength,
        best.kept if best else {name: torch.arange(count) for name, count in channels.items()},
        zeros,
        threshold,
        metric,
        tuple(trace),
        best.slim_minus_masked if best else 0.0,
    )
    return best.model if best else model, record


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A network that was removed from and retrained."""

    model: nn.Module
    kept: dict[str, Tensor]
    removed: float
    retrained: float
    slim_minus_masked: float


def _select(
    task: _Task, graph: ChannelGraph, names: Sequence[str], model: nn.Module, budget: Budget
) -> Choice:
    """Step 2, on the weights as they now are."""
    tensors = dict(model.named_parameters(remove_duplicate=False))
    if task.levels:
        return select_by_sparsity(
            graph,
            names,
            tensors,
            s_F=task.levels["s_F"],
            s_F_both=task.levels["s_F_both"],
            s_G=task.levels["s_G"],
            min_filters=task.min_filters,
            round_to=task.round_to,
        )
    return select_by_budget(
        graph,
        names,
        tensors,
        params=budget.params,
        macs=budget.macs,
        later=budget.later,
        min_filters=task.min_filters,
        round_to=task.round_to,
    )


def _smallest_within(
    task: _Task,
    graph: ChannelGraph,
    names: Sequence[str],
    attempt: Callable[[Budget], _Attempt],
    floor: float,
    trace: list[tuple[float, float]],
) -> _Attempt | None:
    """Look for the smallest network that holds the metric.

    Each size is retrained in full, so that what is promised was measured. None where no attempt
    holds the floor.
    """
    best = None

    def holds(keep: float) -> bool:
        nonlocal best
        tried = attempt(size_between(graph, names, keep, task.min_filters, task.round_to))
        trace.append((keep, tried.retrained))
        if tried.retrained >= floor:
            best = tried
        return tried.retrained >= floor

    halve_sizes(task.attempts, holds)
    if best is None:
        task.report("  no size holds the drop: the phase leaves the network as it was")
    return best


def _phase_groups(
    graph: ChannelGraph, phases: Sequence[str | Sequence[str]] | None
) -> list[list[str]]:
    """The groups that lose channels in each phase."""
    if phases is None:
        return [match_groups(graph)]
    runs = []
    for number, phase in enumerate(phases, start=1):
        try:
            runs.append(match_groups(graph, [phase] if isinstance(phase, str) else phase))
        except PruningError as error:
            raise PruningError(f"phase {number}: {error}") from None
        if not runs[-1]:
            raise PruningError(f"phase {number} names no layers; name at least one")
    if not runs:
        raise PruningError("phases is empty; leave it out for one phase of all layers")
    return runs


def _check_arguments(model: object, **functions: object) -> None:
    """Refuse what is no network on a device of its own, and what cannot be called."""
    if not isinstance(model, nn.Module):
        raise PruningError(f"model is a {type(model).__name__}; give a torch.nn.Module, built")
    if any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers())):
        raise PruningError("the model is on meta and has no weights; load them first")
    for name, function in functions.items():
        if not callable(function):
            raise PruningError(f"{name} is {function!r}; give a function")


def _kept_of_dense(graph: ChannelGraph, records: Sequence[PhaseResult]) -> dict[str, Tensor]:
    """Kept channels by their indices in the dense network."""
    kept = {name: torch.arange(group.channels) for name, group in graph.prunable().items()}
    for record in records:
        for name, stay in record.kept.items():
            kept[name] = kept[name][stay]
    return kept


def _lively(example_inputs: ExampleInputs) -> ExampleInputs:
    """The inputs on the CPU, with noise for tensors of one value, on which little can be proved."""
    generator = torch.Generator().manual_seed(0)

    def change(tensor: Tensor) -> Tensor:
        if tensor.is_meta or not bool(tensor.isfinite().all()):
            raise PruningError("the example inputs have no finite values; give real ones")
        tensor = tensor.detach().cpu()
        if tensor.is_floating_point() and tensor.numel() > 1 and tensor.min() == tensor.max():
            return torch.randn(tensor.shape, generator=generator).to(tensor.dtype)
        return tensor

    changed: ExampleInputs = map_tensors(change, example_inputs)
    return changed
