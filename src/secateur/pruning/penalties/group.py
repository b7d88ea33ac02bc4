"""The group penalty λ·Σ√n‖block‖₂, which drives whole blocks F_i and G_i to zero together."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from secateur.files.arguments import check_fields, checked
from secateur.pruning.penalties.step_length import step_lengths
from secateur.pruning.sparsity import Blocks


@checked
@torch.no_grad()
def group_proximal_step(optimizer: Optimizer, blocks: Sequence[Blocks], strength: float) -> None:
    """Shrink every block's norm towards zero: the proximal step of λ·Σ√n‖block‖₂, block by block.

    Call it right after ``optimizer.step()``. Whole filters, and whole slices that read a channel,
    become zero together. √n, for n the elements of a block, makes blocks of different
    shapes comparable (Yuan and Lin, 2006). The step length is that of ``proximal_step``, and under
    Adam the mean of it over a block.

    Args:
        optimizer: it has just taken its step.
        blocks: as ``prunable_blocks`` gives them.
        strength: λ, in units of the loss.
    """
    lengths: dict[Tensor, float | Tensor] = {}
    for tensors, steps in step_lengths(optimizer, [each.weight for each in blocks]):
        each = [steps] * len(tensors) if isinstance(steps, float) else steps
        lengths.update(zip(tensors, each, strict=True))
    waiting = [each for each in blocks if each.weight in lengths]
    while waiting:  # filters and slices of one weight in separate turns
        turn: dict[nn.Parameter, Blocks] = {}
        waiting = [some for some in waiting if turn.setdefault(some.weight, some).dim != some.dim]
        _shrink_blocks([*turn.values()], lengths, strength)


def _shrink_blocks(
    blocks: Sequence[Blocks], lengths: Mapping[Tensor, float | Tensor], strength: float
) -> None:
    """Shrink one set of blocks of each weight, with as few calls as possible."""
    shares: list[float] = []
    keep, adapted, means = [], [], []
    for weight, dim, block in blocks:
        length = lengths[weight]
        others = [d for d in range(weight.dim()) if d != dim]
        norm = torch.linalg.vector_norm(weight, dim=others, keepdim=True)
        root = math.sqrt(weight.numel() / weight.shape[dim])
        mean = None if isinstance(length, float) else length.mean(dim=others, keepdim=True)
        if block is not None:
            norm, mean = _of_whole_blocks(norm, mean, block.to(norm.device))
        keep.append(norm)
        shares.append(-strength * root * (length if isinstance(length, float) else 1.0))
        if mean is not None:
            adapted.append(norm)
            means.append(mean)
    # 1 − λ√n·η ÷ norm, at least 0
    torch._foreach_clamp_min_(keep, 1e-12)
    torch._foreach_reciprocal_(keep)
    torch._foreach_mul_(keep, shares)
    if means:
        torch._foreach_mul_(adapted, means)
    torch._foreach_add_(keep, 1.0)
    torch._foreach_clamp_min_(keep, 0.0)
    for each, share in zip(blocks, keep, strict=True):
        each.weight.mul_(share)


def _of_whole_blocks(
    norm: Tensor, mean: Tensor | None, block: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Turn norms and means of positions into those of the blocks that they belong to.

    A norm is divided by √m for the m positions of its block, which is the rest of its √n.
    """
    count = torch.bincount(block, minlength=len(block)).clamp_min(1)

    def mean_of(values: Tensor) -> Tensor:
        summed = torch.zeros_like(values.flatten()).index_add_(0, block, values.flatten())
        return (summed / count)[block].view_as(values)

    return mean_of(norm.square()).sqrt(), None if mean is None else mean_of(mean)


@dataclass(frozen=True, slots=True)
class GroupProximal:
    """λ·Σ√n‖block‖₂ over the blocks F_i and G_i: see ``group_proximal_step``.

    Attributes:
        blocks: as ``prunable_blocks`` gives them.
        strength: λ, in units of the loss.
    """

    blocks: Sequence[Blocks]
    strength: float

    def __post_init__(self) -> None:
        check_fields(self)

    def before_step(self, optimizer: Optimizer | None = None) -> None:
        """Do nothing."""

    def after_step(self, optimizer: Optimizer) -> None:
        """Shrink every block's norm towards zero."""
        group_proximal_step(optimizer, self.blocks, self.strength)
