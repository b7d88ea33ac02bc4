"""Curves of a training as an event file, for TensorBoard."""

import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

# A SummaryWriter would write in a thread, which tells nobody of a full disk.
from tensorboardX import RecordWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary

from secateur.whole_file import unwritable

POINTS = 1000  # of a curve, at most
DEAR_POINTS = 50  # likewise, of one whose values take time
PATIENCE = 5.0  # seconds until what was logged is on disk

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
        # The name that TensorBoard looks for.
        writer = RecordWriter(str(folder / f"events.out.tfevents.{int(time.time())}"))
        writer.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
    except OSError as error:
        raise unwritable(folder, error) from error
    saved = time.monotonic()

    def log(values: Mapping[str, float], step: int) -> None:
        nonlocal saved
        curves = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        event = Event(wall_time=time.time(), step=step, summary=Summary(value=curves))
        try:
            writer.write(event.SerializeToString())
            if time.monotonic() - saved > PATIENCE:
                writer.flush()
                saved = time.monotonic()
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
