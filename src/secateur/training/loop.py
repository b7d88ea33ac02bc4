"""The training loop of dense networks, sparsification and retraining."""

import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any, Protocol, cast

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader

from secateur.data.seeds import DROPOUT, derived_seed
from secateur.errors import DivergedError
from secateur.files.signals import signals_deferred
from secateur.pruning.penalties.penalty import Penalties
from secateur.training.checkpoint import TrainingState
from secateur.training.recorded_passes import record_passes
from secateur.training.schedule import Schedule, make_optimizer


class Batches(Protocol):
    """Batches of equal shapes: a ``DataLoader``, or an object that gives them on the device."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...


class Objective(nn.Module):
    """A network whose forward pass gives its loss, as DDP and autocast require."""

    def __init__(self, model: nn.Module, loss: Callable[..., Tensor]) -> None:
        super().__init__()
        self.model = model
        self.loss = loss

    def forward(self, *batch: Any) -> Tensor:
        """The loss of a batch, of shape ()."""
        return self.loss(self.model, *batch)


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
    """Train a network in place, one step for each batch.

    Args:
        fabric: device, precision and processes.
        model: the network; frozen parameters are not changed.
        loss: of the model and the content of a batch.
        batches: those of the remaining steps, and of each this process's part. The batches of a
            ``DataLoader`` are moved to the device.
        schedule: optimizer and learning rate.
        penalty: sparsity penalty that is added to the loss; None for none.
        on_step: called after each step with its number, from 1, and its loss.
        state: the checkpoint to resume from and to write; None to start at step 1. In one process,
            Ctrl-C and SIGTERM wait for the end of a step, and a checkpoint is written.

    Returns:
        The loss of each step, including the steps before a resumption; the mean over processes.

    Raises:
        DivergedError: the loss, the gradients, or a tensor of the trained network is not finite.
    """
    penalty = penalty or Penalties()
    seed = torch.initial_seed()  # before a checkpoint restores another
    model.to(memory_format=torch.channels_last)  # faster convolutions
    objective = Objective(model, loss).train()
    wrapped = fabric.setup_module(objective)
    plain_optimizer = make_optimizer(model, schedule)
    trace = state.restore(model, plain_optimizer) if state else []
    optimizer: Any = fabric.setup_optimizers(plain_optimizer)
    first, steps = len(trace) + 1, len(trace) + len(batches)
    one_gpu = fabric.device.type == "cuda" and fabric.world_size == 1
    if isinstance(batches, DataLoader):
        loader = fabric.setup_dataloaders(batches, use_distributed_sampler=False)
        batches = cast(Batches, loader)
    # Of several processes, those that have not received the signal wait for the others in a step.
    alone = fabric.world_size == 1
    complete = True
    try:
        for step, batch in enumerate(batches, start=first):
            with signals_deferred() if alone else nullcontext():
                complete = False
                if one_gpu and step == first:
                    bf16 = fabric.strategy.precision.precision == "bf16-mixed"
                    record_passes(objective, batch, bf16=bf16)
                if fabric.global_rank > 0:  # random numbers of its own, the same after a resumption
                    torch.manual_seed(derived_seed(seed, DROPOUT, step, fabric.global_rank))
                for group in optimizer.param_groups:
                    group["lr"] = schedule.learning_rate(step, steps)
                value = wrapped(*batch)
                fabric.backward(value)
                norm = None
                if schedule.clip is not None:
                    norm = fabric.clip_gradients(
                        wrapped, optimizer, max_norm=schedule.clip, error_if_nonfinite=False
                    )
                penalty.before_step(plain_optimizer)
                optimizer.step()
                penalty.after_step(plain_optimizer)
                optimizer.zero_grad()
                if fabric.world_size > 1:
                    _average_statistics(fabric, model)
                trace.append(float(cast(Tensor, fabric.all_reduce(value.detach()))))
                if not math.isfinite(trace[-1]) or (norm is not None and not math.isfinite(norm)):
                    raise _diverged(f"at step {step} of {steps} (loss {trace[-1]:g})", schedule)
                if on_step is not None:
                    on_step(step, trace[-1])
                if state is not None:
                    state.write_when_due(model, plain_optimizer, trace)
                complete = True
    except (KeyboardInterrupt, SystemExit):
        if state is not None and alone and complete and trace:
            state.write(model, plain_optimizer, trace)
        raise
    finally:
        objective.__dict__.pop("forward", None)  # recorded passes hold memory and themselves
    # A norm's variance may be infinite although the loss, which uses the batch's, is not.
    for name, tensor in model.state_dict().items():
        if not tensor.isfinite().all():
            raise _diverged(f"by step {steps} ({name} is not finite)", schedule)
    model.to(memory_format=torch.contiguous_format)
    model.eval()
    return trace


def _diverged(where: str, schedule: Schedule) -> DivergedError:
    return DivergedError(
        f"the training diverged {where}; lower the learning rate (now {schedule.lr:g}) or set "
        "clip: 1.0"
    )


@torch.no_grad()
def _average_statistics(fabric: Fabric, model: nn.Module) -> None:
    """Average the norms' running statistics, which differ between processes."""
    buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
    if buffers:
        mean = cast(Tensor, fabric.all_reduce(torch.cat([b.flatten() for b in buffers])))
        parts = torch.split(mean, [buffer.numel() for buffer in buffers])
        for buffer, part in zip(buffers, parts, strict=True):
            buffer.copy_(part.view_as(buffer))
