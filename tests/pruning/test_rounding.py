"""Width steps and the fewest channels, by hand."""

import pytest
import torch
from torch import nn

from secateur.errors import PruningError
from secateur.pruning.graph.trace import channel_groups
from secateur.pruning.selection.rounding import (
    fewest_channels,
    least_in_words,
    rounded_up,
    width_steps,
)

torch.set_num_threads(1)

NET = nn.Sequential(nn.Conv2d(2, 10, 1), nn.Conv2d(10, 5, 1), nn.Conv2d(5, 2, 1))
GRAPH = channel_groups(NET, torch.zeros(1, 2, 2, 2))


def test_rounded_up() -> None:
    assert [rounded_up(count, 4) for count in (1, 3, 4, 5, 8)] == [4, 4, 4, 8, 8]
    assert [rounded_up(count, 1) for count in (1, 7)] == [1, 7]


def test_one_width_step_for_all_or_one_for_each() -> None:
    assert width_steps(GRAPH, ["0", "1"], 8) == {"0": 8, "1": 8}
    assert width_steps(GRAPH, ["0", "1"], {"1": 4}) == {"0": 1, "1": 4}
    assert width_steps(GRAPH, ["0"], {"1": 4}) == {"0": 1}


def test_fewest_channels() -> None:
    assert fewest_channels(GRAPH, ["0", "1"], 3) == {"0": 3, "1": 3}
    # Rounded up to 4; where that is more than a group has, it keeps all.
    assert fewest_channels(GRAPH, ["0", "1"], 3, 4) == {"0": 4, "1": 4}
    assert fewest_channels(GRAPH, ["0", "1"], 5, 4) == {"0": 8, "1": 5}
    assert fewest_channels(GRAPH, ["0", "1"], 1, 16) == {"0": 10, "1": 5}
    assert fewest_channels(GRAPH, ["0", "1"], 6, {"0": 4}) == {"0": 8, "1": 5}


def test_a_grouped_convolution_never_becomes_depthwise() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1, groups=2), nn.Conv2d(8, 4, 1))
    graph = channel_groups(net, torch.zeros(1, 3, 2, 2))
    assert (graph.groups["0"].units, graph.groups["0"].least) == (4, 2)
    assert fewest_channels(graph, ["0", "1"], 1) == {"0": 4, "1": 2}


def test_filters_are_counted_and_not_what_is_removed_together() -> None:
    middle = nn.Conv2d(16, 16, 1, groups=4)
    grouped = nn.Sequential(nn.Conv2d(3, 16, 1), middle, nn.Conv2d(16, 2, 1))
    graph = channel_groups(grouped, torch.zeros(1, 3, 2, 2))
    # Each group of the convolution has four channels and loses one of each at a time.
    assert fewest_channels(graph, ["0", "1"], 4) == {"0": 8, "1": 4}
    assert fewest_channels(graph, ["0", "1"], 9) == {"0": 12, "1": 12}
    assert width_steps(graph, ["0", "1"], 2) == {"0": 4, "1": 4}
    assert width_steps(graph, ["0", "1"], 6) == {"0": 12, "1": 12}
    assert fewest_channels(graph, ["1"], 5, 6) == {"1": 12}
    normed = nn.Sequential(nn.Conv2d(3, 16, 1), nn.GroupNorm(4, 16), nn.Conv2d(16, 2, 1))
    graph = channel_groups(normed, torch.zeros(1, 3, 2, 2))
    assert fewest_channels(graph, ["0"], 4) == {"0": 4}
    assert fewest_channels(graph, ["0"], 4, 8) == {"0": 8}


def test_every_layer_that_produces_the_channels_keeps_the_least_filters() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fine, self.coarse = nn.Conv2d(3, 6, 1), nn.Conv2d(3, 24, 1)
            self.shuffle, self.last = nn.PixelShuffle(2), nn.Conv2d(6, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            fine = nn.functional.interpolate(self.fine(x), scale_factor=2.0)
            return self.last(self.shuffle(self.coarse(x)) + fine)

    graph = channel_groups(Sum(), torch.zeros(1, 3, 2, 2))
    (group,) = graph.prunable().values()
    filters = {m.name: m.index.shape for m in group.of_role("producer")}
    assert filters == {"coarse.weight": (6, 4), "fine.weight": (6, 1)}
    # Four of each: 16 filters of the one are 4 channels, 4 of the other.
    assert fewest_channels(graph, [group.name], 4)[group.name] == 4 * group.unit_size
    assert width_steps(graph, [group.name], 2)[group.name] == 2 * group.unit_size


def test_words() -> None:
    assert least_in_words(4, 1) == "4 filters"
    assert least_in_words(4, 8) == "4 filters (rounded up to round_to)"


@pytest.mark.parametrize(
    ("round_to", "words"),
    [
        (0, "round_to is 0 for 0; give a whole number, 1 or more"),
        ({"1": -8}, "round_to is -8 for 1"),
        (2.5, r"round_to is 2.5 for 0"),
        ("auto", "round_to is 'auto' for 0"),
        ({"conv": 8}, "round_to: 'conv' is no channel group of this network"),
    ],
)
def test_what_is_no_width_step(round_to: object, words: str) -> None:
    with pytest.raises(PruningError, match=words):
        width_steps(GRAPH, ["0", "1"], round_to)  # type: ignore[arg-type]
