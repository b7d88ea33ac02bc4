"""Public calls leave a model as it was, whatever its forward pass and hooks store in it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import secateur
from secateur.models.cost import count_macs

torch.set_num_threads(1)

EXAMPLE = torch.randn(1, 2, 6, 6, generator=torch.Generator().manual_seed(0))


class Storing(nn.Module):
    """Stores features, shapes, a grid made on first use, a list and a counter."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Conv2d(8, 3, 1)
        self.features: Tensor | None = None
        self.grid: Tensor | None = None
        self.seen: list[Any] = []
        self.cache: dict[str, Tensor] = {}
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.features = self.norm(self.stem(x)).relu()
        self.seen.append(self.features.shape)
        self.cache["last"] = self.features
        if self.grid is None:
            self.grid = torch.arange(4.0)
        y: Tensor = self.head(self.features + self.grid)
        return y


def made(*, used: bool) -> Storing:
    torch.manual_seed(0)
    model = Storing().eval()

    def note(module: nn.Module, _inputs: Any, output: Tensor) -> None:
        del module
        model.hooked = output  # type: ignore[assignment] # of the model, not of a copy of it

    model.stem.register_forward_hook(note)
    if used:
        with torch.no_grad():
            model(EXAMPLE)
    return model


def objects(model: nn.Module) -> dict[str, Any]:
    """Every attribute of every module: what it is, and of containers also what is in them."""
    found: dict[str, Any] = {}
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            found[f"{path}.{name}"] = value
            if isinstance(value, list):
                found |= {f"{path}.{name}[{i}]": each for i, each in enumerate(value)}
            elif isinstance(value, dict):
                found |= {f"{path}.{name}[{key!r}]": each for key, each in value.items()}
    return found


def removed(model: nn.Module) -> nn.Module:
    graph = secateur.channel_groups(model, EXAMPLE)
    kept = {"stem": torch.arange(4)}
    slim = secateur.remove_filters(model, graph, kept)
    secateur.mask_filters(model, graph, kept)
    secateur.verify_removal(model, slim, graph, kept, EXAMPLE)
    return slim


CALLS: dict[str, Callable[[nn.Module], object]] = {
    "channel_groups": lambda model: secateur.channel_groups(model, EXAMPLE),
    "removal": removed,
    "count_macs": lambda model: count_macs(model, EXAMPLE),
}


@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
@pytest.mark.parametrize("call", CALLS)
def test_every_attribute_is_the_same_object(call: str, used: bool) -> None:
    model = made(used=used)
    before = objects(model)
    values = {name: value.clone() for name, value in before.items() if isinstance(value, Tensor)}
    CALLS[call](model)
    after = objects(model)
    assert after.keys() == before.keys()
    changed = [name for name, value in before.items() if after[name] is not value]
    assert not [name for name in changed if not isinstance(before[name], int | bool | None)]
    assert all(after[name] == before[name] for name in changed)
    for name, value in values.items():
        assert torch.equal(after[name], value), name


def test_a_fresh_model_runs_afterwards_and_so_does_the_slim_one() -> None:
    model = made(used=False)
    slim = removed(model)
    output = model(EXAMPLE)
    assert type(output) is Tensor
    assert slim(EXAMPLE).shape == output.shape
    assert type(slim(EXAMPLE)) is Tensor


class Gridded(nn.Module):
    """Keeps a grid and the shape that it is for; counts on all channels of its stem."""

    grid = torch.empty(0)
    size: torch.Size | None = None

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 8, 3)
        self.middle = nn.Conv2d(8, 8, 1)
        self.head = nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).view(-1, 8, 4, 4)
        if self.size != x.shape:
            self.size, self.grid = x.shape, torch.arange(4.0)
        y: Tensor = self.head(self.middle(x) + self.grid)
        return y


@pytest.mark.parametrize("used", [False, True])
def test_the_trial_cut_meets_the_attributes_from_before_the_trace(
    used: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    """torch takes the grid that a trace stored off the module, and leaves the size."""
    model = Gridded().eval()
    if used:
        model(EXAMPLE)
    groups = secateur.channel_groups(model, EXAMPLE).groups
    assert "counts on all of these channels" in str(groups["stem"].fixed)
    assert groups["middle"].fixed is None
    assert capfd.readouterr() == ("", "")
