"""The rank of a process and its part of the work."""

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rank:
    """The position of a process among those that torchrun started, in torch's terms.

    Attributes:
        rank: index among all processes.
        world_size: number of processes.
        local_rank: index among the processes of this machine.
        local_world_size: number of processes of this machine.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1

    def batch_slice(self, size: int) -> slice:
        """Give this rank's part of a training batch; ``world_size`` must divide ``size``."""
        own = size // self.world_size
        return slice(self.rank * own, (self.rank + 1) * own)

    def sample_indices(self, count: int, batch_size: int) -> list[int]:
        """Give the indices, of ``count`` samples, that this rank evaluates.

        Ranks take whole batches in turn. A batch is therefore the same as in a single process, and
        the predictions are equal to the last bit.
        """
        return [i for i in range(count) if i // batch_size % self.world_size == self.rank]


SINGLE = Rank()


def own_rank() -> Rank:
    """Read the rank of this process from torchrun's environment; ``SINGLE`` without torchrun."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return SINGLE
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    return Rank(*(int(os.environ[name]) for name in names))
