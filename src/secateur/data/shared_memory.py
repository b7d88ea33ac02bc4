"""Room in shared memory, where worker processes put the batches that they load."""

import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

# Where Linux keeps it; Docker gives a container 64 MB. Other systems have no such limit.
FOLDER = Path("/dev/shm") if sys.platform == "linux" else None  # noqa: S108 # nothing is written
# Batches that each worker process loads ahead.
PREFETCH = 4
# Batches of a loader that the training holds: the current one, and the next while it arrives.
HELD = 2


@dataclass(frozen=True, slots=True)
class Loading:
    """How many batches are loaded at once.

    Attributes:
        workers: processes that load; 0: the training itself loads.
        prefetch: batches that each of them loads ahead.
        shortage: why there are fewer processes than wanted, and the cure; None if there are not.
    """

    workers: int
    prefetch: int
    shortage: str | None = None


def fitting(workers: int, batch: int, trainings: int = 1) -> Loading:
    """Fit the worker processes of a training into shared memory.

    Args:
        workers: processes wanted, at least 1.
        batch: bytes of a batch.
        trainings: processes on this machine that train, each with its own workers.
    """
    if FOLDER is None:
        return Loading(workers, PREFETCH)
    room = free_room(FOLDER)
    fit = max(0, room // trainings // batch - HELD)
    if fit >= workers:
        return Loading(workers, min(PREFETCH, fit // workers))
    wanted = trainings * (workers * PREFETCH + HELD) * batch
    cure = f"enlarge it (docker run --shm-size={max(1, round(2 * wanted / 2**30))}g)"
    if not room:
        what = "is absent, full or read-only, so no process loads pictures beside the training"
    else:
        what = (
            f"has {room / 2**20:.0f} MB free, room for {fit} of {workers} processes that load "
            "pictures"
        )
    return Loading(fit, 1, f"{FOLDER}: {what}; {cure}, or lower data.workers")


def free_room(folder: Path) -> int:
    """Bytes that a process can still write there; 0 where it can write nothing."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return shutil.disk_usage(folder).free
    except OSError:
        return 0
