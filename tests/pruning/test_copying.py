"""Copies of networks that keep tensors with a history."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from secateur.models.copying import copy_model


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
