"""The checks of a benchmark: measured values compared with targets."""

from collections.abc import Sequence
from typing import Any

Check = dict[str, Any]


def check(name: str, value: float, target: float, *, met: bool) -> Check:
    """Make a check, as results files hold it."""
    return {"name": name, "value": value, "target": target, "met": met}


def at_least(name: str, value: float, target: float) -> Check:
    """Check that a value is no smaller than its target."""
    return check(name, value, target, met=value >= target)


def at_most(name: str, value: float, target: float) -> Check:
    """Check that a value is no larger than its target."""
    return check(name, value, target, met=value <= target)


def equal(name: str, value: float, target: float) -> Check:
    """Check that a value equals its target."""
    return check(name, value, target, met=value == target)


def print_checks(checks: Sequence[Check]) -> None:
    """Print each check: its value, its target, and whether the target is met."""
    for each in checks:
        met = "met" if each["met"] else "NOT MET"
        print(f"{each['name']}: {each['value']:.4g} (target {each['target']:g}) {met}")
