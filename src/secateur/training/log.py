"""Event files with the curves of a training, for TensorBoard."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

# A SummaryWriter writes in a thread, where an error such as a full disk is lost.
from tensorboardX import RecordWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from secateur.files.atomic_write import unwritable

MAX_POINTS = 1000  # of a curve
MAX_SLOW_POINTS = 50  # of a curve whose values take long to compute
# TensorBoard finds files by this name and reads them in the order of their times, which follow it.
_EVENTS = "events.out.tfevents."

Log = Callable[[Mapping[str, float], int], None]


@contextmanager
def training_log(folder: Path, done: int = 0) -> Iterator[Log]:
    """Open a log; the context gives a function that writes values, by name, at a step.

    Args:
        folder: of this training only. Logs of an earlier training in it are deleted, since
            TensorBoard would draw both as one curve.
        done: steps of this training before it was interrupted. Their values are kept, and values
            of later steps are superseded.

    Raises:
        RunError: the folder cannot be written to, or the disk is full.
    """
    try:
        if done == 0:
            for earlier in folder.glob(f"{_EVENTS}*"):
                earlier.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        writer = RecordWriter(str(folder / f"{_EVENTS}{time.time_ns()}"))
        writer.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
        if done:
            restart = SessionLog(status=SessionLog.SessionStatus.Value("START"))
            writer.write(
                Event(wall_time=time.time(), step=done + 1, session_log=restart).SerializeToString()
            )
    except OSError as error:
        raise unwritable(folder, error) from error

    def log(values: Mapping[str, float], step: int) -> None:
        curves = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        event = Event(wall_time=time.time(), step=step, summary=Summary(value=curves))
        try:
            writer.write(event.SerializeToString())
            writer.flush()  # before the checkpoint of this step is written
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
    """Whether a step, from 1 to ``steps``, is one of at most ``points`` evenly spaced ones.

    The last step always is.
    """
    return step % math.ceil(steps / points) == 0 or step == steps
