"""Copies of networks that keep tensors with a history, locks, files and other attributes."""

import copy
import logging
import math
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from secateur.errors import ModelError
from secateur.models.copying import copy_model
from secateur.pruning.graph.trace import channel_groups
from secateur.pruning.removal import remove_filters
from secateur.pruning.verification import verify_removal


class Keeper(nn.Module):
    """Keeps its features, as networks do whose features are looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        self.kept = {"features": [self.conv(x)]}
        return self.kept["features"][0].relu()


def used() -> nn.Module:
    net = Keeper()
    net(torch.ones(1, 3, 2, 2))
    return net


def masked() -> nn.Module:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
    prune.l1_unstructured(net[0], "weight", amount=0.5)  # type: ignore[no-untyped-call]
    return net


@pytest.mark.parametrize("make", [used, masked])
def test_copies_what_deepcopy_refuses(make: Callable[[], nn.Module]) -> None:
    net = make()
    with pytest.raises(RuntimeError, match="graph leaves"):
        copy.deepcopy(net)
    copied = copy_model(net)
    x = torch.randn(2, 3, 5, 5)
    torch.testing.assert_close(copied(x), net(x))
    ours, theirs = dict(net.named_parameters()), dict(copied.named_parameters())
    assert ours.keys() == theirs.keys()
    assert all(ours[name] is not theirs[name] for name in ours)


def test_what_is_put_in_its_place_is_not_copied() -> None:
    net = nn.Linear(2, 3)
    small = nn.Parameter(torch.ones(1, 2))
    copied = copy_model(net, {id(net.weight): small})
    assert copied.weight is small
    assert copied.bias is not net.bias


class Stream:
    """Belongs to a device, and so cannot be copied."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "Stream":
        raise TypeError("cannot copy a stream")


class Config:
    """Settings with an attribute that cannot be copied, and others that can."""

    def __init__(self, lock: Any) -> None:
        self.lock = lock
        self.steps = [1, 2]


class Helper:
    """A plain object that holds a part of the network and a lock."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer
        self.lock = threading.Lock()


@pytest.fixture
def open_file(tmp_path: Path) -> Iterator[TextIO]:
    with (tmp_path / "log.txt").open("w") as file:
        yield file


UNCOPIED: dict[str, Callable[[], Any]] = {
    "python module": lambda: math,
    "lock": threading.Lock,
    "event": threading.Event,
    "logger": lambda: logging.getLogger("secateur.test"),
    "logger of no name": lambda: logging.Logger("alone"),
    "lambda": lambda: lambda x: x + 1,
    "generator": lambda: (i for i in range(3)),
    "stream": Stream,
    "settings with a lock": lambda: Config(threading.Lock()),
    "settings with a python module": lambda: Config(math),
}


@pytest.mark.parametrize("kind", [*UNCOPIED, "open file"])
@pytest.mark.parametrize("inside", [False, True])
def test_what_cannot_be_copied_is_shared(kind: str, inside: bool, open_file: TextIO) -> None:
    net: Any = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    kept = UNCOPIED[kind]() if kind in UNCOPIED else open_file
    net[0].kept = {"here": [kept]} if inside else kept
    copied = copy_model(net)
    found = copied[0].kept["here"][0] if inside else copied[0].kept
    assert found is kept
    assert not inside or copied[0].kept is not net[0].kept
    ours = dict(net.named_parameters())
    assert all(ours[name] is not p and ours[name].equal(p) for name, p in copied.named_parameters())

    x = torch.randn(1, 3, 4, 4)
    graph = channel_groups(net, x)
    slim = remove_filters(net, graph, {"0": torch.tensor([0, 2])})
    verify_removal(net, slim, graph, {"0": torch.tensor([0, 2])}, x)


def test_random_generator_is_copied_with_its_state() -> None:
    net: Any = nn.Linear(2, 3)
    net.rng = torch.Generator().manual_seed(3)
    copied = copy_model(net)
    assert copied.rng is not net.rng
    assert torch.rand(4, generator=copied.rng).equal(torch.rand(4, generator=net.rng))


def test_weak_reference_refers_to_the_copy() -> None:
    net: Any = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3))
    net[1].before = weakref.ref(net[0])
    net[1].outside = weakref.ref(outside := nn.Linear(1, 1))
    copied = copy_model(net)
    assert copied[1].before() is copied[0]
    assert copied[1].outside() is outside
    assert net[1].before() is net[0]


def test_object_that_cannot_be_copied_whole_holds_the_layers_of_the_copy() -> None:
    net: Any = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3))
    net.helper = Helper(net[0])
    copied = copy_model(net)
    assert copied.helper.layer is copied[0]
    assert copied.helper.lock is net.helper.lock


def test_module_that_refuses_to_be_copied_is_an_error_of_one_line() -> None:
    class Single(nn.Module):
        def __deepcopy__(self, memo: dict[int, Any]) -> "Single":
            raise TypeError("there is one only")

    with pytest.raises(
        ModelError, match=r"Sequential cannot be copied \(there is one only\); give"
    ):
        copy_model(nn.Sequential(Single()))
