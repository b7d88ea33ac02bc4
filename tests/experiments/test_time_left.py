"""What a comparison says of its time."""

from secateur.experiments.time_left import outlook


def test_the_last_runs_tell_how_long_the_rest_takes() -> None:
    assert outlook([100.0], 5) == ""
    assert outlook([100.0, 160.0], 5) == " (0:01:00 gone, about 0:04:00 left)"
    # The first run took 1,000 s; the three behind it 20 s each, and two are left.
    starts = [0.0, 1000.0, 1020.0, 1040.0, 1060.0]
    assert outlook(starts, 6) == " (0:17:40 gone, about 0:00:40 left)"
