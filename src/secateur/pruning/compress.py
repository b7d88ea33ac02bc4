"""Compression of a network in memory, by its user's own training and evaluation."""

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from secateur.errors import PruningError, first_line
from secateur.files.arguments import check_fields, checked
from secateur.models.copying import copy_model
from secateur.models.example_inputs import ExampleInputs, call_arguments, map_tensors
from secateur.models.modes import attributes_restored, evaluating
from secateur.pruning import phase as work
from secateur.pruning.distillation import distilled
from secateur.pruning.graph.groups import ChannelGraph
from secateur.pruning.graph.trace import channel_groups
from secateur.pruning.graph.trial_cut import with_fixed
from secateur.pruning.penalties.penalty import Penalties
from secateur.pruning.phase import (
    Network,
    Outcome,
    Phase,
    Removed,
    Size,
    phase_penalty,
    run_phase,
    zeros_note,
)
from secateur.pruning.result import Measure, PhaseResult, Result
from secateur.pruning.selection.budget import divide_budget, within_reach
from secateur.pruning.selection.goal import Goal
from secateur.pruning.selection.match import Layers, match_groups
from secateur.pruning.settings import Method, SelectionSettings
from secateur.pruning.threshold import Threshold
from secateur.pruning.verification import fix_unverified

_log = logging.getLogger("secateur")

Train = Callable[[nn.Module, Penalties], object]
Evaluate = Callable[[nn.Module], float]


@dataclass(frozen=True, slots=True)
class Calibration:
    """Training batches for what a removal recalibrates, and for criteria that need a loss.

    Attributes:
        batches: iterated whenever batches are needed, a ``DataLoader`` for example.
        inputs: gives from a batch what the network is called with, as ``example_inputs``; by
            default the batch itself.
        loss: gives the loss of a network and a batch; None where no criterion needs one.
    """

    batches: Iterable[Any]
    inputs: Callable[[Any], ExampleInputs] = lambda batch: batch
    loss: Callable[[nn.Module, Any], Tensor] | None = None

    def __post_init__(self) -> None:
        check_fields(self)


@checked
def compress(
    model: nn.Module,
    example_inputs: ExampleInputs,
    goal: Goal,
    *,
    train: Train | None,
    evaluate: Evaluate,
    retrain: Train | None = None,
    calibration: Calibration | None = None,
    method: Method | None = None,
    report: Callable[[str], None] = _log.info,
) -> Result:
    """Make a trained network smaller.

    Each phase trains with a penalty, finds a threshold, selects filters, removes them (verified by
    comparing outputs with the masked network's), reconstructs the layers that read them, and
    retrains without the penalty.

    Args:
        model: the trained dense network, left as it is. Frozen parameters stay frozen: they are
            not penalised, but lose filters like others.
        example_inputs: what the network is called with: a tensor, a tuple of arguments, or a
            mapping of them by name. Real values are best, because removal is verified on them;
            floating-point tensors of one value throughout are replaced by noise.
        goal: how far to go.
        train: trains the network it is given, in place; calls ``penalty.attach(optimizer)`` once
            after creating its optimizer. None for no training: filters are then chosen by the
            criterion ``reconstruction``, if ``method`` names no other.
        evaluate: gives the metric of the network it is given, in evaluation mode, on data kept for
            validation; higher is better. Called some fifteen times a phase.
        retrain: trains without the penalty; by default ``train``, with a penalty that does nothing.
            None where ``train`` is None too: nothing is trained.
        calibration: training batches, to reconstruct what reads removed channels, to re-estimate
            batch norms, and for criteria that need pictures or a loss; None: neither is done.
        method: the settings of all steps, and the phases.
        report: called with one line a step, ``print`` for example; by default the logger
            ``secateur``.

    Raises:
        WrongTypeError: an argument is of a wrong type.
        PruningError: a setting is wrong, a pattern matches nothing that can be pruned, ``train``
            did not use the penalty or ``evaluate`` gave no number, or a removal is not verified.
        BudgetError: the budget cannot be met; known before anything is trained.
    """
    method = _method(method, train, retrain)
    needed: dict[str, object] = {}
    if method.training:
        needed["retrain"] = retrain or train
    if method.selection.ranks_by.sparsifies:
        needed["train"] = train
    _check_needed(model, **needed)
    _check_calibration(model, method, calibration)
    inputs = _nonconstant(example_inputs)
    dense = copy_model(model)
    on_cpu = copy_model(model).cpu()
    graph = fix_unverified(on_cpu, channel_groups(on_cpu, inputs), inputs)
    phases = _phases(graph, goal, method)
    if method.selection.ranks_by.sparsifies:
        for phase in phases:  # what is wrong with the penalty is reported before any training
            phase_penalty(Network(dense, graph, inputs), phase)
    steps = _InMemory(
        train or _left_out,
        retrain or train or _left_out,
        evaluate,
        inputs,
        calibration or Calibration(()),
        report,
        dense,
        graph,
    )

    params, macs = graph.cost()
    measured = Measure(params, macs, steps.measure(dense))
    report(f"dense: {params:,} parameters, {macs:,} MACs, metric {measured.metric:.5g}")
    slim, metric, results = dense, measured.metric, []
    for phase in phases:
        report(f"phase {phase.number} of {len(phases)}: {', '.join(phase.groups)}")
        slim, result = steps.run(phase, slim, metric, measured.metric, len(phases))
        metric = result.metric.get("retrained", result.metric.get("removed", metric))
        results.append(result)

    size = channel_groups(copy_model(slim).cpu(), inputs).cost()
    outcome = Result(
        slim,
        measured,
        Measure(*size, metric),
        tuple(results),
        {name: group.channels for name, group in graph.prunable().items()},
        _kept_of_dense(graph, results),
        {n: g.fixed for n, g in graph.groups.items() if g.fixed is not None and g.producers},
    )
    report(str(outcome))
    return outcome


