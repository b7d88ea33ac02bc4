"""Curves of a training, read back from the event file that TensorBoard would read."""

import struct
from collections import defaultdict
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event

Curves = dict[str, list[tuple[int, float]]]


def read_curves(folder: Path) -> Curves:
    """Read the one event file of a folder, whose records are length, check, content, check."""
    (file,) = folder.iterdir()
    data, curves = file.read_bytes(), defaultdict(list)
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        event = Event.FromString(data[12 : 12 + length])
        for value in event.summary.value:
            curves[value.tag].append((event.step, value.simple_value))
        data = data[16 + length :]
    return dict(curves)
