"""What a benchmark promises, held against what it measured."""

from collections.abc import Sequence
from typing import Any


def tell(checks: Sequence[dict[str, Any]]) -> None:
    """Print each check: its value, its target, and whether that is met."""
    for check in checks:
        met = "met" if check["met"] else "NOT MET"
        print(f"{check['name']}: {check['value']:.4g} (target {check['target']:g}) {met}")
