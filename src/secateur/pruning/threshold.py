"""The global threshold: one cut on weight magnitude for all layers of a phase, validated."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from secateur.errors import PruningError, WrongValueError
from secateur.files.arguments import checked
from secateur.pruning.sparsity import apply_threshold, with_units, zero_share

# Shares of zeros that are tried first, from the largest down. They are dense where sparse networks
# end up; bisecting any interval to 1 % takes at most 12 trials in all.
COARSE = (0.99, 0.97, 0.94, 0.88, 0.76, 0.48, 0.16, 0.0)


@dataclass(frozen=True, slots=True)
class ThresholdTrial:
    """One evaluation of the search.

    Attributes:
        threshold: t.
        zeros: share of the phase's weights that are zero at t.
        metric: of the thresholded network on validation.
    """

    threshold: float
    zeros: float
    metric: float


@dataclass(frozen=True, slots=True)
class Threshold:
    """A search's outcome.

    Attributes:
        value: t; weights of smaller magnitude are zeroed.
        zeros: share of the phase's weights that are zero at t.
        metric: of the thresholded network on validation.
        status: ``found``; or ``none`` where no threshold above the exact zeros holds the drop,
            and value is 0.
        trace: every trial, in the order tried.
    """

    value: float
    zeros: float
    metric: float
    status: Literal["found", "none"]
    trace: tuple[ThresholdTrial, ...]


@checked
@contextmanager
def thresholded(
    weights: Sequence[Tensor], threshold: float, units: Sequence[float] | None = None
) -> Iterator[None]:
    """Zero the weights below the threshold inside the context, and restore them after it."""
    kept = [weight.detach().clone() for weight in weights]
    apply_threshold(weights, threshold, units)
    try:
        yield
    finally:
        with torch.no_grad():
            torch._foreach_copy_([weight.detach() for weight in weights], kept)


@checked
def search_threshold(
    weights: Sequence[Tensor],
    evaluate: Callable[[], float],
    floor: float,
    resolution: float = 0.01,
    units: Sequence[float] | None = None,
) -> Threshold:
    """Find the largest single threshold whose network stays above a floor on validation.

    The metric need not fall steadily: thresholds are tried from the largest down, on a coarse grid
    of shares of zeros, and the first that holds is then refined towards its failing neighbour. So
    no grid point above the result holds the floor. For a metric that falls steadily, the result is
    the largest threshold, to the resolution.

    Args:
        weights: of all layers of the phase.
        evaluate: the metric of the network these weights belong to, as they then are.
        floor: the least metric allowed, in the metric's unit.
        resolution: how near the refinement comes, in shares of zeros.
        units: what the threshold is counted in for each layer; None for one and the same
            threshold everywhere. With ``layer_deviations`` it is Han et al.'s (2015), for
            comparison.

    Raises:
        PruningError: there are no weights, the resolution is out of range, or the metric is not a
            number.
    """
    check_resolution(resolution)
    if not weights:
        raise PruningError("there are no weights to threshold; name at least one layer")
    # Of very many weights, a sample gives the quantiles; torch.quantile takes 16 million at most.
    sizes = torch.cat(
        [weight.detach().abs().flatten().cpu() / u for weight, u in with_units(weights, units)]
    )
    sizes = sizes[:: -(-len(sizes) // 4_000_000)].sort().values
    trace: list[ThresholdTrial] = []

    def attempt(share: float) -> ThresholdTrial:
        # The least value above the wanted share of weights: all below it become zero.
        value = float(sizes[min(int(share * len(sizes)), len(sizes) - 1)]) if share > 0 else 0.0
        with thresholded(weights, value, units):
            metric = evaluate()
        if math.isnan(metric):
            raise PruningError("the metric on validation is not a number; check the split")
        trace.append(ThresholdTrial(value, zero_share(weights, value, units), metric))
        return trace[-1]

    above = 1.0
    exact = zero_share(weights)
    for share in [*(s for s in COARSE if s > exact), exact if exact > 0 else 0.0]:
        best = attempt(share if share > exact else 0.0)
        if best.metric >= floor or share <= exact:
            break
        above = share
    below = share
    # In whole steps of the resolution, so that 0.01 finds shares of whole percents. If not even the
    # exact zeros hold, no lower share can be tried.
    while best.metric >= floor and above - below > resolution * (1 + 1e-6):
        middle = below + resolution * max(1, round((above - below) / resolution / 2))
        trial = attempt(middle)
        if trial.metric >= floor:
            best, below = trial, middle
        else:
            above = middle
    found = best.metric >= floor and best.threshold > 0
    return Threshold(
        best.threshold, best.zeros, best.metric, "found" if found else "none", tuple(trace)
    )


def check_resolution(resolution: float) -> None:
    """Refuse a resolution that is no share between 0 and 1.

    Raises:
        PruningError: it is out of range.
    """
    if not 0 < resolution < 1:
        raise WrongValueError(f"resolution is {resolution!r}; give a share between 0 and 1")


def layer_deviations(weights: Sequence[Tensor]) -> list[float]:
    """Standard deviation of each layer's weights; of a layer without any spread, the least float.

    Han et al., "Learning both Weights and Connections for Efficient Neural Networks", NeurIPS 2015,
    section 3.1, cut each layer at a multiple of it.
    """
    return [max(float(weight.detach().double().std(correction=0)), 1e-30) for weight in weights]
