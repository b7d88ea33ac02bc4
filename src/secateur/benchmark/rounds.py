"""Networks take turns, so that what else the machine does falls on all of them."""

from collections.abc import Callable, Sequence
from typing import Literal

# ``network``: from bytes to raw outputs; ``whole``: to objects behind NMS, or to probabilities.
Part = Literal["network", "whole"]
# Seconds of each run, by the part that was timed.
Taken = dict[Part, list[float]]
# Runs all parts so many times in a row.
Burst = Callable[[int], Taken]

ROUNDS = 10


def take_turns(
    bursts: Sequence[Burst],
    runs: Sequence[Sequence[int]],
    advance: Callable[[int], None] = lambda _count: None,
) -> list[Taken]:
    """Let each network have a short burst, round after round.

    Args:
        bursts: of each network.
        runs: of each network, how many in each round; as many rounds for all.
        advance: told of each burst done.

    Returns:
        For each network its times.
    """
    taken: list[Taken] = [{} for _ in bursts]
    for counts in zip(*runs, strict=True):
        for own, burst, count in zip(taken, bursts, counts, strict=True):
            for part, seconds in burst(count).items():
                own.setdefault(part, []).extend(seconds)
            advance(1)
    return taken


def runs_by_round(runs: int) -> list[int]:
    """Spread a number of runs over the rounds."""
    rounds = min(runs, ROUNDS)
    return [runs // rounds + (number < runs % rounds) for number in range(rounds)]


def runs_within(seconds: float, once: float) -> list[int]:
    """Give the runs of each round that take so long together.

    Args:
        seconds: for all rounds; more where a single run in each takes longer.
        once: seconds of one run.
    """
    # Each burst has one more, which is not counted.
    return [max(1, round(seconds / ROUNDS / once) - 1)] * ROUNDS
