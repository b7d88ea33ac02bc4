"""Memory of the current process, measured from before a network is loaded."""

import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# Of Linux, where a new process inherits its parent's ``ru_maxrss``.
_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory that a process took to load and run a network.

    Attributes:
        peak: bytes beyond those in use before loading.
        in_all: bytes at the peak, with Python and its libraries.
    """

    peak: int
    in_all: int


def before() -> int | None:
    """Reset the peak and return the bytes in use; None if the system does not report them."""
    with suppress(OSError):  # then the start includes the peak of the imports, slightly more
        _CLEAR_REFS.write_text("5")
    return _peak()


def since(start: int | None) -> Memory | None:
    """Return the peak since ``before()`` returned ``start``."""
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
