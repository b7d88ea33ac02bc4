"""One step of each penalty, with numbers worked out by hand."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from secateur.errors import PruningError
from secateur.pruning.graph.trace import channel_groups
from secateur.pruning.penalties.group import GroupProximal, group_proximal_step
from secateur.pruning.penalties.l1 import (
    L1Proximal,
    L1Subgradient,
    default_strength,
    l1_penalty,
    proximal_step,
)
from secateur.pruning.penalties.penalty import Penalties, Penalty
from secateur.pruning.penalties.scales import penalize_scales
from secateur.pruning.penalties.table import make_penalty
from secateur.pruning.sparsity import (
    Blocks,
    apply_threshold,
    prunable_blocks,
    prunable_weights,
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
    step(GroupProximal([Blocks(w, 0)], 5.0), optimizer, (w, [0.0] * 4))
    left = 1 - 0.5 * math.sqrt(2) / 5
    torch.testing.assert_close(w.detach(), torch.tensor([[3 * left, 4 * left], [0.0, 0.0]]))


def test_group_proximal_reads_slices_of_any_dimension() -> None:
    w = nn.Parameter(torch.tensor([[3.0, 0.3], [4.0, 0.4]]))
    optimizer = torch.optim.SGD([w], lr=0.1)
    step(GroupProximal([Blocks(w, 1)], 5.0), optimizer, (w, [0.0] * 4))
    left = 1 - 0.5 * math.sqrt(2) / 5
    torch.testing.assert_close(w.detach(), torch.tensor([[3 * left, 0.0], [4 * left, 0.0]]))


def test_group_proximal_takes_filters_before_slices_and_each_slice_once() -> None:
    # As of a weight that makes one group and reads two: its slices are named twice.
    w = nn.Parameter(torch.tensor([[3.0, 4.0], [6.0, 8.0]]))
    optimizer = torch.optim.SGD([w], lr=0.1)
    step(GroupProximal([Blocks(w, 0), Blocks(w, 1), Blocks(w, 1)], 5.0), optimizer, (w, [0.0] * 4))
    shrink = 0.5 * math.sqrt(2)
    upper, lower = 1 - shrink / 5, 1 - shrink / 10
    left = [1 - shrink / math.hypot(c * upper, 2 * c * lower) for c in (3, 4)]
    expected = [
        [3 * upper * left[0], 4 * upper * left[1]],
        [6 * lower * left[0], 8 * lower * left[1]],
    ]
    torch.testing.assert_close(w.detach(), torch.tensor(expected))


def test_group_proximal_takes_a_channel_of_several_positions_as_one_block() -> None:
    """As after a flattened map: channels 0 and 1 have two positions each, 2 has one."""
    w = nn.Parameter(torch.tensor([[3.0, 4.0, 0.3, 0.4, 1.0]]))
    optimizer = torch.optim.SGD([w], lr=0.1)
    blocks = Blocks(w, 1, torch.tensor([0, 0, 2, 2, 4]))
    step(GroupProximal([blocks], 5.0), optimizer, (w, [0.0] * 5))
    left = 1 - 0.5 * math.sqrt(2) / 5
    torch.testing.assert_close(w.detach(), torch.tensor([[3 * left, 4 * left, 0.0, 0.0, 0.5]]))


def test_group_proximal_of_several_positions_under_adamw() -> None:
    w = nn.Parameter(torch.tensor([[3.0, 4.0], [1.0, 1.0]]))
    optimizer = torch.optim.AdamW([w], lr=0.01, eps=1e-8, weight_decay=0.0)
    blocks = Blocks(w, 1, torch.tensor([0, 0]))
    step(GroupProximal([blocks], 2.0), optimizer, (w, [1.0, 0.5, 2.0, 4.0]))
    # AdamW moves every weight by -0.01; steps 0.01/|g|, of the one block 0.009375 in the mean.
    moved = torch.tensor([[2.99, 3.99], [0.99, 0.99]])
    left = 1 - 2 * math.sqrt(4) * 0.009375 / float(moved.norm())
    torch.testing.assert_close(w.detach(), moved * left)


def test_blocks_behind_a_flattened_map_are_channels() -> None:
    net = nn.Sequential(nn.Conv2d(1, 3, 1), nn.Flatten(), nn.Linear(3 * 4, 2))
    graph = channel_groups(net, torch.zeros(1, 1, 2, 2))
    first, second = prunable_blocks(net, graph)
    assert (first.dim, first.block) == (0, None)
    assert second.dim == 1
    assert second.block is not None
    assert second.block.tolist() == [0] * 4 + [4] * 4 + [8] * 4


def test_an_optimiser_that_counts_its_steps_elsewhere_gives_its_learning_rate() -> None:
    w = nn.Parameter(torch.ones(2))
    w.grad = torch.zeros(2)
    optimizer = torch.optim.SGD([w], lr=0.1)
    optimizer.state[w] = {"exp_avg_sq": torch.ones(2)}
    proximal_step(optimizer, [w], 1.0)
    assert w.tolist() == pytest.approx([0.9, 0.9])


def test_group_proximal_under_adamw_takes_the_mean_step_of_a_block() -> None:
    w = nn.Parameter(torch.tensor([[3.0, 4.0], [1.0, 0.0]]))
    optimizer = torch.optim.AdamW([w], lr=0.01, eps=1e-8, weight_decay=0.0)
    step(GroupProximal([Blocks(w, 0)], 2.0), optimizer, (w, [1.0, 0.5, 2.0, 4.0]))
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


def test_a_threshold_in_units_of_each_tensor() -> None:
    weights = [torch.tensor([0.0, 1.0, -3.0, 4.0]), torch.tensor([[0.25, -0.75]])]
    units = [2.0, 0.5]
    # 1.5 units are 3 and 0.75, and what is as large stays.
    assert zero_share(weights, 1.5, units) == 3 / 6
    assert zero_share(weights, 1.6, units) == 5 / 6
    assert zero_share(weights, 0.0, units) == 1 / 6
    assert zero_share(weights, 1.5, [1.0, 1.0]) == zero_share(weights, 1.5) == 4 / 6
    apply_threshold(weights, 1.5, units)
    assert [w.tolist() for w in weights] == [[0.0, 0.0, -3.0, 4.0], [[0.0, -0.75]]]
    assert zero_share(weights) == 3 / 6
    apply_threshold(weights, 1.5)
    assert [w.tolist() for w in weights] == [[0.0, 0.0, -3.0, 4.0], [[0.0, 0.0]]]


# ---- functions for a loop of one's own ---------------------------------------------------------


def chain() -> nn.Sequential:
    """Two layers that can lose filters and one that makes the output: 0, 2 and 3."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)]
    return nn.Sequential(*layers)


