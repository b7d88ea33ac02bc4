"""Reconstruction: rows, equations, the order of solving, and what networks give after it."""

import math

import pytest
import torch
from torch import Tensor, nn

from secateur.pruning.graph.trace import channel_groups
from secateur.pruning.reconstruction.least_squares import (
    DAMPINGS,
    ListedRows,
    SummedRows,
    best_solution,
)
from secateur.pruning.reconstruction.order import solving_order
from secateur.pruning.reconstruction.patches import (
    as_matrix,
    groups_of,
    in_groups,
    input_rows,
    output_rows,
    output_sizes,
    set_matrix,
)
from secateur.pruning.reconstruction.reconstruct import Reconstruction, reconstruct
from secateur.pruning.removal import remove_filters

# ---- rows --------------------------------------------------------------------------------------

LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "1d": (nn.Conv1d(3, 4, 3, stride=2, padding=1), (2, 3, 9)),
    "2d": (nn.Conv2d(3, 4, (3, 2), stride=(1, 2), padding=(2, 1), dilation=(2, 1)), (2, 3, 7, 6)),
    "3d": (nn.Conv3d(2, 3, 2, padding=1), (2, 2, 3, 4, 3)),
    "same": (nn.Conv2d(3, 4, 3, padding="same", dilation=2), (2, 3, 5, 5)),
    "valid": (nn.Conv2d(3, 4, 3, padding="valid"), (2, 3, 5, 5)),
    "reflect": (nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), (2, 3, 5, 5)),
    "circular": (nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), (2, 3, 5, 5)),
    "grouped": (nn.Conv2d(6, 4, 3, groups=2), (2, 6, 5, 5)),
    "depthwise": (nn.Conv2d(4, 8, 3, groups=4, padding=1), (2, 4, 5, 5)),
    "one picture": (nn.Conv2d(3, 4, 3), (3, 5, 5)),
    "transposed": (
        nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1),
        (2, 3, 4, 4),
    ),
    "transposed, wide padding": (nn.ConvTranspose2d(3, 4, 2, padding=2), (2, 3, 5, 5)),
    "transposed, dilated": (nn.ConvTranspose1d(3, 4, 3, stride=3, dilation=2), (2, 3, 5)),
    "transposed, depthwise": (nn.ConvTranspose2d(4, 4, 3, stride=2, groups=4), (2, 4, 3, 3)),
    "transposed, grouped": (nn.ConvTranspose2d(4, 6, 3, groups=2), (2, 4, 3, 3)),
    "linear": (nn.Linear(5, 3), (7, 5)),
    "linear over positions": (nn.Linear(5, 3), (2, 4, 6, 5)),
    "linear, one example": (nn.Linear(5, 3), (5,)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_a_linear_map_of_its_rows(name: str) -> None:
    torch.manual_seed(0)
    layer, shape = LAYERS[name]
    x = torch.randn(shape)
    with torch.no_grad():
        y = layer(x)
    sizes = output_sizes(layer, y)
    positions = torch.randperm(sizes.numel())[:5]
    rows = input_rows(layer, x, sizes, positions)
    groups = groups_of(layer)
    given = rows @ as_matrix(layer) + layer.bias.detach().view(groups, 1, -1)
    torch.testing.assert_close(given, in_groups(output_rows(layer, y, positions), groups))


@pytest.mark.parametrize("name", LAYERS)
def test_weights_go_to_a_matrix_and_back(name: str) -> None:
    layer, _ = LAYERS[name]
    before = layer.weight.detach().clone()
    matrix = as_matrix(layer).clone()
    with torch.no_grad():
        layer.weight.zero_()
    set_matrix(layer, matrix)
    assert torch.equal(layer.weight, before)


def test_output_rows_are_those_of_all_pictures() -> None:
    layer = nn.Conv2d(1, 2, 1)
    output = torch.arange(2 * 2 * 2 * 2.0).view(2, 2, 2, 2)  # picture, channel, row, column
    rows = output_rows(layer, output, torch.tensor([3, 0]))
    assert rows.tolist() == [[3, 7], [0, 4], [11, 15], [8, 12]]


# ---- equations ---------------------------------------------------------------------------------


def obvious(x: Tensor, y: Tensor, weight: Tensor, damping: float) -> tuple[Tensor, Tensor]:
    """Ridge regression towards ``weight`` for one group: the damping is further rows."""
    x, y = x - x.mean(0), y - y.mean(0)
    inputs = x.shape[1]
    unit = math.sqrt(damping * float(x.square().sum()) / inputs)
    rows = torch.cat([x, unit * torch.eye(inputs).double()])
    change = torch.linalg.lstsq(rows, torch.cat([y - x @ weight, torch.zeros(inputs, y.shape[1])]))
    return weight + change.solution, y


@pytest.mark.parametrize("rows", [SummedRows, ListedRows])
@pytest.mark.parametrize("count", [40, 4])
def test_solutions_are_ridge_regressions(
    rows: type[SummedRows] | type[ListedRows], count: int
) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, count, 6).double() + 1
    y = torch.randn(2, count, 3).double()
    weight = torch.randn(2, 6, 3).double()
    system = rows()
    system.add(x[:, :3].float(), y[:, :3].float())
    system.add(x[:, 3:].float(), y[:, 3:].float())
    x, y = x.float().double(), y.float().double()
    first, *solved = system.solutions(weight, bias=True)
    assert torch.equal(first[0], weight)
    torch.testing.assert_close(first[1], y.mean(1, keepdim=True) - x.mean(1, keepdim=True) @ weight)
    assert len(solved) == len(DAMPINGS)
    for damping, (found, bias) in zip(DAMPINGS, solved, strict=True):
        for group in range(2):
            wanted, _ = obvious(x[group], y[group], weight[group], damping)
            torch.testing.assert_close(found[group], wanted, rtol=1e-5, atol=1e-6)
            offset = y[group].mean(0) - x[group].mean(0) @ found[group]
            torch.testing.assert_close(bias[group, 0], offset)


