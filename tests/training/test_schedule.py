"""Learning rates by hand, and the parameters that are decayed."""

import pytest
from torch import nn

from secateur.training.schedule import Schedule, make_optimizer


@pytest.mark.parametrize(
    ("decay", "warmup", "rates"),
    [
        ("constant", 0.0, {1: 1.0, 100: 1.0}),
        ("constant", 0.1, {1: 0.1, 5: 0.5, 10: 1.0, 11: 1.0, 100: 1.0}),
        ("cosine", 0.0, {50: 0.5, 100: 0.0, 25: 0.8535534}),
        ("cosine", 0.2, {10: 0.5, 20: 1.0, 60: 0.5, 100: 0.0}),
        ("step", 0.0, {1: 1.0, 66: 1.0, 67: 0.1, 83: 0.1, 84: 0.01, 100: 0.01}),
        ("step", 0.1, {5: 0.5, 10: 1.0, 66: 1.0, 67: 0.1}),
    ],
)
def test_learning_rate(decay: str, warmup: float, rates: dict[int, float]) -> None:
    schedule = Schedule("sgd", 0.02, 0.0, warmup, decay)
    for step, rate in rates.items():
        assert schedule.learning_rate(step, 100) == pytest.approx(0.02 * rate, abs=1e-9)


def test_norms_and_biases_are_not_decayed() -> None:
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
    decayed, free = make_optimizer(model, Schedule("sgd", 0.05, 5e-4, 0.0, "constant")).param_groups
    assert [id(p) for p in decayed["params"]] == [id(model[0].weight), id(model[3].weight)]
    assert (decayed["weight_decay"], free["weight_decay"], len(free["params"])) == (5e-4, 0.0, 4)
