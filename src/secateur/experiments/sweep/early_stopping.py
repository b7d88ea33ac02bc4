"""When to give a trial up before it has cost all that it would.

Optuna's pruners compare one number at one step, and know nothing of several objectives. What can
be seen here before a trial is through is how much accuracy it has kept, and from its last removal
on its size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

# Share of the dense network's accuracy under which a network behind a training is broken.
BROKEN = 0.5
# Points by which a network must be ahead straight after removal to count as ahead.
MARGIN = 5.0


@dataclass(frozen=True, slots=True)
class Finished:
    """A trial that went through.

    Attributes:
        number: of the trial.
        removed: metric straight after its last removal.
        accuracy: metric in the end.
        params: in the end.
        macs: in the end.
    """

    number: int
    removed: float
    accuracy: float
    params: float
    macs: float

    @property
    def costs(self) -> tuple[float, float, float]:
        """What had better be small."""
        return -self.accuracy, self.params, self.macs


def broken(accuracy: float, dense: float) -> str | None:
    """Say why a network cannot be gone on from behind a training, if it is so.

    A penalty or a learning rate that costs half of the dense network's accuracy has left little
    to tell filters by, and what is cut from such a network is as good as random.

    Args:
        accuracy: behind the training with the penalty, or behind the retraining of a phase.
        dense: of the dense network.
    """
    if accuracy >= BROKEN * dense:
        return None
    return f"{accuracy:.1f} is less than half of the dense network's {dense:.1f}"


def outdone(removed: float, params: float, macs: float, finished: Sequence[Finished]) -> str | None:
    """Say why retraining behind the last removal, the dearest step, is not worth it, if it is so.

    So it is if some finished trial was no larger, had kept more accuracy by ``MARGIN`` points when
    it was where this one is, and was surpassed in the end all the same, by one that is no larger
    either. To come to the front, this one would have to start behind the first and overtake both.
    A trial that is smaller than all others in one of the two counts is never given up.

    Args:
        removed: metric straight after the last removal.
        params: which the network will have.
        macs: likewise.
        finished: trials that went through.
    """
    smaller = [each for each in finished if each.params <= params and each.macs <= macs]
    for ahead in smaller:
        if ahead.removed < removed + MARGIN:
            continue
        for best in smaller:
            if surpasses(best.costs, ahead.costs):
                return (
                    f"trial {ahead.number} is no larger, kept {ahead.removed - removed:.1f} points "
                    f"more, and yet trial {best.number} surpasses it"
                )
    return None


def surpasses(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether one is nowhere worse than another, and somewhere better; less is better."""
    return all(a <= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)
