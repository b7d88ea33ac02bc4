"""Curves of a training, read from its TensorBoard event files."""

import struct
from collections import defaultdict
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event, SessionLog

Curves = dict[str, list[tuple[int, float]]]


def read_curves(folder: Path) -> Curves:
    """Read the event files of a folder as TensorBoard does.

    The start of a session removes the points from its step on. A record consists of its length, a
    checksum, its content and a checksum.
    """
    curves = defaultdict(list)
    for file in sorted(folder.iterdir()):
        data = file.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + length])
            if event.session_log.status == SessionLog.SessionStatus.Value("START"):
                for tag, points in curves.items():
                    curves[tag] = [point for point in points if point[0] < event.step]
            for value in event.summary.value:
                curves[value.tag].append((event.step, value.simple_value))
            data = data[16 + length :]
    return dict(curves)
