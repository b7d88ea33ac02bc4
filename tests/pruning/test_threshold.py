"""The search for the global threshold, against a walk over its whole grid."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from secateur.errors import PruningError
from secateur.pruning.sparsity import apply_threshold, zero_share
from secateur.pruning.threshold import (
    COARSE,
    layer_deviations,
    search_threshold,
    thresholded,
)

torch.set_num_threads(1)


def weights() -> list[Tensor]:
    """Magnitudes 1 to 1000, of both signs, shuffled over two tensors."""
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(0)) + 1.0
    return [(order[:400] * -1).view(20, 20), order[400:].clone()]


def metric_of(tensors: list[Tensor], of_zeros: Callable[[float], float]) -> Callable[[], float]:
    return lambda: of_zeros(zero_share(tensors))


def test_falling_metric() -> None:
    tensors = weights()
    before = [tensor.clone() for tensor in tensors]
    found = search_threshold(tensors, metric_of(tensors, lambda z: 1 - z), floor=0.295)
    # 70.5 % may go: 0.48 holds and 0.76 does not; then 0.62, 0.69, 0.73, 0.71, 0.7.
    assert found.status == "found"
    assert (found.value, found.zeros) == (701.0, 0.7)
    assert found.metric == pytest.approx(0.3)
    assert [trial.zeros for trial in found.trace] == pytest.approx(
        [0.99, 0.97, 0.94, 0.88, 0.76, 0.48, 0.62, 0.69, 0.73, 0.71, 0.7]
    )
    assert [trial.threshold for trial in found.trace[:2]] == [991.0, 971.0]
    assert all(trial.metric == pytest.approx(1 - trial.zeros) for trial in found.trace)
    assert all(torch.equal(a, b) for a, b in zip(before, tensors, strict=True))


@pytest.mark.parametrize(
    "of_zeros",
    [
        lambda z: 1.0 if z < 0.3 or 0.91 < z < 0.95 else 0.0,  # holds again far above
        lambda z: 1.0 if z < 0.5 and not 0.35 < z < 0.45 else 0.0,
        lambda z: 1.0 if z > 0.985 else 0.0,  # rises
        lambda z: 1.0 if z == 0 else 0.0,
        lambda _: 1.0,
    ],
)
def test_value_is_the_largest_of_the_grid_that_holds(of_zeros: Callable[[float], float]) -> None:
    tensors = weights()
    found = search_threshold(tensors, metric_of(tensors, of_zeros), floor=0.5)
    holding = [share for share in COARSE if of_zeros(share) >= 0.5]
    assert found.metric >= 0.5
    assert found.zeros >= max(holding)
    assert all(trial.metric < 0.5 for trial in found.trace if trial.threshold > found.value)
    assert (found.status == "none") == (max(holding) == 0.0)


@pytest.mark.parametrize("count", [1000, 997])
@pytest.mark.parametrize("zeroed", [0.0, 0.253, 0.9])
def test_a_dozen_trials_find_what_a_walk_down_the_whole_grid_finds(
    zeroed: float, count: int
) -> None:
    tensor = torch.arange(1.0, count + 1.0)
    tensor[: int(zeroed * count)] = 0
    exact = zero_share([tensor])
    for cut in (step / 500 for step in range(501)):
        evaluate = metric_of([tensor], lambda z, cut=cut: float(z <= cut))  # type: ignore[misc]
        found = search_threshold([tensor], evaluate, floor=1.0)
        grid = [share / 100 for share in range(100, -1, -1) if exact < share / 100 <= cut]
        assert len(found.trace) <= 12, cut
        if cut < exact:
            assert found.status == "none"
            assert found.metric == 0.0
        else:
            assert found.metric == 1.0
            assert found.zeros == pytest.approx(max(grid, default=exact), abs=0.0111), cut
            assert (found.status == "found") == (found.zeros > exact)


def test_none_holds() -> None:
    tensors = weights()
    found = search_threshold(tensors, lambda: 0.2, floor=0.5)
    assert (found.status, found.value, found.zeros, found.metric) == ("none", 0.0, 0.0, 0.2)
    assert len(found.trace) == len(COARSE)


def test_a_metric_at_the_floor_holds() -> None:
    tensors = weights()
    found = search_threshold(tensors, lambda: 0.5, floor=0.5)
    assert found.status == "found"
    assert found.zeros >= 0.99


def test_exact_zeros_are_where_the_search_ends() -> None:
    tensor = torch.cat([torch.zeros(900), torch.arange(1.0, 101.0)])
    found = search_threshold([tensor], metric_of([tensor], lambda z: float(z <= 0.9)), floor=1.0)
    assert (found.status, found.value, found.zeros, found.metric) == ("none", 0.0, 0.9, 1.0)
    # Then between the exact zeros and what does not hold, at 0.92 and 0.91.
    assert [trial.zeros for trial in found.trace] == [0.99, 0.97, 0.94, 0.9, 0.92, 0.91]
    found = search_threshold([tensor], metric_of([tensor], lambda z: float(z < 0.94)), floor=1.0)
    assert (found.status, found.value, found.zeros) == ("found", 31.0, 0.93)


def test_metric_that_is_no_number() -> None:
    tensors = weights()
    before = [tensor.clone() for tensor in tensors]
    with pytest.raises(PruningError, match="not a number"):
        search_threshold(tensors, lambda: float("nan"), floor=0.5)
    assert all(torch.equal(a, b) for a, b in zip(before, tensors, strict=True))


def test_no_weights() -> None:
    with pytest.raises(PruningError, match="no weights"):
        search_threshold([], lambda: 1.0, floor=0.5)


def test_weights_are_put_back_after_an_error() -> None:
    tensor = torch.tensor([0.1, 1.0])
    seen: list[list[float]] = []

    def fail() -> float:
        seen.append(tensor.tolist())
        raise KeyError

    with pytest.raises(KeyError), thresholded([tensor], 0.5):
        fail()
    assert seen == [[0.0, 1.0]]
    assert torch.equal(tensor, torch.tensor([0.1, 1.0]))


# ---- a threshold for each layer ----------------------------------------------------------------


def test_deviations_by_hand() -> None:
    layers = [
        torch.tensor([1.0, -1.0]),
        torch.tensor([[2.0, 4.0], [2.0, 4.0]]),  # about their mean of 3
        torch.tensor([0.0, 0.0, 0.0, 8.0]),  # √((3·2² + 6²) / 4)
    ]
    assert layer_deviations(layers) == pytest.approx([1.0, 1.0, 12**0.5])


def test_layers_without_spread_can_be_divided_by() -> None:
    found = layer_deviations([torch.full((3,), 5.0), torch.zeros(2, 2), torch.ones(1)])
    assert all(0 < each <= 1e-30 for each in found)


@pytest.mark.parametrize("floor", [0.05, 0.295, 0.5, 0.9, 2.0])
@pytest.mark.parametrize("units", [(4.0, 0.5), (0.125, 1.0), (1.0, 1.0)])
def test_units_are_like_weights_divided_by_them(floor: float, units: tuple[float, float]) -> None:
    # Powers of two, by which floats are divided exactly.
    tensors = weights()
    divided = [tensor / unit for tensor, unit in zip(tensors, units, strict=True)]
    before = [tensor.clone() for tensor in tensors]
    found = search_threshold(
        tensors, metric_of(tensors, lambda z: 1 - z**2), floor, units=list(units)
    )
    assert all(torch.equal(a, b) for a, b in zip(before, tensors, strict=True))
    plain = search_threshold(divided, metric_of(divided, lambda z: 1 - z**2), floor)
    assert found == plain
    apply_threshold(tensors, found.value, units)
    apply_threshold(divided, plain.value)
    for tensor, unit, other in zip(tensors, units, divided, strict=True):
        assert torch.equal(tensor, other * unit)
    assert zero_share(tensors) == found.zeros


def test_layers_of_unlike_scale_lose_like_shares() -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(500, generator=generator) * scale for scale in (0.01, 1.0, 30.0)]
    evaluate = metric_of(tensors, lambda z: float(z <= 0.66))
    found = search_threshold(tensors, evaluate, floor=1.0, units=layer_deviations(tensors))
    apply_threshold(tensors, found.value, layer_deviations(tensors))
    shares = [zero_share([tensor]) for tensor in tensors]
    assert shares == pytest.approx([0.65] * 3, abs=0.06)
    assert sum(shares) / 3 == pytest.approx(found.zeros)


def test_units_for_another_number_of_layers() -> None:
    with pytest.raises(PruningError, match="there are 1 units for 2 weights; give one for each"):
        search_threshold(weights(), lambda: 1.0, floor=0.5, units=[1.0])


def test_weights_are_put_back_behind_a_threshold_in_units() -> None:
    tensors = [torch.tensor([1.0, 3.0]), torch.tensor([1.0, 3.0])]
    with thresholded(tensors, 1.0, [2.0, 4.0]):
        assert [tensor.tolist() for tensor in tensors] == [[0.0, 3.0], [0.0, 0.0]]
    assert [tensor.tolist() for tensor in tensors] == [[1.0, 3.0], [1.0, 3.0]]
