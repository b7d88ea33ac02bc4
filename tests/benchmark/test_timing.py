import pytest

from secateur.benchmark.timing import (
    Burst,
    Taken,
    Times,
    runs_by_round,
    runs_within,
    take_turns,
    times_of,
)


class SlowingMachine:
    """A clock on which every second burst makes the machine a tenth slower."""

    def __init__(self) -> None:
        self.bursts = 0
        self.said: list[str] = []

    def network(self, name: str, seconds: float) -> Burst:
        def burst(runs: int) -> Taken:
            slowness = 1 + 0.1 * (self.bursts // 2)
            self.bursts += 1
            self.said.append(f"{name}{runs}")
            return {"network": [seconds * slowness] * runs, "whole": [2 * seconds] * runs}

        return burst


def test_networks_take_turns() -> None:
    machine = SlowingMachine()
    done: list[int] = []
    taken = take_turns(
        [machine.network("a", 0.1), machine.network("b", 0.2)], [[2, 1, 1], [1, 1, 1]], done.append
    )
    assert machine.said == ["a2", "b1", "a1", "b1", "a1", "b1"]
    assert done == [1] * 6
    assert taken[0]["network"] == pytest.approx([0.1, 0.1, 0.11, 0.12])
    assert taken[1] == {"network": pytest.approx([0.2, 0.22, 0.24]), "whole": [0.4, 0.4, 0.4]}


def test_a_machine_that_slows_down_slows_all_networks() -> None:
    machine = SlowingMachine()
    quick, slow = take_turns(
        [machine.network("quick", 0.1), machine.network("slow", 0.2)], [[3] * 10, [1] * 10]
    )
    # The machine is 1.0 to 1.9 times slower, in the median 1.45.
    assert times_of(quick["network"]).median == pytest.approx(145)
    assert times_of(slow["network"]).median == pytest.approx(290)


@pytest.mark.parametrize(
    ("runs", "expected"),
    [(1, [1]), (4, [1] * 4), (10, [1] * 10), (23, [3, 3, 3, 2, 2, 2, 2, 2, 2, 2])],
)
def test_runs_are_distributed_over_the_rounds(runs: int, expected: list[int]) -> None:
    assert runs_by_round(runs) == expected


@pytest.mark.parametrize(
    ("seconds", "once", "expected"),
    # A second for each of ten rounds: ten runs of which nine count.
    [(10, 0.1, 9), (10, 0.25, 3), (10, 3, 1), (0, 0.1, 1)],
)
def test_the_number_of_runs_that_fit_into_a_time(
    seconds: float, once: float, expected: int
) -> None:
    assert runs_within(seconds, once) == [expected] * 10


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([0.25], Times(250, 250, 250, 1)),
        ([0.5, 0.25], Times(375, 312.5, 437.5, 2)),
        # One disturbed run does not change the quartiles.
        ([1, 2, 3, 4, 99], Times(3000, 2000, 4000, 5)),
        ([4, 1, 3, 2], Times(2500, 1750, 3250, 4)),
    ],
)
def test_median_and_quartiles(seconds: list[float], expected: Times) -> None:
    assert times_of(seconds) == expected
