"""Which points no other surpasses."""

from itertools import product

import pytest

from secateur.sweeping.front import front, surpasses


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


def test_front_of_accuracy_parameters_and_macs() -> None:
    points = [
        (-92.0, 183, 63),  # the recipe
        (-93.0, 400, 150),  # more accurate and larger
        (-91.0, 183, 63),  # less accurate, no smaller
        (-80.0, 90, 63),  # fewer parameters
        (-80.0, 95, 60),  # fewer MACs
        (-79.0, 95, 63),  # nothing
        (-92.0, 183, 63),  # the same as the first
    ]
    assert front(points) == [0, 1, 3, 4, 6]


def test_nothing_and_one() -> None:
    assert front([]) == []
    assert front([(1.0,)]) == [0]


def test_front_is_that_of_a_slow_loop() -> None:
    points = [(a, b, (7 * a + 5 * b) % 11) for a, b in product(range(6), range(6))]
    expected = []
    for i, point in enumerate(points):
        beaten = False
        for other in points:
            no_worse = other[0] <= point[0] and other[1] <= point[1] and other[2] <= point[2]
            beaten = beaten or (no_worse and other != point)
        if not beaten:
            expected.append(i)
    assert front(points) == expected