def test_l1_penalty_and_its_gradient() -> None:
    a, b = parameter(1.0, -2.0, 0.0), nn.Parameter(torch.tensor([[3.0, -4.0]]))
    penalty = l1_penalty([a, b])
    assert penalty.item() == 10.0
    (0.5 * penalty).backward()
    assert a.grad is not None
    assert b.grad is not None
    assert a.grad.tolist() == [0.5, -0.5, 0.0]
    assert b.grad.tolist() == [[0.5, -0.5]]


def test_l1_penalty_of_a_module_is_of_its_weights_that_train() -> None:
    net = nn.Sequential(nn.Linear(1, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))
    with torch.no_grad():
        for tensor in net.parameters():
            tensor.fill_(-2.0)
    assert l1_penalty(net).item() == 8.0
    net[0].requires_grad_(requires_grad=False)
    assert l1_penalty(net).item() == 4.0
    net[2].requires_grad_(requires_grad=False)
    with pytest.raises(PruningError, match="no weights to penalise"):
        l1_penalty(net)


def test_default_strength() -> None:
    assert default_strength([parameter(1.0, -2.0), parameter(-3.0)]) == pytest.approx(0.1 / 6)


def test_steps_leave_what_the_optimiser_does_not_hold_or_move() -> None:
    w, other, still = parameter(1.0), parameter(1.0), parameter(1.0)
    optimizer = torch.optim.SGD([w, still], lr=0.1)
    w.grad, other.grad = torch.zeros(1), torch.zeros(1)
    proximal_step(optimizer, [w, other, still], 1.0)
    assert [x.item() for x in (w, other, still)] == pytest.approx([0.9, 1.0, 1.0])
    group_proximal_step(optimizer, [Blocks(w, 0), Blocks(other, 0), Blocks(still, 0)], 1.0)
    assert [x.item() for x in (w, other, still)] == pytest.approx([0.8, 1.0, 1.0])


