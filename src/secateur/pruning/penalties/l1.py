"""The L1 penalty λ·Σ|w|: as a term of the loss, by its subgradient, or by its proximal step."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from secateur.errors import PruningError
from secateur.files.arguments import check_fields, checked
from secateur.pruning.penalties.step_length import held_by, step_lengths


def default_strength(weights: Iterable[Tensor]) -> float:
    """Give the λ at which λ·Σ|w| starts as 0.1, in units of the loss.

    One number for networks of any size would dominate the loss of a large one, or do nothing to a
    small one. 0.1 matters next to a loss of about 1, such as cross-entropy, without dominating it.
    Adam, whose steps grow as gradients shrink, makes weights sparse fast enough even where the
    task is nearly solved.
    """
    return 0.1 / max(float(l1_penalty([weight.detach() for weight in weights])), 1e-30)


@checked
def l1_penalty(weights: nn.Module | Iterable[Tensor]) -> Tensor:
    """Sum the magnitudes, Σ|w|, as a term for a loss.

    For ``loss + strength * l1_penalty(weights)``. Its gradient is the published subgradient,
    sign(w), which makes weights small but few of them exactly zero; ``proximal_step`` makes zeros.

    Args:
        weights: the penalised tensors; or a module, for all of its parameters that train and have
            two dimensions or more, which excludes biases, norms and scales.

    Returns:
        The sum, of shape (), differentiable.

    Raises:
        PruningError: there are no weights.
    """
    if isinstance(weights, nn.Module):
        weights = [p for p in weights.parameters() if p.requires_grad and p.dim() > 1]
    tensors = list(weights)
    if not tensors:
        raise PruningError("there are no weights to penalise; name at least one that trains")
    return torch.stack(torch._foreach_norm(tensors, 1)).sum()


@checked
@torch.no_grad()
def proximal_step(optimizer: Optimizer, weights: Iterable[nn.Parameter], strength: float) -> None:
    """Shrink every weight towards zero: the proximal step of λ·Σ|w|, the soft threshold.

    Call it right after ``optimizer.step()``. A weight becomes ``sign(w)·max(|w| − ηλ, 0)``. η is
    the learning rate; under Adam and its variants it is each weight's own step length,
    ``lr ÷ (√v̂ + ε)``, since otherwise λ would mean something else in every layer. Weights that the
    optimizer does not hold, or that have no gradient, do not change.

    Args:
        optimizer: it has just taken its step.
        weights: the penalised tensors.
        strength: λ, in units of the loss.
    """
    for tensors, steps in step_lengths(optimizer, weights):
        # w minus its part within ±ηλ: exactly 0 where |w| is no larger.
        if isinstance(steps, float):
            inner = torch._foreach_clamp_min(tensors, -steps * strength)
            torch._foreach_clamp_max_(inner, steps * strength)
        else:
            bounds = torch._foreach_mul(steps, strength)
            inner = torch._foreach_minimum(tensors, bounds)
            torch._foreach_neg_(bounds)
            torch._foreach_maximum_(inner, bounds)
        torch._foreach_sub_(tensors, inner)


@dataclass(frozen=True, slots=True)
class L1Subgradient:
    """λ·Σ|w| by its plain subgradient, as published (paper, section 3, step 1).

    Attributes:
        weights: the penalised tensors.
        strength: λ, in units of the loss.
    """

    weights: Sequence[nn.Parameter]
    strength: float

    def __post_init__(self) -> None:
        check_fields(self)

    @torch.no_grad()
    def before_step(self, optimizer: Optimizer | None = None) -> None:
        """Add λ·sign(w) to the gradients."""
        held = None if optimizer is None else held_by(optimizer)
        pairs = [
            (w.grad, w.detach())
            for w in self.weights
            if w.grad is not None and (held is None or w in held)
        ]
        if not pairs:
            return
        grads, weights = zip(*pairs, strict=True)
        signs = torch._foreach_sign(list(weights))
        # A GradScaler hands a fused optimizer scaled gradients and their scale.
        scale = getattr(optimizer, "grad_scale", None)
        if scale is not None:
            torch._foreach_mul_(signs, scale)
        torch._foreach_add_(list(grads), signs, alpha=self.strength)

    def after_step(self, optimizer: Optimizer) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class L1Proximal:
    """λ·Σ|w| by its proximal step, which makes exact zeros: see ``proximal_step``.

    Attributes:
        weights: the penalised tensors.
        strength: λ, in units of the loss; a step shrinks every weight by learning rate × λ.
    """

    weights: Sequence[nn.Parameter]
    strength: float

    def __post_init__(self) -> None:
        check_fields(self)

    def before_step(self, optimizer: Optimizer | None = None) -> None:
        """Do nothing."""

    def after_step(self, optimizer: Optimizer) -> None:
        """Shrink every weight towards zero."""
        proximal_step(optimizer, self.weights, self.strength)
