"""The memory of a process of its own, from the time before a network is loaded."""

import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# Of Linux. There ``ru_maxrss`` will not do: a new process takes over its parent's.
_STATUS = Path("/proc/self/status")
_FORGET = Path("/proc/self/clear_refs")


@dataclass(frozen=True, slots=True)
class Memory:
    """What a process took to load a network and run it.

    Attributes:
        peak: bytes beyond those of the process before it.
        in_all: bytes at the peak, with Python and its libraries.
    """

    peak: int
    in_all: int


def before() -> int | None:
    """Give the bytes of memory in use, and forget the peak so far; None where nobody tells."""
    with suppress(OSError):  # then what importing took at its peak, a little more, is taken off
        _FORGET.write_text("5")
    return _peak()


def since(start: int | None) -> Memory | None:
    """Give the peak since ``before()`` gave ``start``."""
    peak = _peak()
    return None if peak is None or start is None else Memory(peak - start, peak)


def _peak() -> int | None:
    if _STATUS.is_file():
        line = next(s for s in _STATUS.read_text().splitlines() if s.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    if sys.platform == "darwin":
        from resource import RUSAGE_SELF, getrusage  # noqa: PLC0415 # not on every system

        return getrusage(RUSAGE_SELF).ru_maxrss
    return None
