import pytest

from secateur.benchmark.times import Times, times_of


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([0.25], Times(250, 250, 250, 1)),
        ([0.5, 0.25], Times(375, 312.5, 437.5, 2)),
        # One run that something else held up moves no more than its own place.
        ([1, 2, 3, 4, 99], Times(3000, 2000, 4000, 5)),
        ([4, 1, 3, 2], Times(2500, 1750, 3250, 4)),
    ],
)
def test_median_and_quartiles(seconds: list[float], expected: Times) -> None:
    assert times_of(seconds) == expected
