"""Which of several networks no other surpasses."""

from collections.abc import Sequence


def surpasses(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether one is nowhere worse than another, and somewhere better; less is better."""
    return all(a <= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)


def front(points: Sequence[Sequence[float]]) -> list[int]:
    """Give the positions of the points that no other surpasses; equal ones stay together.

    Args:
        points: as many numbers each, all of which had better be small.
    """
    return [
        place
        for place, point in enumerate(points)
        if not any(surpasses(other, point) for other in points)
    ]
