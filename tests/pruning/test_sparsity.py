"""One step of each penalty, with numbers worked out by hand."""

import math

import pytest
import torch
from torch import Tensor, nn

from secateur.pruning.sparsity import (
    GroupProximal,
    L1Proximal,
    L1Subgradient,
    Penalty,
    apply_threshold,
    zero_share,
)

torch.set_num_threads(1)


def step(
    penalty: Penalty, optimizer: torch.optim.Optimizer, *grads: tuple[Tensor, list[float]]
) -> None:
    for weight, grad in grads:
        weight.grad = torch.tensor(grad).view_as(weight)
    penalty.before_step()
    optimizer.step()
    penalty.after_step(optimizer)


def parameter(*values: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values))


def test_subgradient_adds_strength_times_sign() -> None:
    w, free = parameter(1.0, -2.0, 0.0), parameter(1.0)
    optimizer = torch.optim.SGD([w, free], lr=0.1)
    step(L1Subgradient([w], 0.5), optimizer, (w, [1.0, 0.0, 0.0]), (free, [0.0]))
    # 1 - 0.1·(1 + 0.5); -2 - 0.1·(-0.5); 0
    torch.testing.assert_close(w.detach(), torch.tensor([0.85, -1.95, 0.0]))
    assert free.tolist() == [1.0]


def test_subgradient_passes_over_frozen_weights() -> None:
    w = parameter(1.0)
    L1Subgradient([w], 0.5).before_step()
    assert w.grad is None


def test_proximal_under_sgd_is_the_soft_threshold() -> None:
    w = parameter(1.0, -2.0, 0.03, -0.04)
    optimizer = torch.optim.SGD([w], lr=0.1)
    step(L1Proximal([w], 0.5), optimizer, (w, [1.0, 0.0, 0.0, 0.0]))
    # first 1 - 0.1·1, then every magnitude less 0.1·0.5, at least 0
    torch.testing.assert_close(w.detach(), torch.tensor([0.85, -1.95, 0.0, 0.0]))
    assert (w == 0).tolist() == [False, False, True, True]


def test_proximal_under_adamw_shrinks_by_the_step_of_each_weight() -> None:
    w = parameter(1.0, -1.0, 1.0)
    optimizer = torch.optim.AdamW([w], lr=0.01, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.0)
    grads = [4.0, 0.1, 1.0]
    penalty = L1Proximal([w], 0.5)
    step(penalty, optimizer, (w, grads))
    # At the first step Adam's corrected second moment is g², and its step is lr·sign(g).
    expected = []
    for value, grad in zip([1.0, -1.0, 1.0], grads, strict=True):
        moved = value - 0.01 * math.copysign(1, grad)
        shrink = 0.01 * 0.5 / abs(grad)
        expected.append(math.copysign(max(0.0, abs(moved) - shrink), moved))
    assert expected == pytest.approx([0.98875, -0.96, 0.985], abs=1e-6)
    torch.testing.assert_close(w.detach(), torch.tensor(expected))
    # At the second, v = (0.99·(0.01·g²) + 0.01·h²) / (1 - 0.99²).
    before = w.detach().clone()
    twin = nn.Parameter(before.clone())
    optimizer_state = {k: v.clone() for k, v in optimizer.state[w].items()}
    plain = torch.optim.AdamW([twin], lr=0.01, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.0)
    plain.state[twin] = optimizer_state
    twin.grad = torch.tensor([2.0, 2.0, 2.0])
    plain.step()
    step(penalty, optimizer, (w, [2.0, 2.0, 2.0]))
    for i, grad in enumerate(grads):
        v = (0.99 * 0.01 * grad**2 + 0.01 * 4.0) / (1 - 0.99**2)
        moved = twin[i].item()
        shrunk = math.copysign(abs(moved) - 0.01 * 0.5 / math.sqrt(v), moved)
        assert w[i].item() == pytest.approx(shrunk, abs=1e-6)


def test_group_proximal_takes_whole_blocks() -> None:
    # Filters (3, 4) of norm 5 and (0.3, 0.4) of norm 0.5; √n = √2, lr·λ = 0.5.
    w = nn.Parameter(torch.tensor([[3.0, 4.0], [0.3, 0.4]]))
    optimizer = torch.optim.SGD([w], lr=0.1)
    step(GroupProximal([(w, 0)], 5.0), optimizer, (w, [0.0] * 4))
    left = 1 - 0.5 * math.sqrt(2) / 5
    torch.testing.assert_close(w.detach(), torch.tensor([[3 * left, 4 * left], [0.0, 0.0]]))


def test_group_proximal_reads_slices_of_any_dimension() -> None:
    w = nn.Parameter(torch.tensor([[3.0, 0.3], [4.0, 0.4]]))
    optimizer = torch.optim.SGD([w], lr=0.1)
    step(GroupProximal([(w, 1)], 5.0), optimizer, (w, [0.0] * 4))
    left = 1 - 0.5 * math.sqrt(2) / 5
    torch.testing.assert_close(w.detach(), torch.tensor([[3 * left, 0.0], [4 * left, 0.0]]))


def test_group_proximal_under_adamw_takes_the_mean_step_of_a_block() -> None:
    w = nn.Parameter(torch.tensor([[3.0, 4.0], [1.0, 0.0]]))
    optimizer = torch.optim.AdamW([w], lr=0.01, eps=1e-8, weight_decay=0.0)
    step(GroupProximal([(w, 0)], 2.0), optimizer, (w, [1.0, 0.5, 2.0, 4.0]))
    # AdamW moves every weight by -0.01; steps 0.01/|g|: blocks' means 0.015 and 0.00375.
    first = 1 - 2 * math.sqrt(2) * 0.015 / math.hypot(2.99, 3.99)
    second = 1 - 2 * math.sqrt(2) * 0.00375 / math.hypot(0.99, 0.01)
    expected = [[2.99 * first, 3.99 * first], [0.99 * second, -0.01 * second]]
    torch.testing.assert_close(w.detach(), torch.tensor(expected), atol=1e-6, rtol=0)


def test_zero_share() -> None:
    weights = [torch.tensor([0.0, 1.0, -0.5]), torch.tensor([[0.2]])]
    assert zero_share(weights) == 0.25
    assert zero_share(weights, 0.2) == 0.25
    assert zero_share(weights, 0.5) == 0.5
    assert zero_share(weights, 0.51) == 0.75


def test_apply_threshold_zeroes_what_is_below() -> None:
    w = parameter(0.5, -0.5, 0.49, -0.49, 0.0)
    apply_threshold([w], 0.5)
    assert w.tolist() == [0.5, -0.5, 0.0, 0.0, 0.0]