@dataclass(slots=True)
class _InMemory:
    """The steps of a phase on modules in memory, with the user's training and evaluation."""

    user_train: Train
    user_retrain: Train
    evaluate: Evaluate
    example_inputs: ExampleInputs
    calibration: Calibration
    say: Callable[[str], None]
    teacher: nn.Module
    dense_graph: ChannelGraph
    traced: ChannelGraph = field(init=False)
    metric_before: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
    induced: tuple[float, float | None] | None = None
    found: Threshold | None = None
    removals: list[tuple[Removed, float]] = field(default_factory=list)

    def run(
        self, phase: Phase, before: nn.Module, metric: float, dense_metric: float, phases: int
    ) -> tuple[nn.Module, PhaseResult]:
        """Run a phase, and say what it found."""
        self.traced = self.graph(before)
        floor = None
        if phase.goal.max_drop is not None:
            floor = phase.goal.floor(dense_metric, phase.number, phases)
        prunable = self.traced.prunable()
        groups = tuple(name for name in phase.groups if name in prunable)
        phase = replace(phase, groups=groups, floor=floor)
        self.metric_before, self.metrics, self.removals = metric, {}, []
        self.induced = self.found = None
        outcome = run_phase(phase, before, self)
        return outcome.network, self._result(phase, outcome)

    def _result(self, phase: Phase, outcome: Outcome[nn.Module]) -> PhaseResult:
        channels = {name: self.traced.groups[name].channels for name in phase.groups}
        kept = {name: torch.arange(count) for name, count in channels.items()}
        difference, rounding, reconstruction = 0.0, None, None
        if outcome.taken is not None:
            removed, metric = self.removals[outcome.taken]
            kept, difference = removed.choice.kept, removed.slim_minus_masked
            rounding, reconstruction = removed.rounding, removed.reconstruction
            self.metrics["removed"] = metric
            if phase.method.training:
                self.metrics["retrained"] = outcome.attempts[outcome.taken].metric
        zeros, strength = self.induced or (None, None)
        attempts = [(a.keep, a.metric) for a in outcome.attempts if a.keep is not None]
        return PhaseResult(
            channels,
            kept,
            strength,
            zeros,
            self.found,
            self.metrics,
            tuple(attempts),
            difference,
            rounding,
            reconstruction,
        )

    def _network(self, model: nn.Module) -> Network:
        timed = self.example_inputs[:1] if isinstance(self.example_inputs, Tensor) else None
        return Network(model, self.traced, self.example_inputs, timed_input=timed)

    # ---- steps ----

    def graph(self, network: nn.Module) -> ChannelGraph:
        """Trace on the CPU, wherever the user trains; what was not verified stays fixed."""
        groups = self.dense_graph.groups.items()
        fixed = {name: group.fixed for name, group in groups if group.fixed is not None}
        return with_fixed(channel_groups(copy_model(network).cpu(), self.example_inputs), fixed)

    def sparsify(self, phase: Phase, before: nn.Module) -> tuple[nn.Module, float]:
        """Train a copy with the penalty."""
        sparse = copy_model(before)
        self.induced = work.sparsify(self._network(sparse), phase, self)
        metric = self.measure(sparse)
        self.metrics["sparsified"] = metric
        (zeros, strength), before_it = self.induced, self.metric_before
        note = zeros_note(zeros, phase)
        if before_it - metric > abs(before_it) / 10:
            note = f" (much worse than {before_it:.5g}: a smaller strength may serve better)"
        self.say(
            f"  sparsified, strength {strength or 0.0:.2g}: {zeros:.1%} exact zeros, "
            f"metric {metric:.5g}{note}"
        )
        return sparse, metric

    def threshold(self, phase: Phase, sparse: nn.Module, reference: float) -> nn.Module:
        """Threshold a copy."""
        thresholded = copy_model(sparse)
        self.found = found = work.threshold(
            self._network(thresholded),
            phase,
            reference,
            lambda _floor: lambda: self.measure(thresholded),
        )
        self.metrics["thresholded"] = found.metric
        note = "" if found.status == "found" else " (no threshold holds the drop)"
        self.say(
            f"  threshold {found.value:.3g}: {found.zeros:.1%} zeros, "
            f"metric {found.metric:.5g}{note}"
        )
        return thresholded

    def remove(
        self, phase: Phase, sparse: nn.Module, thresholded: nn.Module, size: Size
    ) -> tuple[nn.Module, float]:
        """Remove from a copy."""
        # Each attempt folds means into biases of its own.
        network = self._network(copy_model(sparse))
        removed = work.remove(network, self._network(thresholded), phase, size, self)
        metric = self.measure(removed.model)
        self.removals.append((removed, metric))
        groups = network.graph.groups
        lost = sum(groups[name].channels - count for name, count in removed.counts.items())
        params, macs = network.graph.cost(removed.counts)
        self.say(
            f"  removed {lost or 'no'} filters: {params:,} parameters, {macs:,} MACs, "
            f"metric {metric:.5g}"
        )
        difference = removed.slim_minus_masked
        if difference.precision == "own":
            self.say(
                "  verified in the network's own precision, since it does not run in double: "
                f"differs by {difference:.2g} of the output, {difference.allowed:.2g} is rounding"
            )
        if removed.reconstruction is not None and (skipped := removed.reconstruction.skipped):
            layers = "; ".join(f"{path} ({reason})" for path, reason in skipped.items())
            self.say(f"  not reconstructed: {layers}")
        return removed.model, metric

    def retrain(self, phase: Phase, slim: nn.Module, size: Size) -> tuple[nn.Module, float]:  # noqa: ARG002
        """Retrain in place."""
        with distilled(slim, self.teacher, phase.method.distill):
            self.user_retrain(slim, Penalties())
        metric = self.measure(slim)
        self.say(f"  retrained: metric {metric:.5g}")
        return slim, metric

    # ---- the user's training and evaluation ----

    def measure(self, model: nn.Module) -> float:
        """Evaluate; the result must be a finite number."""
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

    def train(self, model: nn.Module, penalty: Penalties) -> None:
        """Train with the penalty, and check that it acted."""
        self.user_train(model, penalty)
        if penalty.steps == 0:
            raise PruningError(
                "train() attached the penalty to an optimizer that took no step; attach it to the "
                "one that trains the model"
                if penalty.attached
                else "train() never called penalty.attach(optimizer); call it once, after creating "
                "the optimizer"
            )
        broken = [n for n, p in model.named_parameters() if not bool(p.isfinite().all())]
        if broken:
            raise PruningError(
                f"{broken[0]} is not finite after train(): the training diverged; lower the "
                "learning rate, or the strength"
            )
        if penalty.unreached:
            raise PruningError(
                f"{penalty.unreached[0]} is penalised but had no gradient, or no optimizer with "
                "the penalty attached, in train(); train it, freeze it, or name other layers"
            )

    def inputs(self, model: nn.Module, batches: int) -> Iterator[ExampleInputs] | None:
        """What the user's batches call the network with."""
        device = next(model.parameters()).device

        def on_device(batch: object) -> ExampleInputs:
            inputs: ExampleInputs = self.calibration.inputs(batch)
            moved: ExampleInputs = map_tensors(lambda x: x.to(device), inputs)
            return moved

        batched = self.calibration.batches
        return map(on_device, islice(batched, batches)) if batched else None

    def losses(self, model: nn.Module, batches: int) -> Iterator[Tensor] | None:
        """Compute the user's loss of their batches."""
        loss = self.calibration.loss
        if loss is None:
            return None
        return (loss(model, batch) for batch in islice(self.calibration.batches, batches))


