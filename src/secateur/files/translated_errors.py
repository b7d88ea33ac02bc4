"""What can befall a step on someone else's machine, told in one line.

Torch tells of these in errors of no class of their own, some of them with the traceback of another
process; only their text tells them apart.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from secateur.errors import RunError, SecateurError

_SHORT_OF_MEMORY = ("can't allocate memory", "Cannot allocate memory", "out of memory")
_WORKER_DIED = ("DataLoader worker (pid", "DataLoader timed out")
_SHARED_MEMORY = ("shared memory", "No space left on device", "unable to mmap")
_FROM_WORKER = "in DataLoader worker process"


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn what the machine lacks, and what a loader's process says, into an error of ours.

    Raises:
        RunError: memory ran short, or a process that loads pictures died.
        SecateurError: as it was raised in a process that loads pictures, without its traceback.
    """
    try:
        yield
    except SecateurError as error:
        if _FROM_WORKER not in str(error):
            raise
        # torch raises the class again, with a traceback as text, whose last line is the message.
        _, _, message = str(error).strip().splitlines()[-1].partition(f"{type(error).__name__}: ")
        raise type(error)(message) from None
    except (MemoryError, RuntimeError) as error:
        cure = _cure(error)
        if cure is None:
            raise
        raise RunError(cure) from error


def _cure(error: MemoryError | RuntimeError) -> str | None:
    text = str(error)
    if any(sign in text for sign in _WORKER_DIED):
        if any(sign in text for sign in _SHARED_MEMORY):
            return (
                "a process that loads pictures ran out of shared memory (/dev/shm); make that "
                "larger (docker run --shm-size=2g), or set data.workers: 0"
            )
        return (
            "a process that loads pictures was killed, by memory running short or by hand; give "
            "the command again, with a smaller data.workers if it comes back"
        )
    short = isinstance(error, MemoryError | torch.OutOfMemoryError)
    if short or any(sign in text for sign in _SHORT_OF_MEMORY):
        return (
            "memory ran short; take a smaller batch_size of this step (evaluate.batch_size where "
            "a network is evaluated), or fewer data.workers"
        )
    return None
