"""When a trial is given up, with numbers set by hand."""

import pytest

from secateur.experiments.sweep.early_stopping import Finished, broken, outdone, surpasses

# number, metric behind the last removal and in the end, parameters, MACs
SMALL = Finished(1, 70.0, 90.0, 100, 50)
BETTER = Finished(2, 40.0, 91.0, 100, 50)
LARGE = Finished(3, 80.0, 95.0, 400, 200)
# A trial's network: removed, parameters, MACs.
BEHIND = (65.0, 150, 60)


@pytest.mark.parametrize(
    ("accuracy", "dense", "is_broken"),
    [(46.0, 92.0, False), (45.9, 92.0, True), (0.0, 0.0, False), (95.0, 92.0, False)],
)
def test_broken_below_half_of_dense(accuracy: float, dense: float, is_broken: bool) -> None:
    assert (broken(accuracy, dense) is not None) == is_broken


def test_broken_says_how_far() -> None:
    assert broken(12.34, 92.3) == "12.3 is less than half of the dense network's 92.3"


def test_outdone_by_one_that_is_ahead_and_surpassed() -> None:
    assert outdone(*BEHIND, [SMALL, BETTER]) == (
        "trial 1 is no larger, kept 5.0 points more, and yet trial 2 surpasses it"
    )


@pytest.mark.parametrize(
    ("why", "trial", "finished"),
    [
        ("nothing is finished", BEHIND, []),
        ("the one ahead is not surpassed", BEHIND, [SMALL]),
        ("the other one is not ahead", BEHIND, [BETTER]),
        ("less than the margin behind", (65.1, 150, 60), [SMALL, BETTER]),
        ("it has fewer parameters than they", (0.0, 99, 60), [SMALL, BETTER]),
        ("it has fewer MACs than they", (0.0, 150, 49), [SMALL, BETTER]),
        ("who surpasses is larger", BEHIND, [SMALL, LARGE]),
        ("who is ahead is larger", BEHIND, [LARGE, BETTER]),
    ],
)
def test_not_outdone(why: str, trial: tuple[float, float, float], finished: list[Finished]) -> None:
    assert outdone(*trial, finished) is None, why


def test_equal_size_is_no_larger() -> None:
    assert outdone(65.0, 100, 50, [SMALL, BETTER]) is not None


def test_steps_that_are_spared() -> None:
    """Six trials of 250 steps with the penalty and 1,000 of retraining each.

    All keep as much and end where they are said to; each is judged where it would be by itself.
    """
    trials = [  # removed, in the end, parameters, MACs
        (60.0, 92.0, 180, 60),  # 0: the recipe
        (70.0, 91.0, 180, 60),  # 1: surpassed by 0, though it was ahead of it
        (30.0, 90.0, 200, 70),  # 2: behind 1 by 40 points: given up
        (68.0, 93.0, 300, 90),  # 3: larger, and near enough: through
        (64.0, 88.0, 250, 90),  # 4: behind 1 by 6: given up
        (5.0, 70.0, 90, 60),  # 5: the smallest: through
    ]
    finished: list[Finished] = []
    taken = 0
    for number, (removed, accuracy, params, macs) in enumerate(trials):
        taken += 250
        if outdone(removed, params, macs, finished) is None:
            taken += 1000
            finished.append(Finished(number, removed, accuracy, params, macs))
    assert [each.number for each in finished] == [0, 1, 3, 5]
    assert taken == 4 * 1250 + 2 * 250 == 5500  # of 7,500


@pytest.mark.parametrize(
    ("one", "other", "better"),
    [
        ((1, 1), (2, 2), True),
        ((1, 2), (1, 3), True),
        ((1, 2), (1, 2), False),
        ((1, 3), (2, 2), False),
        ((2, 2), (1, 1), False),
    ],
)
def test_surpasses(one: tuple[float, ...], other: tuple[float, ...], better: bool) -> None:
    assert surpasses(one, other) == better
