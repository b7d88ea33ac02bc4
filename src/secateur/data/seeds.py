"""Seeds derived from one seed, and the shuffled order of pictures in an epoch."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

# What a derived seed is for: the first part of its key, so that no two uses share random numbers.
ORDER, AUGMENTATION, DROPOUT = 0, 1, 2


def derived_seed(seed: int, *key: int) -> int:
    """Return a 64-bit seed that depends on ``seed`` and on every number of ``key``.

    Uses ``numpy.random.SeedSequence``: different keys give independent streams, and the result is
    the same on every machine and in every process.
    """
    return int(np.random.SeedSequence(seed, spawn_key=key).generate_state(1, np.uint64)[0])


@lru_cache(maxsize=4)
def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """Return the order of ``count`` pictures in an epoch, a permutation (count,) int64."""
    generator = torch.Generator().manual_seed(derived_seed(seed, ORDER, epoch))
    return torch.randperm(count, generator=generator)
