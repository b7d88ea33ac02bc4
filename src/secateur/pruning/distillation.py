"""Distillation for any training loop: a loss towards the teacher's outputs, added by gradient."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only


@contextmanager
def distilled(student: nn.Module, teacher: nn.Module, weight: float) -> Iterator[None]:
    """Add the distance to a teacher's outputs to whatever loss a training loop uses.

    For every forward pass of the student in training, each floating-point output y gets the
    gradient of ``weight · mean((y − t)²) ÷ mean(t²)`` on top of the loop's own, where t is the
    teacher's output for the same inputs (Hinton et al., 2015; for outputs of any meaning). The loop
    needs no change. A ``GradScaler`` would scale its own gradients but not these.

    Args:
        student: the network that trains inside the context.
        teacher: left as it is; it runs in evaluation mode, on the student's device.
        weight: of the distance beside the loop's loss; 0: none.
    """
    if weight == 0:
        yield
        return
    teacher.eval()

    def pull(_: nn.Module, args: Any, kwargs: Any, outputs: Any) -> Any:
        if not torch.is_grad_enabled() or not student.training:
            return outputs
        device = next(student.parameters()).device
        with torch.no_grad():
            wanted = tree_leaves(teacher.to(device)(*args, **kwargs))
        targets = iter([t for t in wanted if isinstance(t, Tensor)])

        def add(output: Tensor) -> Tensor:
            target = next(targets)
            if not output.requires_grad:
                return output
            pulled: Tensor = _Pull.apply(output, target, weight)
            return pulled

        return tree_map_only(Tensor, add, outputs)

    handle = student.register_forward_hook(pull, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


class _Pull(torch.autograd.Function):
    """The identity, whose backward pass adds the gradient of the distance to a target."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, target: Tensor, weight: float) -> Tensor:
        scale = 2 * weight / (output.numel() * target.square().mean().clamp_min(1e-12))
        ctx.save_for_backward((output - target) * scale)
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (pull,) = ctx.saved_tensors
        return gradient + pull, None, None
