"""The steps of a phase as stages of a run: each is an artifact in the run folder."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from secateur.config.compress import Phase as PhaseSection
from secateur.config.compress import Select, Sparsify
from secateur.config.train import Retrain
from secateur.models.cost import count_params
from secateur.models.network import example_input, raw_network
from secateur.models.network_file import load_network, save_network
from secateur.pruning import phase as work
from secateur.pruning.graph.groups import ChannelGraph
from secateur.pruning.phase import LOSS_BATCHES, Network, Phase, Removed, Size
from secateur.pruning.selection.measured_rounding import MeasuredSteps
from secateur.run.context import Handle, Run
from secateur.run.phases import network_groups
from secateur.run.records import RemovalRecord, RoundingRecord, ThresholdRecord, TrainingRecord
from secateur.run.stage import Stage, Step, fingerprint
from secateur.run.training import (
    NETWORK_FILE,
    StageTraining,
    evaluation_settings,
    measure_network,
)
from secateur.run.validation import growing_validation
from secateur.tasks.distillation import Teacher


@dataclass(frozen=True, slots=True)
class PhaseSteps:
    """The steps of one phase; ``pruning.phase.Steps`` over handles of networks.

    Attributes:
        run: the run.
        section: the phase as the recipe writes it.
        settings: its sparsifying, selection and retraining.
        dense: the dense network, for distillation.
        fixed: groups that must not be cut, because no removal from them is verified.
        watch: called with each complete stage.
        done: the complete stages, in order.
    """

    run: Run
    section: PhaseSection
    settings: tuple[Sparsify, Select, Retrain]
    dense: Handle
    fixed: Mapping[str, str]
    watch: Callable[[Step], None] = lambda _: None
    done: list[Step] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Print a line."""
        self.run.reporter.say(text)

    def graph(self, network: Handle) -> ChannelGraph:
        """Trace a network."""
        return network_groups(network.load(), network.architecture, self.fixed)

    def sparsify(self, phase: Phase, before: Handle) -> tuple[Handle, float]:
        """Step 1: train with the penalty on the phase's layers."""
        name, settings = f"phase{phase.number}-sparsify", self.settings[0]

        def make(folder: Path) -> dict[str, Any]:
            network = self._network(before)
            trainer = _Sparsifying(self.run, name, settings, folder)
            zeros, strength = work.sparsify(network, phase, trainer)
            return {
                "kind": "sparsify",
                "phase": phase.number,
                "loss": trainer.loss,
                "zeros": zeros,
                "strength": strength,
                "layers": trainer.layers,
            }

        depends_on = {
            "model": before.key,
            "groups": phase.groups,
            "sparsify": settings.model_dump(),
        }
        step, handle = self._do(self._stage(name, depends_on, make, settings.steps))
        record = cast(TrainingRecord, step.result)
        note = work.zeros_note(record.zeros or 0.0, phase)
        self.say(f"  sparsified: {record.zeros:.1%} exact zeros, {self._accuracy(record)}{note}")
        return handle, self._metric(record)

    def threshold(self, phase: Phase, sparse: Handle, reference: float) -> Handle:
        """Step 1, second half: find and apply the threshold."""
        name, run = f"phase{phase.number}-threshold", self.run

        def make(folder: Path) -> dict[str, Any]:
            network = self._network(sparse)
            validations: list[Any] = []

            def validation(floor: float) -> Any:
                validations.append(
                    growing_validation(
                        run,
                        f"phase{phase.number} threshold",
                        network.model,
                        run.architecture,
                        reference,
                        floor,
                    )
                )
                return validations[0]

            found = work.threshold(network, phase, reference, validation)
            network.model.cpu()  # validation leaves it on the device
            self._save(folder, network.model)
            whole = len(run.splits.validation)
            pictures = [n if n < whole else None for n in validations[0].evaluated]
            trials = zip(found.trace, pictures, strict=True)
            return {
                "kind": "threshold",
                "phase": phase.number,
                "metrics": {run.recipe.evaluate.metric: found.metric},
                "threshold": found.value,
                "zeros": found.zeros,
                "status": found.status,
                "trace": [{**asdict(trial), "pictures": count} for trial, count in trials],
            }

        settings = run.recipe.compress.threshold
        depends_on = {
            "model": sparse.key,
            "groups": phase.groups,
            "threshold": settings.model_dump(),
            "evaluate": evaluation_settings(run),
        }
        step, handle = self._do(Stage(name, depends_on, make, shared=True))
        record = cast(ThresholdRecord, step.result)
        note = "" if record.status == "found" else " (no threshold holds the drop)"
        self.say(
            f"  threshold {record.threshold:.3g}: {record.zeros:.1%} zeros, "
            f"{self._accuracy(record)}{note}"
        )
        # Known by its threshold, however that was found: another metric may find the same.
        key = fingerprint([sparse.key, phase.groups, settings.scope, record.threshold])
        return replace(handle, key=key)

    def remove(
        self, phase: Phase, sparse: Handle, thresholded: Handle, size: Size
    ) -> tuple[Handle, float]:
        """Steps 2 and 3: select, remove, verify and reconstruct."""
        attempt = "" if size.attempt is None else f"try{size.attempt}-"
        name, retrain = f"phase{phase.number}-{attempt}remove", self.settings[2]
        criterion = phase.method.selection.criterion

        def make(folder: Path) -> dict[str, Any]:
            seed_of_losses = f"select {criterion}"
            trainer = StageTraining(self.run, name, retrain, folder, seed_of_losses)
            network, weights = self._network(sparse), self._network(thresholded)
            if phase.method.selection.round_to == "auto":
                runtime = phase.method.selection.runtime
                self.say(f"  timing layers of several widths on {runtime}: some minutes")
            removed = work.remove(
                network, weights, phase, size, trainer, seed=self.run.seed(seed_of_losses)
            )
            removed.model.cpu()
            self._save(folder, removed.model)
            return self._removal(phase, size, network.graph, removed)

        stage = self._stage(name, self._removal_depends_on(phase, sparse, thresholded, size), make)
        step, handle = self._do(replace(stage, shared=False))
        record = cast(RemovalRecord, step.result)
        if record.rounding is not None:
            self.say(_rounding_line(record.rounding))
        if record.removed == 0:
            self.say("  nothing was removed: lower the levels, or raise the strength")
        self.say(
            f"  removed {record.removed} filters: {record.params / 1e6:.3f} M parameters, "
            f"{record.macs / 1e9:.3f} GMACs, {self._accuracy(record)}"
        )
        if record.reconstruction is not None and (skipped := record.reconstruction.skipped):
            layers = "; ".join(f"{path} ({reason})" for path, reason in skipped.items())
            self.say(f"  not reconstructed: {layers}")
        return handle, self._metric(record)

    def retrain(self, phase: Phase, slim: Handle, size: Size) -> tuple[Handle, float]:
        """Step 4: train without the penalty; with distillation, also from the dense network."""
        attempt = "" if size.attempt is None else f"try{size.attempt}-"
        name, settings = f"phase{phase.number}-{attempt}retrain", self.settings[2]

        def make(folder: Path) -> dict[str, Any]:
            teacher = None
            if settings.distill:
                taught = self.dense.load().requires_grad_(False).to(self.run.fabric.device)
                teacher = Teacher(taught, settings.distill)
            trainer = StageTraining(self.run, name, settings, folder, teacher=teacher)
            loss = trainer.fit(slim.load())
            return {
                "kind": "retrain",
                "phase": phase.number,
                "attempt": size.attempt,
                "loss": loss,
            }

        depends_on: dict[str, Any] = {"model": slim.key, "retrain": settings.model_dump()}
        if settings.distill:
            depends_on["teacher"] = self.dense.key
        step, handle = self._do(self._stage(name, depends_on, make, settings.steps))
        record = cast(TrainingRecord, step.result)
        self.say(f"  retrained: {self._accuracy(record)} on validation")
        return handle, self._metric(record)

    def record(self, kind: str, attempt: int | None = None) -> Any:
        """The record of a stage of this phase; None where there was none."""
        for step in self.done:
            if step.result.kind == kind and getattr(step.result, "attempt", None) == attempt:
                return step.result
        return None

    # ---- parts ----

    def _stage(self, name: str, depends_on: Mapping[str, Any], make: Any, steps: int = 0) -> Stage:
        """A stage whose network is evaluated on validation."""

        def measure(folder: Path) -> dict[str, Any]:
            model = load_network(folder / NETWORK_FILE).model
            return measure_network(self.run, folder, model, steps)

        return Stage(name, depends_on, make, evaluation_settings(self.run), measure, shared=True)

    def _do(self, stage: Stage) -> tuple[Step, Handle]:
        step = self.run.do(stage)
        self.done.append(step)
        self.watch(step)
        handle = Handle(step.folder / NETWORK_FILE, step.output_key, self.run.architecture)
        return step, handle

    def _network(self, handle: Handle) -> Network:
        model, architecture = handle.load(), self.run.architecture
        graph = network_groups(model, architecture, self.fixed)
        example = example_input(architecture)
        # Removal is verified on noise of the network's own size.
        generator = torch.Generator().manual_seed(0)
        batch = torch.randn(2, *example.shape[1:], generator=generator)
        timed = self.run.task.evaluation_input(architecture, self.run.splits.validation)
        return Network(model, graph, batch, raw_network, timed)

    def _save(self, folder: Path, model: nn.Module) -> None:
        save_network(folder / NETWORK_FILE, model, self.run.architecture, {"step": folder.name})

    def _metric(self, record: Any) -> float:
        return float(record.metrics[self.run.recipe.evaluate.metric])

    def _accuracy(self, record: Any) -> str:
        return f"{self.run.recipe.evaluate.metric} {self._metric(record):.1f}"

    def _removal(
        self, phase: Phase, size: Size, graph: ChannelGraph, removed: Removed
    ) -> dict[str, Any]:
        """What a removal's record says, apart from its accuracy."""
        channels = {name: graph.groups[name].channels for name in removed.counts}
        return {
            "kind": "remove",
            "phase": phase.number,
            "attempt": size.attempt,
            "slim_minus_masked": removed.slim_minus_masked,
            "removed": sum(channels.values()) - sum(removed.counts.values()),
            "params": count_params(removed.model),
            "macs": graph.cost(removed.counts)[1],
            "selection": {
                name: {
                    "kept": kept.tolist(),
                    "F": [round(v, 4) for v in removed.choice.levels[name].F.tolist()],
                    "G": [round(v, 4) for v in removed.choice.levels[name].G.tolist()],
                }
                for name, kept in removed.choice.kept.items()
            },
            "rounding": _rounding(removed.rounding),
            "reconstruction": asdict(removed.reconstruction) if removed.reconstruction else None,
        }

    def _removal_depends_on(
        self, phase: Phase, sparse: Handle, thresholded: Handle, size: Size
    ) -> dict[str, Any]:
        """All that a removal depends on; settings that the criterion does not use may change."""
        selection, removal = phase.method.selection, phase.method.removal
        retrain, data_key = self.settings[2], self.run.data_key
        depends_on: dict[str, Any] = {
            "sparse": sparse.key,
            "thresholded": thresholded.key,
            "groups": phase.groups,
            "size": phase.goal.levels if size.budget is None else asdict(size.budget),
            "min_filters": selection.min_filters,
            "round_to": selection.round_to,
            "criterion": [selection.criterion, selection.divides_by],
        }
        if selection.round_to == "auto":
            depends_on["runtime"] = selection.runtime
        if size.budget is not None and selection.divides_by == "cost" and selection.balance:
            depends_on["balance"] = selection.balance
        if selection.ranks_by.needs_losses:
            depends_on["batches"] = [data_key, retrain.batch_size, LOSS_BATCHES]
        if removal.needs_batches:
            depends_on["remove"] = [asdict(removal), data_key, retrain.batch_size]
        return depends_on


@dataclass(frozen=True, slots=True)
class _Sparsifying(StageTraining):
    """A training with a penalty that remembers its loss and what it penalised."""

    loss: list[float] = field(default_factory=list)
    layers: list[str] = field(default_factory=list)

    def train(self, model: nn.Module, penalty: Any) -> None:
        """Train with the penalty."""
        self.loss.extend(self.fit(model, penalty))
        self.layers.extend(name.removesuffix(".weight") for name in penalty.weights)


def _rounding(measured: MeasuredSteps | None) -> dict[str, Any] | None:
    if measured is None:
        return None
    times = measured.found.times.items()
    return {
        "runtime": measured.runtime,
        "seconds": {name: list(map(list, seconds.items())) for name, seconds in times},
        "measured": measured.found.steps,
        "used": measured.used,
    }


def _rounding_line(record: RoundingRecord) -> str:
    """Say how many layers have each width step, and whether the budget required finer ones."""
    used = list(record.used.values())
    steps = ", ".join(f"{step} for {used.count(step)}" for step in sorted(set(used)))
    finer = max(record.measured.values()) > max(used)
    note = "; coarser steps were measured, but do not fit the budget" if finer else ""
    return f"  width steps on {record.runtime}, by number of layers: {steps}{note}"
