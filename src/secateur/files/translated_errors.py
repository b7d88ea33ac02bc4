"""Errors of torch that the user can remedy, as errors of secateur with a message of one line.

Torch raises plain ``RuntimeError`` for them, some with the traceback of another process in the
text; only the text distinguishes them.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from secateur.errors import RunError, SecateurError

_SHORT_OF_MEMORY = ("can't allocate memory", "Cannot allocate memory", "out of memory")
_WORKER_DIED = "DataLoader worker (pid"
_WORKERS_STOPPED = "DataLoader timed out"
_SHARED_MEMORY = ("shared memory", "No space left on device", "unable to mmap")
_FROM_WORKER = "in DataLoader worker process"


@contextmanager
def translated_errors() -> Iterator[None]:
    """Translate errors of a lack of memory and of the processes that load pictures.

    Raises:
        RunError: memory ran short, or a loading process was killed.
        SecateurError: raised in a loading process; without that process's traceback.
    """
    try:
        yield
    except SecateurError as error:
        if _FROM_WORKER not in str(error):
            raise
        # torch raises an error of the same class; the last line of its text is the message.
        _, _, message = str(error).strip().splitlines()[-1].partition(f"{type(error).__name__}: ")
        raise type(error)(message) from None
    except (MemoryError, RuntimeError) as error:
        cure = _cure(error)
        if cure is None:
            raise
        raise RunError(cure) from error


def _cure(error: MemoryError | RuntimeError) -> str | None:
    text = str(error)
    if _WORKERS_STOPPED in text:
        return (
            "the processes that load pictures stopped giving batches; check the disk with the "
            "pictures and the room in shared memory (docker run --shm-size=2g), or set "
            "data.workers: 0"
        )
    of_worker = _WORKER_DIED in text or _FROM_WORKER in text
    if of_worker and any(part in text for part in _SHARED_MEMORY):
        return (
            "a process that loads pictures ran out of shared memory (/dev/shm); enlarge it "
            "(docker run --shm-size=2g), or set data.workers: 0"
        )
    if _WORKER_DIED in text:
        return (
            "a process that loads pictures was killed, by a user or because memory ran short; give "
            "the command again, with a smaller data.workers if that happens again"
        )
    short = isinstance(error, MemoryError | torch.OutOfMemoryError)
    if short or any(part in text for part in _SHORT_OF_MEMORY):
        return (
            "memory ran short; lower the batch_size of this step (evaluate.batch_size for an "
            "evaluation), or data.workers"
        )
    return None
