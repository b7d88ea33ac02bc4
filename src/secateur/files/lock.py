"""A lock on a folder, which one process at a time holds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from secateur.distributed.rank import own_rank
from secateur.errors import RunError
from secateur.files.atomic_write import unwritable


@contextmanager
def lock(folder: Path, wait: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the lock of a folder; the system releases it when the process ends in any way.

    Of the processes of one run only rank 0 takes the lock.

    Args:
        folder: created if it does not exist.
        wait: called with a message before waiting for another process; None: raise instead.

    Raises:
        RunError: another process holds the lock and ``wait`` is None, or the folder cannot be
            written to.
    """
    if own_rank().rank > 0:
        yield
        return
    file = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.acquire(timeout=0)
    except Timeout:
        if wait is None:
            raise RunError(
                f"{folder}: another process is working in this folder; wait until it ends, or name "
                "another folder with --run"
            ) from None
        wait("waiting for another process that is at this step")
        file.acquire()
    except OSError as error:
        raise unwritable(folder / ".lock", error) from error
    try:
        yield
    finally:
        file.release()
