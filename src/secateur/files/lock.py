"""What only one process at a time does in a folder."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from secateur.distributed.rank import own_rank
from secateur.errors import RunError
from secateur.files.atomic_write import unwritable


@contextmanager
def lock(folder: Path, wait: Callable[[str], None] | None = None) -> Iterator[None]:
    """Keep other processes out of a folder; one that ends, in whatever way, lets go.

    Of several processes at one run, the first does so for all.

    Args:
        folder: that they share; made if absent.
        wait: told that another process is there, which is then waited for; None: do not wait.

    Raises:
        RunError: another process is there, and it is not to be waited for; or the folder cannot be
            written to.
    """
    if own_rank().rank > 0:
        yield
        return
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        if wait is None:
            raise RunError(
                f"{folder}: another process is at work in it; wait for that, or name another "
                "folder with --run"
            ) from None
        wait("another process is at this step here: waiting for it")
        lock.acquire()
    except OSError as error:
        raise unwritable(folder / ".lock", error) from error
    try:
        yield
    finally:
        lock.release()