def test_prunable_weights_make_or_read_what_may_go() -> None:
    net = chain()
    graph = channel_groups(net, torch.zeros(1, 1, 2, 2))
    first, second, third = net[0].weight, net[2].weight, net[3].weight

    def ids(weights: list[nn.Parameter]) -> list[int]:
        return [id(weight) for weight in weights]

    assert ids(prunable_weights(net, graph)) == ids([first, second, third])
    assert ids(prunable_weights(net, graph, ["0"])) == ids([first, second])
    blocks = prunable_blocks(net, graph)
    assert [each.dim for each in blocks] == [0, 1, 0, 1]
    assert all(each.block is None for each in blocks)
    assert ids([each.weight for each in blocks]) == ids([first, second, second, third])
    net[2].requires_grad_(requires_grad=False)
    assert ids(prunable_weights(net, graph)) == ids([first, third])
    net.requires_grad_(requires_grad=False)
    with pytest.raises(PruningError, match=r"every weight .* is frozen"):
        prunable_weights(net, graph)
    with pytest.raises(PruningError, match="the graph is of a module inside this one"):
        prunable_weights(nn.Sequential(chain()), graph)


def test_penalty_that_is_none() -> None:
    net = chain()
    graph = channel_groups(net, torch.zeros(1, 1, 2, 2))
    with pytest.raises(
        PruningError, match="no penalty 'l2'; take proximal, subgradient, norm_scale"
    ):
        make_penalty(net, graph, kind="l2")  # type: ignore[arg-type]
    with pytest.raises(PruningError, match="0 or more"):
        make_penalty(net, graph, strength=-1.0)


def test_penalty_on_the_scales_of_batch_norms() -> None:
    net = chain()
    graph = channel_groups(net, torch.zeros(1, 1, 2, 2))
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([1.0, -2.0, 0.0]))
    before = copy.deepcopy(net.state_dict())
    # The second layer has no batch norm, and is passed over.
    penalty = penalize_scales(net, graph, ["0", "2"], 0.5)
    assert list(penalty.weights) == ["1.weight"]
    assert penalty.weights["1.weight"] is net[1].weight
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    penalty.attach(optimizer)
    for tensor in net.parameters():
        tensor.grad = torch.zeros_like(tensor)
    optimizer.step()
    # λ·|γ| by its subgradient: 1 - 0.1·0.5, -2 + 0.1·0.5, 0.
    torch.testing.assert_close(net[1].weight.detach(), torch.tensor([0.95, -1.95, 0.0]))
    for name, tensor in net.state_dict().items():
        assert name == "1.weight" or torch.equal(tensor, before[name]), name
    with pytest.raises(PruningError, match="no batch norm whose scales could become zero"):
        penalize_scales(net, graph, ["2"], 0.5)


# ---- attached to an optimiser ------------------------------------------------------------------

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
    "fused": lambda p: torch.optim.AdamW(p, lr=0.01, fused=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01),
}


def loss_of(net: nn.Module, number: int) -> Tensor:
    x = torch.randn(2, 1, 2, 2, generator=torch.Generator().manual_seed(number))
    return net(x).square().mean()