def test_without_a_bias_the_mean_is_not_taken_out() -> None:
    x = torch.tensor([[[1.0], [2.0], [3.0]]])
    for rows in (SummedRows(), ListedRows()):
        rows.add(x, 2 * x + 1)
        *_, (weight, bias) = rows.solutions(torch.zeros(1, 1, 1).double(), bias=False)
        # (1·3 + 2·5 + 3·7) / (1 + 4 + 9 + damping of 14 · 1)
        torch.testing.assert_close(weight.item(), 34 / 28)
        assert bias.item() == 0


def test_held_out_rows_decide_for_each_group() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 50, 3)
    now = torch.ones(2, 3, 1).double()
    good = torch.tensor([[2.0], [0.0], [1.0]])
    rows = SummedRows()
    rows.add(x, torch.stack([x[0] @ good, 100 * torch.randn(50, 1)]))
    # In the second group, what was learnt is noise, and the weights as they are are right.
    held = [(x, torch.stack([x[0] @ good, x[1].sum(1, keepdim=True)]))]
    (weight, _), before, after = best_solution(
        rows, (now, torch.zeros(2, 1, 1).double()), held, bias=True
    )
    torch.testing.assert_close(weight[0], good.double(), rtol=1e-4, atol=1e-4)
    assert torch.equal(weight[1], now[1])
    assert after[0] < 1e-6 < before[0]
    assert float(after[1]) == float(before[1]) < 1e-10


# ---- order -------------------------------------------------------------------------------------


class Branches(nn.Module):
    """a → (b, c) → d; e is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.d, self.e = nn.Conv2d(4, 2, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x).relu_()
        return self.d(self.b(x) + self.c(input=x).relu_())


def test_layers_are_solved_after_those_that_reach_them() -> None:
    model = Branches().requires_grad_(requires_grad=False)
    layers = {name: module for name, module in model.named_modules() if name}
    x = torch.randn(1, 3, 4, 4)
    assert solving_order(model, layers, x) == [["a"], ["b", "c"], ["d"]]
    without_a = {name: layers[name] for name in "bcd"}
    assert solving_order(model, without_a, x) == [["b", "c"], ["d"]]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


# ---- networks ----------------------------------------------------------------------------------


def cut(
    model: nn.Module, kept: dict[str, list[int]], batches: list[Tensor]
) -> tuple[nn.Module, Reconstruction]:
    graph = channel_groups(model, batches[0])
    chosen = {name: torch.tensor(indices) for name, indices in kept.items()}
    slim = remove_filters(model, graph, chosen)
    return slim, reconstruct(model, slim, graph, chosen, batches)


def pictures(seed: int = 0, count: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(4, 3, 6, 6, generator=generator) for _ in range(count)]


def same_filters(layer: nn.Conv2d, copies: dict[int, int]) -> None:
    with torch.no_grad():
        for to, source in copies.items():
            layer.weight[to] = layer.weight[source]
            if layer.bias is not None:
                layer.bias[to] = layer.bias[source]


def test_what_the_others_can_give_is_not_lost() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 5, 3, stride=2, padding=1, padding_mode="reflect"),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(45, 4),
    ).eval()
    same_filters(model[0], {4: 1, 5: 2})
    same_filters(model[2], {3: 0, 4: 1})
    slim, found = cut(model, {"0": [0, 1, 2, 3], "2": [0, 1, 2]}, pictures(count=40))
    (x,) = pictures(1, 1)
    torch.testing.assert_close(slim(x), model(x), rtol=1e-3, atol=1e-3)
    assert found.skipped == {}
    for before, after in found.errors.values():
        assert after < 1e-5 < before


def test_a_batch_norm_moves_by_what_a_layer_without_bias_cannot() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1, bias=False), nn.BatchNorm2d(2)
    ).eval()
    with torch.no_grad():
        model[0].weight[3] = 0
        model[0].bias[3] = 2.0  # channel 3 is 2 everywhere: a bias of the next layer
        model[3].running_var.copy_(torch.tensor([0.5, 2.0]))
    slim, _ = cut(model, {"0": [0, 1, 2]}, pictures())
    (x,) = pictures(1, 1)
    torch.testing.assert_close(slim(x), model(x), rtol=1e-3, atol=1e-3)
    moved = slim[3].running_mean - model[3].running_mean
    torch.testing.assert_close(moved, -2 * model[2].weight[:, 3, 0, 0], rtol=1e-3, atol=1e-3)


class Mixed(nn.Module):
    """Every kind of reader: two of one map, a residual, depthwise, grouped, transposed, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.left = nn.Conv2d(8, 8, 3, padding=1)
        self.right = nn.Conv2d(8, 8, 1, bias=False)
        self.depth = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.point = nn.Conv2d(8, 8, 1)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=2)
        self.last = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        x = (self.left(x) + self.right(x)).relu()
        x = self.point(self.depth(x).relu()).relu()
        return self.last(self.up(self.grouped(x).relu()).relu().mean((2, 3)))


