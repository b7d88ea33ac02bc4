"""Timing several networks in turns, and summing up their times."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Literal

# ``network``: from bytes to raw outputs; ``whole``: to objects after NMS, or to probabilities.
Part = Literal["network", "whole"]
# Seconds of each run, by the part that was timed.
Taken = dict[Part, list[float]]
# Runs every part a number of times in a row.
Burst = Callable[[int], Taken]

ROUNDS = 10


@dataclass(frozen=True, slots=True)
class Times:
    """Duration of many runs, in milliseconds.

    Attributes:
        median: of all runs.
        lower: first quartile.
        upper: third quartile.
        count: number of runs.
    """

    median: float
    lower: float
    upper: float
    count: int


def times_of(seconds: Sequence[float]) -> Times:
    """Sum up durations by quartiles, which a few disturbed runs do not change."""
    milliseconds = [1000 * each for each in seconds]
    middle = median(milliseconds)
    lower = upper = middle
    if len(milliseconds) > 1:
        lower, _, upper = quantiles(milliseconds, n=4, method="inclusive")
    return Times(middle, lower, upper, len(milliseconds))


def take_turns(
    bursts: Sequence[Burst],
    runs: Sequence[Sequence[int]],
    advance: Callable[[int], None] = lambda _count: None,
) -> list[Taken]:
    """Run a short burst of each network in every round, so that other load affects all alike.

    Args:
        bursts: one function per network.
        runs: for each network, the number of runs in each round; equally many rounds for all.
        advance: called after each burst.

    Returns:
        Each network's times.
    """
    taken: list[Taken] = [{} for _ in bursts]
    for counts in zip(*runs, strict=True):
        for own, burst, count in zip(taken, bursts, counts, strict=True):
            for part, seconds in burst(count).items():
                own.setdefault(part, []).extend(seconds)
            advance(1)
    return taken


def runs_by_round(runs: int) -> list[int]:
    """Distribute a number of runs over the rounds."""
    rounds = min(runs, ROUNDS)
    return [runs // rounds + (number < runs % rounds) for number in range(rounds)]


def runs_within(seconds: float, once: float) -> list[int]:
    """Return the runs of each round that fit into a time.

    Args:
        seconds: for all rounds together; each round has at least one run.
        once: seconds of one run.
    """
    # Each burst has one more run, which is not counted.
    return [max(1, round(seconds / ROUNDS / once) - 1)] * ROUNDS
