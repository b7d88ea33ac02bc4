"""Width steps by tables written down, and measured on a runtime and a clock that are not real."""

from collections.abc import Callable, Mapping

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from secateur.errors import BudgetError
from secateur.pruning.graph.trace import channel_groups
from secateur.pruning.selection.levels import Choice
from secateur.pruning.selection.measured_rounding import (
    WidthSteps,
    best_step,
    check_runtime,
    measure_width_steps,
    select_within_reach,
    widths_to_time,
)

torch.set_num_threads(1)


def in_blocks(width: int, block: int) -> int:
    return -(-width // block) * block


@pytest.mark.parametrize(
    ("times", "step"),
    [
        ({4: 4.0, 5: 5.0, 6: 6.0, 7: 7.0, 8: 8.0}, 1),
        ({4: 8.0, 5: 8.0, 6: 8.0, 7: 8.0, 8: 8.0}, 1),  # one multiple of 8 says nothing
        ({8: 8.0, 9: 16.0, 12: 16.0, 16: 16.0}, 8),
        ({8: 8.0, 9: 12.0, 12: 12.0, 16: 16.0}, 4),
        ({16: 16.0, 20: 32.0, 24: 32.0, 28: 32.0, 32: 32.0, 19: 32.0}, 16),
        # Odd widths take 4 % longer: the mean of all is 2 % above that of the multiples of 4.
        ({4: 4.0, 8: 8.0, 5: 5.199, 7: 7.279}, 1),
        ({4: 4.0, 8: 8.0, 5: 5.21, 7: 7.29}, 4),
        ({8: 1.0}, 1),
        ({}, 1),
    ],
)
def test_best_step(times: dict[int, float], step: int) -> None:
    assert best_step(times) == step


def test_widths_to_time() -> None:
    assert widths_to_time(64, 1) == []
    assert widths_to_time(7, 7) == []
    assert widths_to_time(8, 5) == [4, 5, 6, 7, 8]
    assert widths_to_time(64, 3) == [4, 5, 6, 7, 8]
    assert widths_to_time(64, 5) == list(range(8, 17))
    assert widths_to_time(31, 31) == list(range(16, 25))
    assert widths_to_time(64, 13) == [16, 19, 20, 22, 24, 25, 28, 31, 32]
    wide = widths_to_time(256, 200)
    assert (wide[0], wide[-1], len(wide)) == (192, 224, 17)
    assert {width % 4 for width in wide} == {0, 1, 2, 3}


@given(
    channels=st.integers(1, 600),
    share=st.floats(0, 1),
    always=st.floats(0, 1000),
    block=st.sampled_from([1, 4, 8, 16, 32]),
)
def test_only_blocks_speak_for_a_step(
    channels: int, share: float, always: float, block: int
) -> None:
    widths = widths_to_time(channels, max(1, round(share * channels)))
    assert not widths or widths[-1] <= channels
    # However long a layer takes whatever its width, that speaks for no step.
    assert best_step({width: always + width for width in widths}) == 1
    # And blocks do, where a filter more or less shows: of a wide layer, 2 % are some filters.
    if widths and widths[0] <= 16 and block <= widths[-1] - widths[0]:
        assert best_step({width: float(in_blocks(width, block)) for width in widths}) == block


class Machine:
    """A runtime whose layers take what ``cost`` says of their filters, and its clock."""

    def __init__(self, cost: Callable[[int], float]) -> None:
        self.now = 0.0
        self.cost = cost
        self.compiled: list[tuple[nn.Module, tuple[int, ...], str]] = []
        self.order: list[int] = []

    def clock(self) -> float:
        return self.now

    def compile(self, module: nn.Module, example: Tensor, runtime: str) -> Callable[[], None]:
        self.compiled.append((module, tuple(example.shape), runtime))
        filters = module(example).shape[1]

        def run() -> None:
            self.order.append(filters)
            self.now += self.cost(filters)

        return run


class Net(nn.Module):
    """Two convolutions alike, one with a stride, a transposed one, followed by linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 20, 3, padding=1, bias=False)
        self.one = nn.Conv2d(20, 20, 3, padding=1)
        self.two = nn.Conv2d(20, 20, 3, padding=1)
        self.down = nn.Conv2d(20, 16, 5, stride=2, dilation=2, padding=4)
        self.turned = nn.ConvTranspose2d(16, 16, 1)
        self.hidden = nn.Linear(16 * 9, 24)
        self.out = nn.Linear(24, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.two(self.one(self.stem(x)).relu()).relu()
        x = self.turned(self.down(x)).flatten(1)
        return self.out(self.hidden(x))


def measured(machine: Machine, expected: Mapping[str, int]) -> WidthSteps:
    net = Net()
    graph = channel_groups(net, torch.zeros(1, 3, 6, 6))
    return measure_width_steps(
        net,
        torch.zeros(1, 3, 6, 6),
        graph,
        expected,
        runtime="openvino",
        compile_layer=machine.compile,
        clock=machine.clock,
    )


def test_layers_are_timed_as_they_are_met() -> None:
    machine = Machine(lambda filters: in_blocks(filters, 8) * 1e-4)
    expected = {"stem": 9, "one": 9, "two": 9, "turned": 8, "hidden": 12}
    found = measured(machine, expected)
    assert found.steps == {"stem": 8, "one": 8, "two": 8, "turned": 1, "hidden": 8}
    widths = list(range(8, 17))
    assert {name: list(times) for name, times in found.times.items()} == {
        "stem": widths,
        "one": widths,
        "two": widths,
        "hidden": widths,
    }
    assert found.times["one"][9] == pytest.approx(16e-4)
    # one and two are alike and timed once; turned is of a kind that is not timed.
    layers = machine.compiled[:: len(widths)]
    assert len(machine.compiled) == 3 * len(widths)
    assert {runtime for _, _, runtime in machine.compiled} == {"openvino"}
    stem, one, hidden = (layer for layer, _, _ in layers)
    assert isinstance(stem, nn.Conv2d)
    assert (stem.in_channels, stem.kernel_size, stem.bias) == (3, (3, 3), None)
    assert isinstance(one, nn.Conv2d)
    # Of 20 inputs 9 will be left: 16. Of 16 × 9 that hidden reads, 8 × 9: 80.
    assert (one.in_channels, one.padding, one.bias is None) == (16, (1, 1), False)
    assert isinstance(hidden, nn.Linear)
    assert [shape for _, shape, _ in layers] == [(1, 3, 6, 6), (1, 16, 6, 6), (1, 80)]


def test_settings_of_a_convolution_are_kept() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=2, dilation=2, padding=4, padding_mode="reflect"),
        nn.Conv2d(8, 2, 1),
    )
    x = torch.zeros(1, 3, 9, 9)
    machine = Machine(lambda filters: filters * 1e-4)
    before = torch.get_rng_state()
    found = measure_width_steps(
        net,
        x,
        channel_groups(net, x),
        {"0": 5},
        runtime="torch",
        compile_layer=machine.compile,
        clock=machine.clock,
    )
    assert torch.equal(before, torch.get_rng_state())
    assert found.steps == {"0": 1}
    assert net.training
    layer = machine.compiled[0][0]
    assert isinstance(layer, nn.Conv2d)
    assert not layer.training
    assert (layer.stride, layer.dilation, layer.padding) == ((2, 2), (2, 2), (4, 4))
    assert (layer.kernel_size, layer.padding_mode, layer.out_channels) == ((5, 5), "reflect", 4)


def test_widths_take_turns_and_the_median_counts() -> None:
    runs = iter(range(10**9))
    # Every fifth run is disturbed.
    machine = Machine(lambda filters: filters * 1e-4 * (50 if next(runs) % 5 == 0 else 1))
    found = measured(machine, {"stem": 9})
    assert found.steps == {"stem": 1}
    assert found.times["stem"][8] == pytest.approx(8e-4)
    turns = [machine.order[i : i + 9] for i in range(0, len(machine.order), 9)]
    assert turns == [list(range(8, 17))] * len(turns)
    assert len(turns) >= 2 + 7


def test_a_slow_layer_is_timed_a_few_times_only() -> None:
    machine = Machine(lambda filters: filters * 1.0)
    measured(machine, {"stem": 9})
    assert len(machine.order) == 9 * (2 + 7)


def test_coarse_steps_give_way_to_the_budget() -> None:
    def choosing(most: int) -> Callable[[Mapping[str, int]], Choice]:
        def choose(steps: Mapping[str, int]) -> Choice:
            if max(steps.values()) > most:
                raise BudgetError("out of reach")
            return Choice({name: torch.arange(step) for name, step in steps.items()}, {})

        return choose

    steps = {"a": 16, "b": 4}
    for most, wanted in ((32, steps), (8, {"a": 8, "b": 4}), (4, {"a": 4, "b": 4})):
        choice, used = select_within_reach(choosing(most), steps)
        assert used == wanted == {name: len(kept) for name, kept in choice.kept.items()}
    assert select_within_reach(choosing(1), steps)[1] == {"a": 1, "b": 1}
    with pytest.raises(BudgetError, match="out of reach"):
        select_within_reach(choosing(0), steps)


def test_runtime_that_is_there() -> None:
    check_runtime("torch")
