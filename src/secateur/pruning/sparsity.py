"""Sparsity: the penalties that induce it, and the levels that are read from it.

Each penalty has two hooks for a training loop: ``before_step`` runs between ``backward`` and the
optimiser's step, ``after_step`` behind it. All work on lists of tensors at once
(``torch._foreach_*``), so that a penalty costs a training step next to nothing.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class Penalty(Protocol):
    """What a training loop calls to make weights sparse."""

    def before_step(self) -> None:
        """Change the gradients."""

    def after_step(self, optimizer: Optimizer) -> None:
        """Change the weights."""


@dataclass(frozen=True, slots=True)
class L1Subgradient:
    """λ·Σ|w| by its plain subgradient, as published (paper, section 3, step 1).

    Attributes:
        weights: the penalised tensors.
        strength: λ, in units of the loss.
    """

    weights: Sequence[nn.Parameter]
    strength: float

    def before_step(self) -> None:
        """Add λ·sign(w) to the gradients."""
        pairs = [(w.grad, w.detach()) for w in self.weights if w.grad is not None]
        if pairs:
            grads, weights = zip(*pairs, strict=True)
            signs = torch._foreach_sign(list(weights))
            torch._foreach_add_(list(grads), signs, alpha=self.strength)

    def after_step(self, optimizer: Optimizer) -> None:
        """Leave the weights."""


@dataclass(frozen=True, slots=True)
class L1Proximal:
    """λ·Σ|w| by its proximal step, the soft threshold, which makes exact zeros.

    Under an adaptive optimiser each weight is shrunk by its own step length, or λ would mean
    something else in every layer.

    Attributes:
        weights: the penalised tensors.
        strength: λ, in units of the loss; a step shrinks every weight by learning rate × λ.
    """

    weights: Sequence[nn.Parameter]
    strength: float

    def before_step(self) -> None:
        """Leave the gradients."""

    @torch.no_grad()
    def after_step(self, optimizer: Optimizer) -> None:
        """Shrink every weight towards zero."""
        for weights, steps in _step_lengths(optimizer, self.weights):
            shrink = [step * self.strength for step in steps]
            sizes = torch._foreach_abs(weights)
            torch._foreach_sub_(sizes, shrink)
            torch._foreach_clamp_min_(sizes, 0.0)
            torch._foreach_mul_(sizes, torch._foreach_sign(weights))
            torch._foreach_copy_(weights, sizes)


@dataclass(frozen=True, slots=True)
class GroupProximal:
    """λ·Σ√n‖block‖₂ over the blocks F_i and G_i, by the proximal step of each in turn.

    Whole filters, and whole slices that read a channel, go to zero together. √n, for n the
    elements of a block, makes blocks of different shapes comparable (Yuan and Lin, 2006).

    Attributes:
        blocks: the penalised tensor and the dimension its blocks are slices of.
        strength: λ, in units of the loss.
    """

    blocks: Sequence[tuple[nn.Parameter, int]]
    strength: float

    def before_step(self) -> None:
        """Leave the gradients."""

    @torch.no_grad()
    def after_step(self, optimizer: Optimizer) -> None:
        """Shrink every block's norm towards zero."""
        for weight, dim in self.blocks:
            for _, (step,) in _step_lengths(optimizer, [weight]):
                others = [d for d in range(weight.dim()) if d != dim]
                norm = torch.linalg.vector_norm(weight, dim=others, keepdim=True)
                length = step if isinstance(step, float) else step.mean(dim=others, keepdim=True)
                root = math.sqrt(weight.numel() / weight.shape[dim])
                shrink = self.strength * root * length / norm.clamp_min(1e-12)
                weight.mul_((1 - shrink).clamp_min(0))


def _step_lengths(
    optimizer: Optimizer, weights: Iterable[nn.Parameter]
) -> Iterable[tuple[list[Tensor], list[Any]]]:
    """Give each weight's step length: the learning rate, times Adam's preconditioner if any."""
    wanted = set(weights)
    for group in optimizer.param_groups:
        found = [p for p in group["params"] if p in wanted and p.grad is not None]
        if not found:
            continue
        tensors = [p.detach() for p in found]
        if "betas" not in group:
            yield tensors, [float(group["lr"])] * len(found)
            continue
        states = [optimizer.state[p] for p in found]
        corrections = [1 - group["betas"][1] ** float(state["step"]) for state in states]
        roots = torch._foreach_sqrt([state["exp_avg_sq"] for state in states])
        torch._foreach_div_(roots, [math.sqrt(c) for c in corrections])
        torch._foreach_add_(roots, group["eps"])
        torch._foreach_reciprocal_(roots)
        torch._foreach_mul_(roots, float(group["lr"]))
        yield tensors, list(roots)


def zero_share(weights: Iterable[Tensor], threshold: float = 0.0) -> float:
    """Zeros ÷ elements over all the tensors, where |w| < threshold counts as zero too."""
    zeros = elements = 0
    for weight in weights:
        zeros += int(((weight == 0) | (weight.abs() < threshold)).sum())
        elements += weight.numel()
    return zeros / elements


@torch.no_grad()
def apply_threshold(weights: Iterable[Tensor], threshold: float) -> None:
    """Zero, in place, every weight whose magnitude is below the threshold."""
    for weight in weights:
        weight.masked_fill_(weight.abs() < threshold, 0)
