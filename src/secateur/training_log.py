"""Curves of a training as event files, for TensorBoard."""

import math
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lightning.fabric.loggers.tensorboard import TensorBoardLogger

from secateur.errors import RunError
from secateur.whole_file import unwritable

POINTS = 1000  # of a curve, at most
DEAR_POINTS = 50  # likewise, of one whose values take time

Log = Callable[[Mapping[str, float], int], None]


@contextmanager
def training_log(folder: Path) -> Iterator[Log]:
    """Give what writes values, by name, at a step's number; closed whatever happens.

    Args:
        folder: of this training alone; what an earlier one left there goes, for both would be
            drawn as one curve.

    Raises:
        RunError: the folder cannot be written to, or the disk is full.
    """
    try:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    # A queue without bounds, for no training is to wait for a disk.
    logger = TensorBoardLogger(folder.parent, folder.name, "", max_queue=0, flush_secs=10)
    threads: set[threading.Thread] = set()

    def log(values: Mapping[str, float], step: int) -> None:
        # The logger writes in threads that start with its first value, and tells nobody when one
        # of them ends for want of room.
        if not all(thread.is_alive() for thread in threads):
            raise RunError(f"{folder}: cannot be written; make room there, or name another place")
        before = set(threading.enumerate())
        logger.log_metrics(values, step)
        if not threads:
            threads.update(set(threading.enumerate()) - before)

    try:
        yield log
    finally:
        try:
            logger.finalize("ended")
        except OSError as error:
            raise unwritable(folder, error) from error


def is_point(step: int, steps: int, points: int) -> bool:
    """Tell whether one of ``steps``, from 1, is among at most ``points`` even ones; the last is."""
    return step % math.ceil(steps / points) == 0 or step == steps
