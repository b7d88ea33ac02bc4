"""Which of a run's processes this one is, and what part of the work falls to it."""

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rank:
    """One of the processes that torchrun started for a run.

    Attributes:
        rank: its number among all, from 0.
        count: of all.
        local_rank: its number among those of its machine, from 0.
        local_count: of those.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1

    def of_batch(self, size: int) -> slice:
        """What falls to it of a training batch; ``size`` can be divided by the processes."""
        own = size // self.count
        return slice(self.rank * own, (self.rank + 1) * own)

    def of_pictures(self, count: int, batch_size: int) -> list[int]:
        """Positions of the pictures that it evaluates; each of ``count`` falls to one process.

        Whole batches go round, so that a picture meets those that it would meet in one process,
        and its answer is the same to the last bit.
        """
        return [at for at in range(count) if at // batch_size % self.count == self.rank]


SINGLE = Rank()


def own_rank() -> Rank:
    """Read from the environment where torchrun put this process; it is alone without torchrun."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return SINGLE
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    return Rank(*(int(os.environ[name]) for name in names))
