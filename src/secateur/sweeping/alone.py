"""What only one process at a time does in a folder that several work in."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from secateur.whole_file import unwritable


@contextmanager
def alone(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Wait until no other process is at it; one that ends, in whatever way, lets go.

    Args:
        folder: that they share.
        say: told if there is a wait.

    Raises:
        RunError: the folder cannot be written to.
    """
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        say("another process is at this step here: waiting for it")
        lock.acquire()
    except OSError as error:
        raise unwritable(folder / ".lock", error) from error
    try:
        yield
    finally:
        lock.release()
