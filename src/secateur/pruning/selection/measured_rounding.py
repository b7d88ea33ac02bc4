"""Width steps for a runtime: the multiples of filters at which a layer takes least time a filter.

Runtimes work on blocks of channels, so that a layer of 9 filters may take as long as one of 16. How
long the blocks are depends on the runtime, the machine and the layer, so it is measured.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

import torch
from torch import Tensor, nn

from secateur.errors import BudgetError
from secateur.models.modes import evaluating
from secateur.pruning.graph.groups import ChannelGraph
from secateur.pruning.selection.levels import Choice
from secateur.pruning.selection.rounding import rounded_up
from secateur.runtimes.table import compile_module

# The width steps in question, from the finest.
STEPS = (1, 4, 8, 16, 32)

# How much longer than with the best width step a filter may take with a finer one.
TOLERANCE = 1.02

# Prepares a module and an input for a runtime; what it gives is one run.
Compile = Callable[[nn.Module, Tensor, str], Callable[[], object]]


@dataclass(frozen=True, slots=True)
class WidthSteps:
    """What a measurement found.

    Attributes:
        steps: the width step of each group.
        times: seconds by number of filters, the median, of each group that was measured.
    """

    steps: dict[str, int]
    times: dict[str, dict[int, float]]


@dataclass(frozen=True, slots=True)
class MeasuredSteps:
    """Width steps as they were measured on a runtime and used.

    Attributes:
        runtime: a name of ``RUNTIMES``.
        found: what was measured.
        used: the width step of each group that the selection was made with, which the budget may
            have made finer.
    """

    runtime: str
    found: WidthSteps
    used: dict[str, int]


def best_step(times: Mapping[int, float]) -> int:
    """Give the finest width step whose filters take no more than 2 % longer than the best one's.

    A width step is judged by the mean, over the widths timed that are its multiples, of the time
    a filter. One with fewer than two such widths is not in question; without any, it is 1.

    Args:
        times: seconds by number of filters.
    """
    means = {}
    for step in STEPS:
        each = [seconds / width for width, seconds in times.items() if width % step == 0]
        if len(each) > 1:
            means[step] = fmean(each)
    most = TOLERANCE * min(means.values(), default=0.0)
    return next((step for step, mean in means.items() if mean <= most), 1)


def widths_to_time(channels: int, expected: int) -> list[int]:
    """Give the numbers of filters to time a layer with, rising; none, where there is no choice.

    They range between two neighbouring multiples of the coarsest width step that fits the layer,
    near the number expected. Both ends are multiples of that step, so that the constant part of a
    layer's time favors no step.

    Args:
        channels: how many the layer has.
        expected: how many it will about have.
    """
    coarsest = max(s for s in STEPS if s == 1 or (2 * s <= channels and s <= 2 * expected))
    if coarsest == 1:
        return []
    low = coarsest * max(1, min(expected // coarsest, channels // coarsest - 1))
    high = low + coarsest
    # All of them, or of many, each multiple of 4 and every third, which has every remainder.
    stride = 1 if coarsest <= 8 else 3
    return sorted({*range(low, high + 1, 4), *range(low, high + 1, stride)})


def measure_width_steps(
    model: nn.Module,
    example_input: Tensor,
    graph: ChannelGraph,
    expected: Mapping[str, int],
    *,
    runtime: str,
    compile_layer: Compile = compile_module,
    clock: Callable[[], float] = time.perf_counter,
    seconds: float = 2.0,
) -> WidthSteps:
    """Time the producers of groups alone, at several widths, and give each group its width step.

    A producer is timed with its own kernel, stride, padding and dilation, on a map of the size that
    it has in the network. It reads as many channels as are expected, rounded up to 16; of the
    network's input, as many as there are. Groups whose producers are alike are timed once. Other
    producers than plain 2-d convolutions and linear layers are not timed, and their groups' step
    is 1.

    Args:
        model: the raw network before removal; left as it is.
        example_input: an input as in inference, (1, C, H, W).
        graph: its channel groups.
        expected: about how many channels will be left in each group that loses some.
        runtime: what is to run the network.
        compile_layer: prepares a layer for it.
        clock: gives seconds.
        seconds: spent on a group, about; at least seven rounds of all its widths are taken.
    """
    layers = _layers(model, example_input, graph, expected)
    measured: dict[tuple[Any, ...], dict[int, float]] = {}
    steps, times = {}, {}
    for name, count in expected.items():
        group = graph.groups[name]
        producers = tuple(layers.get(path) for path in group.producers)
        widths = widths_to_time(group.channels, count)
        alike = (producers, tuple(widths))
        if alike not in measured:
            known = [layer for layer in producers if layer is not None]
            timed = widths if len(known) == len(producers) else []
            measured[alike] = _medians(known, timed, runtime, compile_layer, clock, seconds)
        steps[name] = best_step(measured[alike])
        if measured[alike]:
            times[name] = measured[alike]
    return WidthSteps(steps, times)


def check_runtime(runtime: str) -> None:
    """Run a layer of one weight, so that a missing runtime is reported at once.

    Raises:
        MissingExtraError: the runtime is not installed.
    """
    compile_module(nn.Conv2d(1, 1, 1), torch.ones(1, 1, 1, 1), runtime)()


def select_within_reach(
    choose: Callable[[Mapping[str, int]], Choice], steps: Mapping[str, int]
) -> tuple[Choice, dict[str, int]]:
    """Select with the width steps given, or with as coarse ones as the budget lets.

    Where the budget cannot be met, the coarsest steps become the next finer, until it can.

    Args:
        choose: selects with width steps by group.
        steps: the width step of each group, of ``STEPS``.

    Returns:
        The selection, and the width steps it was made with.

    Raises:
        BudgetError: the budget cannot be met with any.
    """
    for most in reversed(STEPS[1:]):
        used = {name: min(step, most) for name, step in steps.items()}
        try:
            return choose(used), used
        except BudgetError:
            continue
    used = dict.fromkeys(steps, 1)
    return choose(used), used


@dataclass(frozen=True, slots=True)
class _Layer:
    """All that a producer's time depends on, except its number of filters.

    Attributes:
        shape: of its input.
        settings: of a convolution, its kernel, stride, padding, dilation and padding mode; empty
            of a linear layer.
        bias: whether it has one.
    """

    shape: tuple[int, ...]
    settings: tuple[Any, ...]
    bias: bool

    def with_filters(self, count: int) -> nn.Module:
        """Build the layer with random weights; the global random state does not change."""
        with torch.random.fork_rng(devices=[]):
            if not self.settings:
                return nn.Linear(self.shape[-1], count, self.bias).eval()
            kernel, stride, padding, dilation, mode = self.settings
            conv = nn.Conv2d(
                self.shape[1], count, kernel, stride, padding, dilation, 1, self.bias, mode
            )
            return conv.eval()


def _layers(
    model: nn.Module, example_input: Tensor, graph: ChannelGraph, expected: Mapping[str, int]
) -> dict[str, _Layer]:
    """Those producers that can be timed, by module path."""
    shapes: dict[str, tuple[int, ...]] = {}
    paths = {path for name in expected for path in graph.groups[name].producers}
    modules = {path: model.get_submodule(path) for path in paths}

    def note(path: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        return lambda _module, inputs: shapes.update({path: tuple(inputs[0].shape)})

    hooks = [m.register_forward_pre_hook(note(path)) for path, m in modules.items()]
    try:
        with torch.no_grad(), evaluating(model):
            model(example_input)
    finally:
        for hook in hooks:
            hook.remove()

    lost: dict[str, int] = {}
    for name, group in graph.prunable().items():
        removed = group.channels - expected.get(name, group.channels)
        for member in group.of_role("consumer"):
            positions = removed // group.unit_size * member.index.shape[1]
            lost[member.name] = lost.get(member.name, 0) + positions

    found = {}
    for path, shape in shapes.items():
        module, weight = modules[path], f"{path}.weight"
        if type(module) is nn.Conv2d and module.groups == 1:
            settings: tuple[Any, ...] = (
                module.kernel_size,
                module.stride,
                module.padding,
                module.dilation,
                module.padding_mode,
            )
            dim = 1
        elif type(module) is nn.Linear:
            settings, dim = (), len(shape) - 1
        else:
            continue
        inputs = shape[dim]
        if weight in lost:
            inputs = rounded_up(inputs - lost[weight], 16)
        narrowed = (*shape[:dim], inputs, *shape[dim + 1 :])
        found[path] = _Layer(narrowed, settings, module.bias is not None)
    return found


def _medians(
    layers: Sequence[_Layer],
    widths: Sequence[int],
    runtime: str,
    compile_layer: Compile,
    clock: Callable[[], float],
    seconds: float,
) -> dict[int, float]:
    """Median seconds of all the layers together, by their number of filters.

    Widths take turns, so that other load on the machine affects all of them.
    """
    runs = {
        width: [
            compile_layer(layer.with_filters(width), torch.ones(layer.shape), runtime)
            for layer in layers
        ]
        for width in widths
    }

    def once(width: int) -> float:
        start = clock()
        for run in runs[width]:
            run()
        return clock() - start

    for width in widths:
        once(width)  # the first run of all is slow
    round_seconds = sum(once(width) for width in widths)
    rounds = max(7, min(500, int(seconds / max(round_seconds, 1e-6))))
    taken: dict[int, list[float]] = {width: [] for width in widths}
    for _ in range(rounds):
        for width in widths:
            taken[width].append(once(width))
    return {width: median(some) for width, some in taken.items()}
