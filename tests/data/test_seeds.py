"""Derived seeds: the same everywhere, different for every key, and never from ``hash``."""

import ast
from pathlib import Path

import pytest
import torch

from secateur.data.seeds import AUGMENTATION, ORDER, derived_seed, epoch_order

SOURCE = Path(__file__).parents[2] / "src"


def test_seeds_are_the_same_on_every_machine() -> None:
    found = [derived_seed(0), derived_seed(0, 0), derived_seed(7, 1, 2)]
    assert found == [15793235383387715774, 8668861027912758289, 10549271650533257363]


def test_every_part_of_the_key_counts() -> None:
    keys = [(s, *key) for s in range(8) for a in range(8) for key in [(), (a,), (a, 0), (0, a)]]
    seeds = {derived_seed(*key) for key in set(keys)}
    assert len(seeds) == len(set(keys))
    assert all(0 <= seed < 2**64 for seed in seeds)
    assert derived_seed(3, ORDER, 5) != derived_seed(3, AUGMENTATION, 5)


@pytest.mark.parametrize("count", [1, 2, 37])
def test_orders_are_permutations(count: int) -> None:
    order = epoch_order(count, 3, 4)
    assert sorted(order.tolist()) == list(range(count))
    assert torch.equal(order, epoch_order(count, 3, 4))


def test_orders_differ_by_epoch_and_seed() -> None:
    orders = [epoch_order(37, seed, epoch).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4


def test_no_seed_comes_from_hash() -> None:
    """``hash`` differs between versions of Python and, for texts, between processes."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            called = node.func if isinstance(node, ast.Call) else None
            assert not (isinstance(called, ast.Name) and called.id == "hash"), path
