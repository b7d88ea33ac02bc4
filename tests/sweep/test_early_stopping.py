"""When a trial is stopped early, with numbers set by hand."""

import pytest

from secateur.experiments.sweep.early_stopping import Finished, broken, dominates, outperformed

# number, metric after the last removal and after retraining, parameters, MACs
SMALL = Finished(1, 70.0, 90.0, 100, 50)
BETTER = Finished(2, 40.0, 91.0, 100, 50)
LARGE = Finished(3, 80.0, 95.0, 400, 200)
# A trial: metric after removal, parameters, MACs.
TRIAL = (65.0, 150, 60)


@pytest.mark.parametrize(
    ("accuracy", "dense", "is_broken"),
    [(46.0, 92.0, False), (45.9, 92.0, True), (0.0, 0.0, False), (95.0, 92.0, False)],
)
def test_broken_below_half_of_dense(accuracy: float, dense: float, is_broken: bool) -> None:
    assert (broken(accuracy, dense) is not None) == is_broken


def test_the_reason_of_a_broken_network() -> None:
    assert broken(12.34, 92.3) == "12.3 is less than half of the dense network's 92.3"


def test_outperformed_by_a_trial_that_leads_and_is_dominated() -> None:
    assert outperformed(*TRIAL, [SMALL, BETTER]) == (
        "trial 1 is no larger and was 5.0 points more accurate at this step, "
        "yet trial 2 dominates it"
    )


@pytest.mark.parametrize(
    ("why", "trial", "finished"),
    [
        ("nothing is finished", TRIAL, []),
        ("the leader is not dominated", TRIAL, [SMALL]),
        ("the other one does not lead", TRIAL, [BETTER]),
        ("the lead is smaller than the margin", (65.1, 150, 60), [SMALL, BETTER]),
        ("it has fewer parameters than both", (0.0, 99, 60), [SMALL, BETTER]),
        ("it has fewer MACs than both", (0.0, 150, 49), [SMALL, BETTER]),
        ("the dominating one is larger", TRIAL, [SMALL, LARGE]),
        ("the leader is larger", TRIAL, [LARGE, BETTER]),
    ],
)
def test_not_outperformed(
    why: str, trial: tuple[float, float, float], finished: list[Finished]
) -> None:
    assert outperformed(*trial, finished) is None, why


def test_equal_size_is_no_larger() -> None:
    assert outperformed(65.0, 100, 50, [SMALL, BETTER]) is not None


def test_steps_saved() -> None:
    """Six trials, each of 250 steps with the penalty and 1,000 steps of retraining."""
    trials = [  # after removal, after retraining, parameters, MACs
        (60.0, 92.0, 180, 60),  # 0: the recipe
        (70.0, 91.0, 180, 60),  # 1: dominated by 0, though more accurate after removal
        (30.0, 90.0, 200, 70),  # 2: 40 points below 1: stopped
        (68.0, 93.0, 300, 90),  # 3: larger and close enough: complete
        (64.0, 88.0, 250, 90),  # 4: 6 points below 1: stopped
        (5.0, 70.0, 90, 60),  # 5: the smallest: complete
    ]
    finished: list[Finished] = []
    taken = 0
    for number, (removed, accuracy, params, macs) in enumerate(trials):
        taken += 250
        if outperformed(removed, params, macs, finished) is None:
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
        ((1, 2, 3), (1, 3, 2), False),
        ((1, 2, 3), (1, 2, 4), True),
    ],
)
def test_dominates(one: tuple[float, ...], other: tuple[float, ...], better: bool) -> None:
    assert dominates(one, other) == better
