"""A training as part of a stage: resumable, logged, and written to the stage's folder."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor, nn

from secateur.config.train import Training
from secateur.data.loaders import TrainingLoader
from secateur.errors import DivergedError
from secateur.models.network_file import save_network
from secateur.pruning.penalties.penalty import Penalties
from secateur.pruning.sparsity import zero_share
from secateur.run.context import Run
from secateur.run.stage import UNFINISHED
from secateur.run.validation import validate
from secateur.tasks.distillation import Teacher
from secateur.tasks.normalisation import normalised
from secateur.training.checkpoint import TrainingState
from secateur.training.log import MAX_POINTS, MAX_SLOW_POINTS, Log, is_point, training_log
from secateur.training.loop import train
from secateur.training.schedule import Schedule

NETWORK_FILE = "network.safetensors"


@dataclass(frozen=True, slots=True)
class StageTraining:
    """The training of one stage; a ``pruning.phase.Trainer``.

    Attributes:
        run: the run.
        name: of the stage; its random numbers depend on it.
        settings: of the training, or of the one whose batches are used.
        folder: of the stage.
        seed_of_losses: name of the seed of the batches whose loss a criterion needs.
        teacher: network to distill from; None for labels alone.
    """

    run: Run
    name: str
    settings: Training
    folder: Path
    seed_of_losses: str = ""
    teacher: Teacher | None = None

    def fit(self, model: nn.Module, penalty: Penalties | None = None) -> list[float]:
        """Train in place, from the last checkpoint, and write the network.

        The network ends on the CPU, with the same weights in all processes.

        Returns:
            The loss, averaged over about a hundred equal spans of steps.

        Raises:
            DivergedError: as for ``train``, with the stage's name.
        """
        run, steps = self.run, self.settings.steps
        state = TrainingState(
            self.folder / UNFINISHED / "training.safetensors", run.recipe.checkpoint
        )
        trace: list[float] = []
        if steps:
            with training_log(run.folder / "logs" / self.name, state.steps_done(steps)) as log:
                try:
                    trace = self._train(model, penalty, state, log)
                except DivergedError as error:
                    raise DivergedError(f"{self.name}: {error}") from None
        save_network(self.folder / NETWORK_FILE, model, run.architecture, {"step": self.name})
        span = max(1, len(trace) // 100)
        parts = [trace[i : i + span] for i in range(0, len(trace), span)]
        return [round(sum(part) / len(part), 4) for part in parts]

    def train(self, model: nn.Module, penalty: Penalties) -> None:
        """Train with a penalty; for the loss, use ``fit``."""
        self.fit(model, penalty)

    def inputs(self, model: nn.Module, batches: int) -> Iterator[Tensor]:
        """Give what the raw network is called with on training batches."""
        architecture = self.run.architecture
        for pictures, *_ in self._batches(model, batches, f"{self.name} repair"):
            yield normalised(pictures, architecture.mean, architecture.std)

    def losses(self, model: nn.Module, batches: int) -> Iterator[Tensor]:
        """Give the loss of training batches."""
        loss = self.run.task.loss(self.run.architecture)
        for batch in self._batches(model, batches, self.seed_of_losses):
            yield loss(model, *batch)

    def _train(
        self, model: nn.Module, penalty: Penalties | None, state: TrainingState, log: Log
    ) -> list[float]:
        run, settings, steps = self.run, self.settings, self.settings.steps
        seed = run.seed(self.name)
        torch.manual_seed(seed)
        done = state.steps_done(steps)
        if done:
            run.reporter.say(f"  resumes after step {done} of {steps}")
        batches = run.task.batches(
            run.splits.train,
            run.architecture,
            settings,
            seed,
            run.fabric.device,
            done,
            run.processes.step_rank,
        )
        if isinstance(batches, TrainingLoader) and batches.shortage:
            run.reporter.say(f"  {batches.shortage}")
        schedule = Schedule(
            settings.optimizer,
            settings.lr,
            settings.weight_decay,
            settings.warmup,
            settings.decay,
            settings.clip,
        )
        with run.reporter.bar(self.name, steps, done) as advance:

            def on_step(step: int, loss: float) -> None:
                advance(1, f"loss {loss:.2f}")
                if is_point(step, steps, MAX_POINTS):
                    log({"loss": loss, "lr": schedule.learning_rate(step, steps)}, step)
                if penalty is not None and is_point(step, steps, MAX_SLOW_POINTS):
                    log({"zeros": zero_share(penalty.weights.values())}, step)

            trace = train(
                run.fabric,
                model,
                run.task.loss(run.architecture, self.teacher),
                batches,
                schedule,
                penalty=penalty,
                on_step=on_step,
                state=state,
            )
        model.cpu()
        run.processes.broadcast_model(model)
        return trace

    def _batches(self, model: nn.Module, batches: int, seed: str) -> Iterator[Sequence[Tensor]]:
        """Augmented batches; the model is moved to their device."""
        run, device = self.run, self.run.fabric.device
        settings = self.settings.model_copy(update={"steps": batches})
        model.to(device)
        for batch in run.task.batches(
            run.splits.train, run.architecture, settings, run.seed(seed), device
        ):
            yield move_data_to_device(batch, device)


def measure_network(run: Run, folder: Path, model: nn.Module, steps: int = 0) -> dict[str, Any]:
    """Evaluate a stage's network on validation; the log of a training shows the metric."""
    metric, name = validate(run, model, run.architecture), run.recipe.evaluate.metric
    if steps:
        with training_log(run.folder / "logs" / folder.name, steps) as log:
            log({name: metric}, steps)
    return {"metrics": {name: metric}}


def evaluation_settings(run: Run) -> dict[str, Any]:
    """What every accuracy depends on, apart from the network and the pictures."""
    return run.recipe.evaluate.model_dump(exclude={"batch_size"})
