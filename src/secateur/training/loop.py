"""One training loop, for dense networks, sparsity induction and retraining alike."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from secateur.errors import DivergedError
from secateur.pruning.penalties.penalty import Penalties
from secateur.training.checkpoint import TrainingState
from secateur.training.recorded_passes import record_passes


@dataclass(frozen=True, slots=True)
class Schedule:
    """How a network is trained.

    Attributes:
        optimizer: ``sgd`` with momentum 0.9, or ``adamw``.
        lr: highest learning rate; it rises over ``warmup`` and then falls.
        weight_decay: not applied to norms and biases.
        warmup: share of the steps.
        decay: ``cosine`` to zero, ``step`` (a tenth at 2/3 and at 5/6 of the steps, as SSD's
            reference training), or ``constant``.
        clip: largest norm of the gradient, or None.
    """

    optimizer: Literal["sgd", "adamw"]
    lr: float
    weight_decay: float
    warmup: float
    decay: Literal["cosine", "step", "constant"]
    clip: float | None = None


class Batches(Protocol):
    """Batches of the same shapes: a ``DataLoader``, or what gives them on the device."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...


def train(
    fabric: Fabric,
    model: nn.Module,
    loss: Callable[..., Tensor],
    batches: Batches,
    schedule: Schedule,
    *,
    penalty: Penalties | None = None,
    on_step: Callable[[int, float], None] | None = None,
    state: TrainingState | None = None,
) -> list[float]:
    """Train in place, one step for each batch.

    Args:
        fabric: device, precision, and processes.
        model: the network; frozen parameters stay as they are.
        loss: of the model and what a batch holds.
        batches: as many as there are steps left, and of each this process's share; a loader's are
            moved to the device.
        schedule: optimiser and learning rate.
        penalty: induces sparsity beside the loss; None: none.
        on_step: told of each step's number, from 1, and loss.
        state: what to go on from, and where to write how far it came; None: from the start.

    Returns:
        The loss of each step, those from before included; of several processes, their mean.

    Raises:
        DivergedError: the loss or the gradients are no longer finite.
    """
    penalty = penalty or Penalties()
    model.to(memory_format=torch.channels_last)  # in which convolutions are quicker
    whole = Objective(model, loss).train()
    objective = fabric.setup_module(whole)
    bare = make_optimizer(model, schedule)
    trace = state.restore(model, bare) if state else []
    optimizer: Any = fabric.setup_optimizers(bare)
    steps = len(trace) + len(batches)
    seed = torch.initial_seed()
    one_gpu = fabric.device.type == "cuda" and fabric.world_size == 1
    if isinstance(batches, DataLoader):
        loader = fabric.setup_dataloaders(batches, use_distributed_sampler=False)
        batches = cast(Batches, loader)
    first = len(trace) + 1
    try:
        for step, batch in enumerate(batches, start=first):
            if one_gpu and step == first:
                bf16 = fabric.strategy.precision.precision == "bf16-mixed"
                record_passes(whole, batch, bf16=bf16)
            if fabric.global_rank > 0:  # with chances of its own, that depend on the step alone
                torch.manual_seed(hash((seed, step, fabric.global_rank)))
            for group in optimizer.param_groups:
                group["lr"] = schedule.lr * learning_rate_share(schedule, step, steps)
            value = objective(*batch)
            fabric.backward(value)
            norm = None
            if schedule.clip is not None:
                norm = fabric.clip_gradients(
                    objective, optimizer, max_norm=schedule.clip, error_if_nonfinite=False
                )
            penalty.before_step(optimizer.optimizer)
            optimizer.step()
            penalty.after_step(optimizer.optimizer)
            optimizer.zero_grad()
            if fabric.world_size > 1:
                _average_statistics(fabric, model)
            trace.append(float(cast(Tensor, fabric.all_reduce(value.detach()))))
            if not math.isfinite(trace[-1]) or (norm is not None and not math.isfinite(norm)):
                raise DivergedError(
                    f"the training diverged at step {step} of {steps} (loss {trace[-1]:g}); lower "
                    f"the learning rate (now {schedule.lr:g}) or set clip: 1.0"
                )
            if on_step is not None:
                on_step(step, trace[-1])
            if state is not None:
                state.write_when_due(model, bare, trace)
    finally:
        whole.__dict__.pop("forward", None)  # recorded passes hold memory, and themselves
    model.to(memory_format=torch.contiguous_format)
    model.eval()
    return trace


def make_optimizer(model: nn.Module, schedule: Schedule) -> Optimizer:
    """Build the optimiser; weights of one dimension and biases are not decayed."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": schedule.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    fused = True if all(p.is_cuda for p in parameters) else None  # one launch for all weights
    if schedule.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=schedule.lr, momentum=0.9, fused=fused)
    return torch.optim.AdamW(groups, lr=schedule.lr, fused=fused)


def learning_rate_share(schedule: Schedule, step: int, steps: int) -> float:
    """Share of the highest learning rate at a step, from 1 to ``steps``."""
    warmup = schedule.warmup * steps
    if step <= warmup:
        return step / warmup
    done = (step - warmup) / max(1.0, steps - warmup)
    if schedule.decay == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    if schedule.decay == "step":
        return 1.0 if step < steps * 2 / 3 else 0.1 if step < steps * 5 / 6 else 0.01
    return 1.0


@torch.no_grad()
def _average_statistics(fabric: Fabric, model: nn.Module) -> None:
    """Give norms the mean of all processes' running statistics, of which each saw but its share."""
    buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
    if buffers:
        together = cast(Tensor, fabric.all_reduce(torch.cat([b.flatten() for b in buffers])))
        parts = torch.split(together, [buffer.numel() for buffer in buffers])
        for buffer, part in zip(buffers, parts, strict=True):
            buffer.copy_(part.view_as(buffer))


class Objective(nn.Module):
    """A network whose forward pass is its loss, so that every process and precision sees it."""

    def __init__(self, model: nn.Module, loss: Callable[..., Tensor]) -> None:
        super().__init__()
        self.model = model
        self.loss = loss

    def forward(self, *batch: Any) -> Tensor:
        """The loss, of shape (), of what a batch holds."""
        return self.loss(self.model, *batch)
