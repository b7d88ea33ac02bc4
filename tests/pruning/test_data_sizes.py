"""Networks with sizes that depend on data: what comes before is cut and verified."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import nms, roi_align

from secateur.errors import PruningError
from secateur.pruning.graph.trace import channel_groups
from secateur.pruning.removal import remove_filters
from secateur.pruning.verification import fix_unverified, verify_removal

X = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))


class Net(nn.Module):
    """Two convolutions, a head, and an end that depends on values."""

    def __init__(self, end: Callable[["Net", Tensor, Tensor], object]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 6, 3, padding=1)
        self.head, self.last = nn.Conv2d(6, 5, 1), nn.Linear(6, 4)
        self.end = end

    def forward(self, x: Tensor) -> object:
        maps = self.b(self.a(x).relu()).relu()
        return self.end(self, maps, self.head(maps))


def kept_boxes(y: Tensor) -> tuple[Tensor, Tensor]:
    rows = y.permute(0, 2, 3, 1).reshape(-1, 5)
    boxes = torch.cat([rows[:, :2], rows[:, :2] + rows[:, 2:4].abs()], 1)
    return boxes, nms(boxes, rows[:, 4], 0.5)


def regions(net: Net, maps: Tensor, y: Tensor) -> object:
    boxes, kept = kept_boxes(y)
    pooled = roi_align(maps, [boxes[kept[:10]]], 2)
    return net.last(pooled.mean((2, 3))), boxes[kept]


ENDS: dict[str, Callable[[Net, Tensor, Tensor], object]] = {
    "nonzero": lambda _net, _maps, y: (y, (y[:, 0] > 0).nonzero()),
    "boolean index": lambda _net, _maps, y: y[y > 0],
    "rows by a boolean": lambda net, maps, _y: net.last(
        maps[0].permute(1, 2, 0)[maps[0].mean(0) > 0]
    ),
    "unique": lambda _net, _maps, y: (y, torch.unique(y.round())),
    "masked_select": lambda _net, _maps, y: torch.masked_select(y, y > 0),
    "where": lambda _net, _maps, y: y[torch.where(y > 0)],
    "bincount": lambda _net, _maps, y: (y, torch.bincount(y.abs().long().flatten())),
    "repeat_interleave": lambda _net, _maps, y: y.flatten().repeat_interleave(
        y.abs().long().flatten()
    ),
    "nms": lambda _net, _maps, y: kept_boxes(y),
    "regions": regions,
}


@pytest.mark.parametrize("name", ENDS)
def test_groups_before_a_size_that_depends_on_data_are_cut(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    net = Net(ENDS[name]).eval()
    graph = channel_groups(net, X)
    assert fix_unverified(net, graph, X) == graph
    assert "a" in graph.prunable()
    kept = {each.name: torch.arange(0, each.channels, 2) for each in graph.prunable().values()}
    slim = remove_filters(net, graph, kept)
    assert verify_removal(net, slim, graph, kept, X) < 1e-12
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_a_scale_by_a_number_of_the_data_fixes_nothing() -> None:
    net = Net(lambda net, maps, _y: net.head(maps * maps.abs().amax().item())).eval()
    graph = channel_groups(net, X)
    assert {"a", "b"} <= graph.prunable().keys()
    power = Net(lambda net, maps, _y: net.head(maps ** maps.abs().amax().item())).eval()
    assert "depends on data" in str(channel_groups(power, X).groups["b"].fixed)


@pytest.mark.parametrize(
    "end",
    [
        lambda _net, _maps, y: y * 2 if y.mean() > 0 else y,
        lambda _net, _maps, y: y.flatten()[: int((y > 0).sum())],
        lambda _net, _maps, y: [y[0, :, i, j] for i, j in (y[0, 0] > 0).nonzero().tolist()],
    ],
    ids=["branch", "number", "loop"],
)
def test_values_that_python_reads_are_one_line(
    end: Callable[[Net, Tensor, Tensor], object], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(PruningError, match="branches on a value or makes a Python number") as error:
        channel_groups(Net(end).eval(), X)
    assert str(error.value).count("\n") == 0
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
