"""How long several runs still take."""

from collections.abc import Sequence
from datetime import timedelta

# The first ones train dense networks that others find done, so the last ones tell most.
LAST = 3


def outlook(starts: Sequence[float], total: int) -> str:
    """Say how much time is gone and about how much is left; nothing before the second run.

    Args:
        starts: when each run began, in seconds of one clock; the last begins now.
        total: how many runs there are.
    """
    if len(starts) < 2:
        return ""
    recent = starts[-LAST - 1 :]
    each = (recent[-1] - recent[0]) / (len(recent) - 1)
    gone, left = (
        timedelta(seconds=round(seconds))
        for seconds in (starts[-1] - starts[0], each * (total - len(starts) + 1))
    )
    return f" ({gone} gone, about {left} left)"
