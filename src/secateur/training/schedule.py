"""Optimiser and learning rate of a training."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer


@dataclass(frozen=True, slots=True)
class Schedule:
    """How the weights are updated.

    Attributes:
        optimizer: ``sgd`` with momentum 0.9, or ``adamw``.
        lr: highest learning rate, reached at the end of the warm-up.
        weight_decay: not applied to norms and biases.
        warmup: share of the steps in which the learning rate rises linearly, 0–1.
        decay: ``cosine`` to zero, ``step`` (a tenth at 2/3 and again at 5/6 of the steps, as SSD's
            reference training), or ``constant``.
        clip: largest norm of the gradient; None for no limit.
    """

    optimizer: Literal["sgd", "adamw"]
    lr: float
    weight_decay: float
    warmup: float
    decay: Literal["cosine", "step", "constant"]
    clip: float | None = None

    def learning_rate(self, step: int, steps: int) -> float:
        """The learning rate of a step, from 1 to ``steps``."""
        return self.lr * self._share(step, steps)

    def _share(self, step: int, steps: int) -> float:
        warmup = self.warmup * steps
        if step <= warmup:
            return step / warmup
        done = (step - warmup) / max(1.0, steps - warmup)
        if self.decay == "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        if self.decay == "step":
            return 1.0 if step < steps * 2 / 3 else 0.1 if step < steps * 5 / 6 else 0.01
        return 1.0


def make_optimizer(model: nn.Module, schedule: Schedule) -> Optimizer:
    """Build the optimizer; parameters of one dimension (norms, biases) have no weight decay."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": schedule.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    fused = True if all(p.is_cuda for p in parameters) else None  # one launch for all weights
    if schedule.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=schedule.lr, momentum=0.9, fused=fused)
    return torch.optim.AdamW(groups, lr=schedule.lr, fused=fused)
