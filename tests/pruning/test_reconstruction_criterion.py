"""The criterion ``reconstruction``: what is lost once the others have made up for it."""

import pytest
import torch
from torch import Tensor, nn

import secateur
from secateur.errors import PruningError
from secateur.pruning.criteria.importance import Scored
from secateur.pruning.criteria.reconstruction import unexplained
from secateur.pruning.graph.trace import channel_groups


def scored(model: nn.Module, batches: list[Tensor]) -> dict[str, list[float]]:
    graph = channel_groups(model, batches[0])
    names = list(graph.prunable())
    found = unexplained(Scored(model, graph, names, batches[0], inputs=lambda: iter(batches)))
    return {name: each.tolist() for name, each in found.items()}


def readers(*weights: list[list[float]]) -> nn.Sequential:
    """The identity on three channels, and a layer that reads them."""
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, len(weights[0]), 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(3).view(3, 3, 1, 1))
        model[0].bias.zero_()
        model[1].weight.copy_(torch.tensor(weights[0]).view(-1, 3, 1, 1))
    return model


def test_independent_channels_lose_their_own_variance() -> None:
    # Orthogonal, of variances 1, 4 and 1.
    signs = torch.tensor([[1.0, 1, 1], [-1, 1, -1], [1, -1, -1], [-1, -1, 1]])
    x = (signs * torch.tensor([1.0, 2, 1])).view(4, 3, 1, 1)
    (importance,) = scored(readers([[1.0, 0.5, 3], [0, 0, 0]]), [x]).values()
    # Outputs have 1·1 + 0.25·4 + 9·1 of variance.
    assert importance == pytest.approx([1 / 11, 1 / 11, 9 / 11], rel=1e-2)


def test_a_channel_that_another_gives_goes_first() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 3, 2, 2)
    x[:, 2] = 5 * x[:, 0] + 1
    (importance,) = scored(readers([[1.0, 0.1, 1]]), [x[:32], x[32:]]).values()
    # Without 0, channel 2 stands for both: 36 of 36.01 are then its own.
    assert importance[0] == min(importance) < 0.01
    assert importance[2] == max(importance) == pytest.approx(36 / 36.01, rel=0.02)


def slow(covariance: Tensor, weights: Tensor) -> list[float]:
    """Remove one after another by solving the least squares anew for every candidate."""
    left, lost = list(range(len(covariance))), [0.0] * len(covariance)
    total = float((weights.T @ covariance @ weights).trace())
    gone = 0.0
    while left:

        def error(candidate: int) -> float:
            rest = [i for i in left if i != candidate]
            known = covariance[rest]
            residual = covariance - known.T @ torch.linalg.lstsq(known[:, rest], known).solution
            return float((weights.T @ residual @ weights).trace()) / total

        errors = {candidate: error(candidate) for candidate in left}
        first = min(errors, key=errors.__getitem__)
        lost[first] = max(errors[first] - gone, *lost)
        gone = errors[first]
        left.remove(first)
    return lost


def test_the_order_is_that_of_solving_anew_each_time() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(5, 6, 1), nn.Conv2d(6, 4, 3)).double()
    x = torch.randn(500, 5, 3, 3).double() @ torch.randn(3, 3).double()
    with torch.no_grad():
        maps = model[0](x).movedim(1, 0).flatten(1)
    covariance = maps.cov(correction=0)
    covariance += 1e-3 * covariance.diagonal().mean() * torch.eye(6).double()
    weights = model[1].weight.detach().movedim(1, 0).flatten(1)
    (importance,) = scored(model, [x]).values()
    assert importance == pytest.approx(slow(covariance, weights), rel=1e-3, abs=1e-6)


def test_a_flattened_map_is_read_by_all_its_positions() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Flatten(), nn.Linear(12, 5))
    with torch.no_grad():
        model[2].weight.view(5, 3, 4)[:, 1] = 0  # channel 1 is not read
    importance = scored(model, [torch.randn(32, 3, 2, 2)])["0"]
    assert importance[1] == pytest.approx(0, abs=1e-9)
    assert min(importance[0], importance[2]) > 0.01


def test_pictures_are_needed() -> None:
    model = readers([[1.0, 1, 1]])
    graph = channel_groups(model, torch.zeros(1, 3, 2, 2))
    with pytest.raises(PruningError, match="reconstruction needs pictures; give a calibration"):
        unexplained(Scored(model, graph, list(graph.prunable()), torch.zeros(1, 3, 2, 2)))
    with pytest.raises(PruningError, match="reconstruction needs pictures; give a calibration"):
        secateur.compress(
            model,
            torch.zeros(1, 3, 2, 2),
            secateur.Goal(keep_macs=0.5),
            train=None,
            evaluate=lambda _: 1.0,
        )