def _method(method: Method | None, train: Train | None, retrain: Train | None) -> Method:
    """The method, or the default for what can be trained."""
    if method is None:
        selection = SelectionSettings("sparsity" if train is not None else "reconstruction")
        method = Method(selection=selection)
    return method if train is not None or retrain is not None else replace(method, training=False)


def _left_out(_model: nn.Module, _penalty: Penalties) -> None:
    """Stand for a training that the method does not have."""


def _phases(graph: ChannelGraph, goal: Goal, method: Method) -> list[Phase]:
    """The phases with their groups and budgets."""
    groups = _phase_groups(graph, method.phases, method.ignore)
    selection = method.selection
    budgets = within_reach(
        graph,
        groups,
        divide_budget(graph, groups, goal.keep_params, goal.keep_macs),
        [selection.min_filters] * len(groups),
        [selection.known_round_to] * len(groups),
    )
    return [
        Phase(number, tuple(names), goal, method, budget if goal.has_budget else None)
        for number, (names, budget) in enumerate(zip(groups, budgets, strict=True), start=1)
    ]


def _phase_groups(
    graph: ChannelGraph, phases: Sequence[str | Sequence[str]] | None, ignore: Layers
) -> list[list[str]]:
    """The groups that lose channels in each phase."""
    if phases is None:
        return [match_groups(graph, ignore=ignore)]
    groups = []
    for number, phase in enumerate(phases, start=1):
        try:
            groups.append(match_groups(graph, phase, ignore))
        except PruningError as error:
            raise PruningError(f"phase {number}: {error}") from None
        if not groups[-1]:
            raise PruningError(f"phase {number} names no layers; name at least one")
    if not groups:
        raise PruningError("phases is empty; leave it out for one phase of all layers")
    return groups


