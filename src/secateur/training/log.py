"""Curves of a training as an event file, for TensorBoard."""

import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

# A SummaryWriter would write in a thread, which tells nobody of a full disk.
from tensorboardX import RecordWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from secateur.files.atomic_write import unwritable

POINTS = 1000  # of a curve, at most
DEAR_POINTS = 50  # likewise, of one whose values take time

Log = Callable[[Mapping[str, float], int], None]


@contextmanager
def training_log(folder: Path, done: int = 0) -> Iterator[Log]:
    """Give what writes values, by name, at a step's number; closed whatever happens.

    Args:
        folder: of this training alone; what an earlier one left there goes, for both would be
            drawn as one curve.
        done: steps of this training that were done before it was stopped; what was logged of them
            stays, and of later ones it does not count.

    Raises:
        RunError: the folder cannot be written to, or the disk is full.
    """
    try:
        if done == 0:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        # The name that TensorBoard looks for, and reads in the order of the times.
        writer = RecordWriter(str(folder / f"events.out.tfevents.{time.time_ns()}"))
        writer.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
        if done:
            begun = SessionLog(status=SessionLog.SessionStatus.Value("START"))
            writer.write(
                Event(wall_time=time.time(), step=done + 1, session_log=begun).SerializeToString()
            )
    except OSError as error:
        raise unwritable(folder, error) from error

    def log(values: Mapping[str, float], step: int) -> None:
        curves = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        event = Event(wall_time=time.time(), step=step, summary=Summary(value=curves))
        try:
            writer.write(event.SerializeToString())
            writer.flush()  # before the state is written that a killed training goes on from
        except OSError as error:
            raise unwritable(folder, error) from error

    try:
        yield log
    finally:
        try:
            writer.close()
        except OSError as error:
            raise unwritable(folder, error) from error


def is_point(step: int, steps: int, points: int) -> bool:
    """Tell whether one of ``steps``, from 1, is among at most ``points`` even ones; the last is."""
    return step % math.ceil(steps / points) == 0 or step == steps
