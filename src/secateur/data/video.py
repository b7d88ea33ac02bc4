"""Videos in and out, a frame at a time, by PyAV."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from secateur.errors import DataError
from secateur.files.optional import require

VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")
# Frames a second of a copy whose original does not say.
_USUAL_RATE = Fraction(25)


class Video:
    """A video file, opened for reading.

    Attributes:
        path: of the file.
        rate: frames a second.
        frames: how many it says it has; 0 where it does not say.

    Raises:
        DataError: the file is missing, or holds no video that can be read.
    """

    def __init__(self, path: Path) -> None:
        av = require("av")
        self.path = path
        self._errors: type[Exception] = av.FFmpegError
        try:
            self._container = av.open(str(path))
            self._stream: Any = self._container.streams.video[0]
        except (self._errors, IndexError):
            raise DataError(
                f"{path}: holds no video that can be read; convert it to .mp4"
            ) from None
        self.rate = Fraction(self._stream.average_rate or _USUAL_RATE)
        self.frames = int(self._stream.frames)

    def __iter__(self) -> Iterator[tuple[Tensor, float]]:
        """Yield each frame as people see it, (3, H, W) uint8, and its time from the first, seconds.

        Raises:
            DataError: the file breaks off.
        """
        first = None
        try:
            for number, frame in enumerate(self._container.decode(self._stream)):
                pixels = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)
                # Phones film lying down and write beside it how to turn what they filmed.
                pixels = torch.rot90(pixels, round(frame.rotation / 90), (1, 2))
                when = float(number / self.rate) if frame.time is None else frame.time
                first = when if first is None else first
                yield pixels, when - first
        except self._errors as error:
            raise DataError(f"{self.path}: breaks off ({error}); repair or shorten it") from None

    def close(self) -> None:
        """Let go of the file."""
        self._container.close()


@contextmanager
def video_copy(path: Path, rate: Fraction) -> Iterator["VideoWriter"]:
    """Write a video frame by frame; it is whole when the context ends.

    Args:
        path: of an ``.mp4``, whatever it is called.
        rate: frames a second.
    """
    with require("av").open(str(path), "w", format="mp4") as container:
        writer = VideoWriter(container, rate)
        yield writer
        writer.finish()


class VideoWriter:
    """Takes the frames of a video, all of one size."""

    def __init__(self, container: Any, rate: Fraction) -> None:
        self._av = require("av")
        self._container = container
        self._rate = rate
        self._stream: Any = None

    def write(self, picture: Image.Image) -> None:
        """Append a frame."""
        # The encoder takes even sides only.
        width, height = (max(2, side - side % 2) for side in picture.size)
        if self._stream is None:
            self._stream = self._container.add_stream("h264", rate=self._rate)
            self._stream.width, self._stream.height = width, height
            self._stream.pix_fmt = "yuv420p"
        frame = self._av.VideoFrame.from_image(picture.crop((0, 0, width, height)))
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def finish(self) -> None:
        """Write what the encoder still holds."""
        if self._stream is not None:
            for packet in self._stream.encode():
                self._container.mux(packet)
