"""How far an optimizer moves each weight in a step, which a proximal step follows."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def held_by(optimizer: Optimizer) -> set[Tensor]:
    """The parameters that an optimizer holds."""
    return {parameter for group in optimizer.param_groups for parameter in group["params"]}


def step_lengths(
    optimizer: Optimizer, weights: Iterable[nn.Parameter]
) -> Iterable[tuple[list[Tensor], float | list[Tensor]]]:
    """Give each weight's step length: the learning rate, over Adam's preconditioner if any."""
    wanted = set(weights)
    for group in optimizer.param_groups:
        found: list[Tensor] = [p for p in group["params"] if p in wanted and p.grad is not None]
        if not found:
            continue
        states = [optimizer.state[p] for p in found]
        # Some count their steps elsewhere, and follow the learning rate.
        if "betas" not in group or not all(
            {"exp_avg_sq", "step"} <= state.keys() for state in states
        ):
            yield found, float(group["lr"])
            continue
        # Fused optimisers count their steps on the device: read together, they wait for it once.
        counts = torch.stack([torch.as_tensor(state["step"]) for state in states]).tolist()
        roots = torch._foreach_sqrt([state["exp_avg_sq"] for state in states])
        torch._foreach_div_(roots, [math.sqrt(1 - group["betas"][1] ** n) for n in counts])
        torch._foreach_add_(roots, group["eps"])
        torch._foreach_reciprocal_(roots)
        torch._foreach_mul_(roots, float(group["lr"]))
        yield found, list(roots)