def test_no_kind_of_reader_is_worse_than_before() -> None:
    torch.manual_seed(0)
    model = Mixed().train().requires_grad_(requires_grad=False)
    graph = channel_groups(model, pictures()[0])
    half = {name: list(range(0, group.channels, 2)) for name, group in graph.prunable().items()}
    before = {name: value.clone() for name, value in model.state_dict().items()}
    slim, found = cut(model, half, pictures(count=20))
    readers = {"left", "right", "depth", "point", "grouped", "up", "last"}
    assert set(found.errors) == readers, found.skipped
    for name, (old, new) in found.errors.items():
        assert new <= old, name
    model.eval(), slim.eval()
    x = torch.cat(pictures(1, 10))
    chosen = {name: torch.tensor(kept) for name, kept in half.items()}
    plain = remove_filters(model, graph, chosen).eval()
    wanted = model(x)
    assert (slim(x) - wanted).square().mean() < 0.5 * (plain(x) - wanted).square().mean()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize(
    "batches",
    [
        [torch.randn(1, 3, 6, 6)],
        [torch.zeros(2, 3, 6, 6)],
        [torch.full((2, 3, 6, 6), math.nan)],
        [torch.full((2, 3, 6, 6), 1e38)],
        [],
    ],
    ids=["one picture", "constant", "nan", "huge", "none"],
)
def test_pictures_that_tell_nothing_leave_finite_weights(batches: list[Tensor]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2)
    )
    graph = channel_groups(model, torch.zeros(1, 3, 6, 6))
    kept = {"0": torch.tensor([0, 2]), "2": torch.tensor([1, 3])}
    slim = remove_filters(model, graph, kept)
    found = reconstruct(model, slim, graph, kept, batches)
    assert all(bool(value.isfinite().all()) for value in slim.state_dict().values())
    for before, after in found.errors.values():
        assert after <= before


class Functional(nn.Module):
    """A convolution without a module of its own, and one whose module is not called."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)
        self.filters = nn.Parameter(torch.randn(4, 4, 1, 1))
        self.last = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.conv2d(self.first(x), self.filters)
        return nn.functional.conv2d(x, self.last.weight, self.last.bias)


def test_what_cannot_be_solved_is_named() -> None:
    slim, found = cut(Functional(), {"first": [0, 1], "filters": [1, 2]}, pictures())
    assert found.errors == {}
    assert found.skipped == {
        "filters": "neither a convolution nor a linear layer",
        "last": "no call of its module",
    }
    assert slim.last.weight.shape == (2, 2, 1, 1)


def test_a_layer_with_more_inputs_than_rows() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Flatten(), nn.Linear(288, 2)).eval()
    same_filters(model[0], {4: 0, 5: 1, 6: 2, 7: 3})
    _, found = cut(model, {"0": [0, 1, 2, 3]}, pictures(count=5))
    before, after = found.errors["3"]
    assert after < 0.9 * before
