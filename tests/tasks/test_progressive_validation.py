"""Validation that ends early, on networks whose predictions are set by hand or drawn from a seed."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor

from secateur.cli.console import ConsoleReporter
from secateur.config.recipe import load_recipe
from secateur.run.context import open_run
from secateur.run.stages import train_dense
from secateur.run.validation import growing_validation, validate
from secateur.tasks.progressive_validation import GROUPS, LEAST, GrowingValidation
from tiny_recipe import TINY, write_recipe

COUNT = 1600  # whose parts are 100 and 400 pictures


class Network:
    """Is right about some pictures and wrong about others."""

    def __init__(self, right: Tensor) -> None:
        self.right = right
        self.asked: list[int] = []

    def __call__(self, positions: Sequence[int]) -> Sequence[float]:
        self.asked += positions
        return [float(self.right[position]) for position in positions]


def test_of_a_run_it_says_what_validation_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secateur.tasks.progressive_validation.LEAST", 1)
    recipe = load_recipe(write_recipe(tmp_path / "pictures", TINY))
    run = open_run(recipe, tmp_path / "run", ConsoleReporter(Console(quiet=True)))
    network, step = train_dense(run)
    model, architecture = network.model, network.architecture
    metric = step.result["metric"]
    look = growing_validation(run, "threshold", model, architecture, metric, metric - 100)
    assert look.sizes == [2], "a quarter of six"
    assert looked(look) == (metric, 6)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.01)
    assert looked(look) == (validate(run, model, architecture), 6)


def share_right(said: Sequence[float], positions: Sequence[int]) -> float:
    assert len(said) == len(positions)
    return 100 * sum(said) / len(said)


def validation(network: Network, floor: float, seed: int = 0) -> GrowingValidation:
    """Of whatever the network becomes, against what it is now."""
    reference = share_right(network.right.tolist(), range(len(network.right)))
    made = GrowingValidation(len(network.right), network, share_right, reference, floor, seed)
    network.asked.clear()
    return made


def looked(validation: GrowingValidation) -> tuple[float, int]:
    """The metric, and of how many pictures."""
    return validation(), validation.looked_at[-1]


def drawn(share: float, seed: int = 0) -> Tensor:
    return torch.rand(COUNT, generator=torch.Generator().manual_seed(seed)) < share


def test_a_network_that_knows_nothing_is_refused_by_the_smallest_part() -> None:
    network = Network(torch.ones(COUNT))
    look = validation(network, floor=99.0)
    network.right = torch.zeros(COUNT)
    assert looked(look) == (0.0, 100)
    assert len(set(network.asked)) == len(network.asked) == 100


def test_an_estimate_is_what_the_part_says_beside_the_reference() -> None:
    network = Network(drawn(0.9))
    look = validation(network, floor=85.0)
    before = network.right.float()
    network.right = drawn(0.3, seed=1)
    metric, pictures = looked(look)
    part = look.order[:100]
    assert pictures == 100
    expected = 100 * (before.mean() + network.right[part].float().mean() - before[part].mean())
    assert metric == pytest.approx(float(expected))


def test_what_the_smallest_part_leaves_open_a_larger_one_decides() -> None:
    network = Network(torch.ones(COUNT))
    look = validation(network, floor=97.0)
    network.right = drawn(0.88)  # 9 below, and an error of some 3 of 100 pictures
    assert looked(look)[1] == 400
    assert len(set(network.asked)) == len(network.asked) == 400


@pytest.mark.parametrize("share", [0.985, 0.99, 1.0])
def test_what_holds_or_nearly_is_asked_about_every_picture_once(share: float) -> None:
    network = Network(torch.ones(COUNT))
    look = validation(network, floor=99.0)
    network.right = drawn(share)
    assert looked(look) == (share_right(network.right.tolist(), range(COUNT)), COUNT)
    assert sorted(network.asked) == list(range(COUNT))


def test_small_sets_are_asked_as_a_whole() -> None:
    network = Network(torch.ones(4 * LEAST - 4))
    look = validation(network, floor=99.0)
    network.right = torch.zeros(4 * LEAST - 4)
    assert looked(look) == (0.0, 4 * LEAST - 4)


def test_the_whole_is_measured_in_its_own_order() -> None:
    said: list[Sequence[int]] = []

    def measure(predictions: Sequence[int], positions: Sequence[int]) -> float:
        said.append(predictions)
        assert list(predictions) == list(positions)
        return 100.0

    look = GrowingValidation(COUNT, list, measure, 100.0, 99.0, 0)
    assert looked(look) == (100.0, COUNT)
    assert said[-1] == list(range(COUNT))


def test_the_error_of_a_mean_is_that_of_its_groups_means() -> None:
    network = Network(drawn(0.9))
    look = validation(network, floor=0.0)
    before = network.right.double()
    network.right = drawn(0.6, seed=1)
    order = torch.tensor(look.order[:400])
    difference, error = look.difference(network(order.tolist()))
    each = 100 * (network.right.double() - before)[order]
    assert difference == pytest.approx(float(each.mean()))
    groups = torch.stack([each[group::GROUPS].mean() for group in range(GROUPS)])
    rest = (1 - 400 / COUNT) ** 0.5  # nothing is left to chance where all is seen
    assert error == pytest.approx(float(groups.std()) / GROUPS**0.5 * rest)


def test_what_a_part_lacks_is_no_error() -> None:
    # All that the network gets wrong, the reference gets wrong too.
    hard = torch.zeros(COUNT, dtype=torch.bool)
    look = validation(network := Network(hard), floor=0.0)
    hard[look.order[400:]] = True
    look = validation(network, floor=74.0)
    assert looked(look) == (75.0, COUNT)


def test_networks_at_the_floor_are_hardly_ever_refused() -> None:
    refused = 0
    for seed in range(300):
        network = Network(torch.ones(COUNT))
        look = validation(network, floor=95.0, seed=seed)
        right = torch.ones(COUNT)
        right[torch.randperm(COUNT, generator=torch.Generator().manual_seed(seed + 1))[:80]] = 0
        network.right = right  # 95 % to the picture
        refused += looked(look)[1] < COUNT
    assert refused <= 1


def test_few_pictures_are_left_out_one_by_one() -> None:
    network = Network(torch.ones(64))
    look = validation(network, floor=0.0)
    part = look.order[:16]
    network.right[part[:4]] = 0
    difference, error = look.difference(network(part))
    # Four of 16 wrong: the error of their share is √(¼ · ¾ / 15), of which ¾ are left to chance.
    assert difference == -25
    assert error == pytest.approx(100 * (0.25 * 0.75 / 15 * 0.75) ** 0.5)


def test_an_object_that_one_picture_has_alone_refuses_nothing() -> None:
    # As average precision of a rare class: all hangs on whether that picture is among those asked.
    rare = 0

    def measure(said: Sequence[bool], positions: Sequence[int]) -> float:
        found = dict(zip(positions, said, strict=True))
        return (100 + 100 * found[rare]) / 2 if rare in found else 100.0

    right = torch.ones(COUNT)
    for seed in range(20):
        right[rare] = 1
        network = Network(right)
        look = GrowingValidation(COUNT, network, measure, 100.0, 80.0, seed)
        network.right[rare] = 0
        assert looked(look)[1] == COUNT


def test_a_metric_that_is_no_number_on_a_part_decides_nothing() -> None:
    def measure(_said: Sequence[int], positions: Sequence[int]) -> float:
        return 50.0 if len(positions) == COUNT else float("nan")

    look = GrowingValidation(COUNT, list, measure, 100.0, 99.0, 0)
    assert looked(look) == (50.0, COUNT)