def _check_needed(model: nn.Module, **functions: object) -> None:
    """Refuse a network without weights, and a method without the functions that it calls."""
    if any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers())):
        raise PruningError("the model is on meta and has no weights; load them first")
    for name, function in functions.items():
        if function is None:
            raise PruningError(f"{name} is None; give a function")


def _check_calibration(model: nn.Module, method: Method, calibration: Calibration | None) -> None:
    """Refuse a criterion without what it needs, and batches that the model does not take."""
    criterion = method.selection.ranks_by
    criterion.check()
    if criterion.needs_inputs and calibration is None:
        raise PruningError(
            f"the criterion {method.selection.criterion} needs pictures; give a calibration with "
            "batches"
        )
    if criterion.needs_losses and (calibration is None or calibration.loss is None):
        raise PruningError(
            f"the criterion {method.selection.criterion} needs the loss of training batches; give "
            "a calibration with batches and loss"
        )
    needed = criterion.needs_inputs or method.removal.needs_batches
    if calibration is None or not calibration.batches or not needed:
        return
    device = next(model.parameters()).device
    for batch in islice(calibration.batches, 1):
        try:
            inputs = map_tensors(lambda x: x.to(device), calibration.inputs(batch))
            args, kwargs = call_arguments(inputs)
            with attributes_restored(model), evaluating(model), torch.no_grad():
                model(*args, **kwargs)
        except Exception as error:  # a forward pass may raise anything
            raise PruningError(
                f"the calibration has a batch that the model does not take ({first_line(error)}); "
                "give inputs= that makes the model's arguments of it"
            ) from error


def _kept_of_dense(graph: ChannelGraph, results: Sequence[PhaseResult]) -> dict[str, Tensor]:
    """Kept channels by their indices in the dense network."""
    kept = {name: torch.arange(group.channels) for name, group in graph.prunable().items()}
    for result in results:
        for name, indices in result.kept.items():
            kept[name] = kept[name][indices]
    return kept


def _nonconstant(example_inputs: ExampleInputs) -> ExampleInputs:
    """The inputs on the CPU, with noise for tensors of one value, which would verify little."""
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
