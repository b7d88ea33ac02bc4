"""Early stopping of trials.

Optuna's pruners compare one number at one step and do not support several objectives. Before a
trial is complete, two things are known here: how much accuracy it has kept, and, from its last
removal on, its size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

# Share of the dense network's accuracy below which a trained network is broken.
BROKEN = 0.5
# A network leads another after removal if it is more accurate by at least so many points.
MARGIN = 5.0


@dataclass(frozen=True, slots=True)
class Finished:
    """A completed trial.

    Attributes:
        number: number of the trial.
        removed: metric after its last removal, before retraining.
        accuracy: final metric.
        params: final parameters.
        macs: final MACs.
    """

    number: int
    removed: float
    accuracy: float
    params: float
    macs: float

    @property
    def costs(self) -> tuple[float, float, float]:
        """The objectives, all to be minimised."""
        return -self.accuracy, self.params, self.macs


def broken(accuracy: float, dense: float) -> str | None:
    """Explain why a network is too inaccurate to continue with; None if it is not.

    If a penalty or a learning rate costs half of the dense network's accuracy, the weights say
    little about which filters matter, and selection is close to random.

    Args:
        accuracy: metric after a sparsifying training, or after the retraining of a phase.
        dense: metric of the dense network.
    """
    if accuracy >= BROKEN * dense:
        return None
    return f"{accuracy:.1f} is less than half of the dense network's {dense:.1f}"


def outperformed(
    removed: float, params: float, macs: float, finished: Sequence[Finished]
) -> str | None:
    """Explain why retraining after the last removal is unlikely to pay; None if it may.

    It is unlikely to if some finished trial is no larger and was more accurate by ``MARGIN``
    points at the same step, and yet is dominated by another finished trial that is no larger than
    this one. To reach the Pareto front, this trial would have to overtake both. A trial with fewer
    parameters or fewer MACs than all others always continues.

    Args:
        removed: metric after the last removal, before retraining.
        params: parameters of the network.
        macs: MACs of the network.
        finished: the completed trials.
    """
    smaller = [each for each in finished if each.params <= params and each.macs <= macs]
    for leader in smaller:
        if leader.removed < removed + MARGIN:
            continue
        for best in smaller:
            if dominates(best.costs, leader.costs):
                return (
                    f"trial {leader.number} is no larger and was {leader.removed - removed:.1f} "
                    f"points more accurate at this step, yet trial {best.number} dominates it"
                )
    return None


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether one is no worse than another in any objective and better in some; less is better."""
    return all(a <= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)
