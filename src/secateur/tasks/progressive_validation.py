"""Validation that grows with doubt: of a network that clearly falls short, a part says enough.

Most networks that the search for a threshold tries have lost far more than they may. They are asked
about a random part of validation first, then about a larger one; only what these leave open is
asked about all of it. So a network can be refused by a part and is accepted by the whole alone.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

# Shares of the pictures that are tried before all of them, and the fewest that are worth it.
PARTS = (1 / 16, 1 / 4)
LEAST = 16
# Left out one after the other to see how much a difference depends on chance (the jackknife; Efron
# and Stein, Annals of Statistics 1981, which average precision, no mean over pictures, calls for).
GROUPS = 20
# Standard errors by which a network must fall short; a search looks two dozen times.
SURE = 4.0


class GrowingValidation:
    """Measures networks on a set of pictures, or on as much of it as shows that they fall short.

    What a part says of a network is held against what it says of a reference, whose metric on the
    whole set is known: that a part is easy, or lacks a class, is then no error.

    Args:
        pictures: number of pictures.
        ask: what the network, as it then is, says of each of the pictures at some positions. On
            construction, that is the reference network.
        measure: the metric of predictions to the pictures at some positions.
        reference: the reference's metric on all pictures.
        floor: the least metric that does not fall short.
        seed: of the order in which pictures are taken.

    Attributes:
        looked_at: how many pictures each network was asked about.
    """

    def __init__(
        self,
        pictures: int,
        ask: Callable[[Sequence[int]], Sequence[Any]],
        measure: Callable[[Sequence[Any], Sequence[int]], float],
        reference: float,
        floor: float,
        seed: int,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.order: list[int] = torch.randperm(pictures, generator=generator).tolist()
        sizes = [round(share * pictures) for share in PARTS]
        self.sizes = [size for size in sizes if size >= LEAST]
        self.ask, self.measure = ask, measure
        self.reference, self.floor = reference, floor
        self.looked_at: list[int] = []
        self.expected = list(ask(self.order[: max(self.sizes, default=0)])) if self.sizes else []

    def __call__(self) -> float:
        """The metric, in percent, of the network that ``ask`` now asks.

        On all pictures; estimated, if a part was enough.
        """
        said: list[Any] = []
        for size in self.sizes:
            said += self.ask(self.order[len(said) : size])
            difference, error = self.difference(said)
            if self.reference + difference + SURE * error < self.floor:
                self.looked_at.append(size)
                return max(0.0, self.reference + difference)
        said += self.ask(self.order[len(said) :])
        # In the set's own order, as whoever measures all of it at once.
        by_position = dict(zip(self.order, said, strict=True))
        positions = range(len(self.order))
        self.looked_at.append(len(said))
        return self.measure([by_position[p] for p in positions], positions)

    def difference(self, said: Sequence[Any]) -> tuple[float, float]:
        """How far the network's metric lies from the reference's, and the standard error of that.

        Args:
            said: of the first pictures, in the order in which they are taken.
        """
        size = len(said)
        groups = min(GROUPS, size)

        def without(group: int | None) -> float:
            kept = [i for i in range(size) if i % groups != group]
            positions = [self.order[i] for i in kept]
            own = self.measure([said[i] for i in kept], positions)
            return own - self.measure([self.expected[i] for i in kept], positions)

        left_out = torch.tensor([without(group) for group in range(groups)], dtype=torch.float64)
        spread = float((left_out - left_out.mean()).square().sum()) * (groups - 1) / groups
        return without(None), math.sqrt(spread * (1 - size / len(self.order)))
