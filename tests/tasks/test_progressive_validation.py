"""Progressive validation of networks whose predictions are set by hand or drawn from a seed."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor

from secateur.cli.console import ConsoleReporter
from secateur.config.recipe import load_recipe
from secateur.run.context import open_run
from secateur.run.network_stages import train_dense
from secateur.run.records import TrainingRecord
from secateur.run.validation import growing_validation, validate
from secateur.tasks.progressive_validation import GROUPS, MIN_PICTURES, ProgressiveValidation
from tiny_recipe import TINY, write_recipe

COUNT = 1600  # pictures; the parts have 100 and 400


class Network:
    """Right about some pictures and wrong about others; ``asked`` lists all positions asked for."""

    def __init__(self, right: Tensor) -> None:
        self.right = right
        self.asked: list[int] = []

    def __call__(self, positions: Sequence[int]) -> Sequence[float]:
        self.asked += positions
        return [float(self.right[position]) for position in positions]


def test_a_run_gets_the_metric_of_plain_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secateur.tasks.progressive_validation.MIN_PICTURES", 1)
    recipe = load_recipe(write_recipe(tmp_path / "pictures", TINY))
    run = open_run(recipe, tmp_path / "run", ConsoleReporter(Console(quiet=True)))
    network, step = train_dense(run)
    model, architecture = network.load(), network.architecture
    assert isinstance(step.result, TrainingRecord)
    metric = step.result.metrics["AP50_area"]
    assert metric is not None
    look = growing_validation(run, "threshold", model, architecture, metric, metric - 100)
    assert look.sizes == [2], "a quarter of six"
    assert measured(look) == (metric, 6)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.01)
    assert measured(look) == (validate(run, model, architecture), 6)


def share_right(said: Sequence[float], positions: Sequence[int]) -> float:
    assert len(said) == len(positions)
    return 100 * sum(said) / len(said)


def validation(network: Network, floor: float, seed: int = 0) -> ProgressiveValidation:
    """Progressive validation of the network, with its present state as the reference."""
    reference = share_right(network.right.tolist(), range(len(network.right)))
    made = ProgressiveValidation(len(network.right), network, share_right, reference, floor, seed)
    network.asked.clear()
    return made


def measured(validation: ProgressiveValidation) -> tuple[float, int]:
    """The metric, and the number of pictures it was computed on."""
    return validation(), validation.evaluated[-1]


def drawn(share: float, seed: int = 0) -> Tensor:
    return torch.rand(COUNT, generator=torch.Generator().manual_seed(seed)) < share


def test_a_useless_network_is_rejected_by_the_smallest_part() -> None:
    network = Network(torch.ones(COUNT))
    look = validation(network, floor=99.0)
    network.right = torch.zeros(COUNT)
    assert measured(look) == (0.0, 100)
    assert len(set(network.asked)) == len(network.asked) == 100


def test_an_estimate_is_the_difference_from_the_reference_on_the_part() -> None:
    network = Network(drawn(0.9))
    look = validation(network, floor=85.0)
    before = network.right.float()
    network.right = drawn(0.3, seed=1)
    metric, pictures = measured(look)
    part = look.order[:100]
    assert pictures == 100
    expected = 100 * (before.mean() + network.right[part].float().mean() - before[part].mean())
    assert metric == pytest.approx(float(expected))


def test_a_larger_part_decides_where_the_smallest_does_not() -> None:
    network = Network(torch.ones(COUNT))
    look = validation(network, floor=97.0)
    network.right = drawn(0.88)  # 9 below the floor; the standard error of 100 pictures is about 3
    assert measured(look)[1] == 400
    assert len(set(network.asked)) == len(network.asked) == 400


@pytest.mark.parametrize("share", [0.985, 0.99, 1.0])
def test_a_network_near_the_floor_is_evaluated_on_every_picture_once(share: float) -> None:
    network = Network(torch.ones(COUNT))
    look = validation(network, floor=99.0)
    network.right = drawn(share)
    assert measured(look) == (share_right(network.right.tolist(), range(COUNT)), COUNT)
    assert sorted(network.asked) == list(range(COUNT))


def test_small_sets_have_no_parts() -> None:
    network = Network(torch.ones(4 * MIN_PICTURES - 4))
    look = validation(network, floor=99.0)
    network.right = torch.zeros(4 * MIN_PICTURES - 4)
    assert measured(look) == (0.0, 4 * MIN_PICTURES - 4)


def test_the_whole_set_is_measured_in_its_order() -> None:
    said: list[Sequence[int]] = []

    def measure(predictions: Sequence[int], positions: Sequence[int]) -> float:
        said.append(predictions)
        assert list(predictions) == list(positions)
        return 100.0

    look = ProgressiveValidation(COUNT, list, measure, 100.0, 99.0, 0)
    assert measured(look) == (100.0, COUNT)
    assert said[-1] == list(range(COUNT))


def test_the_standard_error_of_a_mean_is_that_of_its_groups() -> None:
    network = Network(drawn(0.9))
    look = validation(network, floor=0.0)
    before = network.right.double()
    network.right = drawn(0.6, seed=1)
    order = torch.tensor(look.order[:400])
    difference, error = look.difference(network(order.tolist()))
    each = 100 * (network.right.double() - before)[order]
    assert difference == pytest.approx(float(each.mean()))
    groups = torch.stack([each[group::GROUPS].mean() for group in range(GROUPS)])
    rest = (1 - 400 / COUNT) ** 0.5  # of a finite set, of which 400 are known
    assert error == pytest.approx(float(groups.std()) / GROUPS**0.5 * rest)


def test_a_hard_part_does_not_bias_the_estimate() -> None:
    # Network and reference are wrong about the same pictures.
    hard = torch.zeros(COUNT, dtype=torch.bool)
    look = validation(network := Network(hard), floor=0.0)
    hard[look.order[400:]] = True
    look = validation(network, floor=74.0)
    assert measured(look) == (75.0, COUNT)


def test_networks_at_the_floor_are_hardly_ever_rejected() -> None:
    rejected = 0
    for seed in range(300):
        network = Network(torch.ones(COUNT))
        look = validation(network, floor=95.0, seed=seed)
        right = torch.ones(COUNT)
        right[torch.randperm(COUNT, generator=torch.Generator().manual_seed(seed + 1))[:80]] = 0
        network.right = right  # exactly 95 %
        rejected += measured(look)[1] < COUNT
    assert rejected <= 1


def test_a_small_part_is_jackknifed_picture_by_picture() -> None:
    network = Network(torch.ones(64))
    look = validation(network, floor=0.0)
    part = look.order[:16]
    network.right[part[:4]] = 0
    difference, error = look.difference(network(part))
    # Four of 16 are wrong: variance ¼ · ¾ / 15, times ¾ since 16 of 64 pictures are known.
    assert difference == -25
    assert error == pytest.approx(100 * (0.25 * 0.75 / 15 * 0.75) ** 0.5)


def test_an_object_of_a_rare_class_rejects_nothing() -> None:
    # As average precision of a class with one object: a part with that object scores far lower.
    rare = 0

    def measure(said: Sequence[bool], positions: Sequence[int]) -> float:
        found = dict(zip(positions, said, strict=True))
        return (100 + 100 * found[rare]) / 2 if rare in found else 100.0

    right = torch.ones(COUNT)
    for seed in range(20):
        right[rare] = 1
        network = Network(right)
        look = ProgressiveValidation(COUNT, network, measure, 100.0, 80.0, seed)
        network.right[rare] = 0
        assert measured(look)[1] == COUNT


def test_a_part_without_a_metric_decides_nothing() -> None:
    def measure(_said: Sequence[int], positions: Sequence[int]) -> float:
        return 50.0 if len(positions) == COUNT else float("nan")

    look = ProgressiveValidation(COUNT, list, measure, 100.0, 99.0, 0)
    assert measured(look) == (50.0, COUNT)