@pytest.mark.parametrize("kind", ["proximal", "subgradient"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_attached_does_what_the_calls_do(name: str, kind: str) -> None:
    nets = [chain() for _ in range(3)]
    graph = channel_groups(nets[0], torch.zeros(1, 1, 2, 2))
    before = copy.deepcopy(nets[0].state_dict())
    called, attached, by_closure = (
        make_penalty(net, graph, kind=kind, strength=0.05, group_strength=0.01)  # type: ignore[arg-type]
        for net in nets
    )
    optimizers = [OPTIMIZERS[name](net.parameters()) for net in nets]
    attached.attach(optimizers[1])
    attached.attach(optimizers[1])  # changes nothing
    by_closure.attach(optimizers[2])
    for number in range(3):
        loss_of(nets[0], number).backward()
        called.before_step()
        optimizers[0].step()
        called.after_step(optimizers[0])

        loss_of(nets[1], number).backward()
        optimizers[1].step()

        def closure(number: int = number) -> float:
            optimizers[2].zero_grad()
            loss = loss_of(nets[2], number)
            loss.backward()
            return float(loss.detach())

        value = optimizers[2].step(closure) if number % 2 else optimizers[2].step(closure=closure)
        assert isinstance(value, float)
        for optimizer in optimizers:
            optimizer.zero_grad()
    states = [net.state_dict() for net in nets]
    for key, tensor in states[0].items():
        assert torch.equal(tensor, states[1][key]), key
        assert torch.equal(tensor, states[2][key]), key
    assert not torch.equal(states[0]["0.weight"], before["0.weight"])
    assert [penalty.steps for penalty in (called, attached, by_closure)] == [3, 3, 3]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_without_penalties_and_after_detaching_training_is_plain(name: str) -> None:
    plain, nothing, detached = (chain() for _ in range(3))
    optimizers = [OPTIMIZERS[name](net.parameters()) for net in (plain, nothing, detached)]
    Penalties().attach(optimizers[1])
    graph = channel_groups(detached, torch.zeros(1, 1, 2, 2))
    penalty = make_penalty(detached, graph, strength=1.0)
    penalty.attach(optimizers[2])
    penalty.detach()
    for net, optimizer in zip((plain, nothing, detached), optimizers, strict=True):
        loss_of(net, 0).backward()
        optimizer.step()
    for key, tensor in plain.state_dict().items():
        assert torch.equal(tensor, nothing.state_dict()[key]), key
        assert torch.equal(tensor, detached.state_dict()[key]), key


def test_several_optimisers_each_see_their_own_weights() -> None:
    a, b = parameter(1.0), parameter(-1.0)
    penalty = Penalties([L1Subgradient([a, b], 0.5)], {"a": a, "b": b})
    optimizers = [torch.optim.SGD([w], lr=0.1) for w in (a, b)]
    for optimizer in optimizers:
        penalty.attach(optimizer)
    a.grad, b.grad = torch.zeros(1), torch.zeros(1)
    for optimizer in optimizers:
        optimizer.step()
    assert (a.item(), b.item()) == pytest.approx((0.95, -0.95))


def test_subgradient_follows_the_scale_of_a_fused_optimisers_gradients() -> None:
    w = parameter(1.0)
    optimizer = torch.optim.SGD([w], lr=0.1)
    optimizer.grad_scale = torch.tensor(8.0)  # as GradScaler sets it
    w.grad = torch.zeros(1)
    L1Subgradient([w], 0.5).before_step(optimizer)
    assert w.grad.tolist() == [4.0]


def test_attaching_to_another_networks_optimiser() -> None:
    net = chain()
    penalty = make_penalty(net, channel_groups(net, torch.zeros(1, 1, 2, 2)))
    with pytest.raises(PruningError, match="holds none of the penalised weights"):
        penalty.attach(torch.optim.SGD(chain().parameters(), lr=0.1))
    assert not penalty.attached


def test_unreached_are_those_without_gradient_or_optimiser() -> None:
    a, b, c = parameter(1.0), parameter(1.0), parameter(1.0)
    penalty = Penalties([L1Proximal([a, b, c], 0.1)], {"a": a, "b": b, "c": c})
    optimizer = torch.optim.SGD([a, b], lr=0.1)
    penalty.attach(optimizer)
    assert penalty.unreached == ("a", "b", "c")
    a.grad, c.grad = torch.zeros(1), torch.zeros(1)
    optimizer.step()
    assert penalty.unreached == ("b", "c")
    b.grad = torch.zeros(1)
    optimizer.step()
    assert penalty.unreached == ("c",)


def test_a_wrapped_optimiser_is_unwrapped() -> None:
    w = parameter(1.0)
    optimizer = torch.optim.SGD([w], lr=0.1)

    class Wrapper:
        def __init__(self) -> None:
            self.optimizer = optimizer

    penalty = Penalties([L1Proximal([w], 1.0)], {"w": w})
    penalty.attach(Wrapper())  # type: ignore[arg-type]
    w.grad = torch.zeros(1)
    optimizer.step()
    assert w.item() == pytest.approx(0.9)
