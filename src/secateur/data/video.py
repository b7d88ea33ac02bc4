"""Read and write videos frame by frame, with PyAV."""

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
# Frames a second, for files that do not give their rate.
_DEFAULT_RATE = Fraction(25)


class Video:
    """A video file, opened for reading.

    Attributes:
        path: the file.
        rate: frames a second.
        frames: number of frames according to the file; 0 if it gives none.

    Raises:
        DataError: the file is missing or not a readable video.
    """

    def __init__(self, path: Path) -> None:
        av = require("av")
        self.path = path
        self._errors: type[Exception] = av.FFmpegError
        try:
            self._container = av.open(str(path))
            self._stream: Any = self._container.streams.video[0]
        except (self._errors, IndexError):
            raise DataError(f"{path}: not a readable video; convert it to .mp4") from None
        self.rate = Fraction(self._stream.average_rate or _DEFAULT_RATE)
        self.frames = int(self._stream.frames)

    def __iter__(self) -> Iterator[tuple[Tensor, float]]:
        """Yield each frame, upright, (3, H, W) uint8, and its time since the first, seconds.

        Raises:
            DataError: the file is damaged or incomplete.
        """
        first = None
        try:
            for number, frame in enumerate(self._container.decode(self._stream)):
                pixels = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)
                # Phones store frames unrotated, with a rotation in the metadata.
                pixels = torch.rot90(pixels, round(frame.rotation / 90), (1, 2))
                when = float(number / self.rate) if frame.time is None else frame.time
                first = when if first is None else first
                yield pixels, when - first
        except self._errors as error:
            raise DataError(
                f"{self.path}: damaged or incomplete ({error}); repair or shorten it"
            ) from None

    def close(self) -> None:
        """Close the file."""
        self._container.close()


@contextmanager
def video_copy(path: Path, rate: Fraction) -> Iterator["VideoWriter"]:
    """Write a video frame by frame; it is complete when the context ends.

    Args:
        path: the file, written as MP4 whatever its suffix.
        rate: frames a second.
    """
    with require("av").open(str(path), "w", format="mp4") as container:
        writer = VideoWriter(container, rate)
        yield writer
        writer.finish()


class VideoWriter:
    """Writes frames of one size to a video."""

    def __init__(self, container: Any, rate: Fraction) -> None:
        self._av = require("av")
        self._container = container
        self._rate = rate
        self._stream: Any = None

    def write(self, picture: Image.Image) -> None:
        """Append a frame."""
        # The encoder requires even sides.
        width, height = (max(2, side - side % 2) for side in picture.size)
        if self._stream is None:
            self._stream = self._container.add_stream("h264", rate=self._rate)
            self._stream.width, self._stream.height = width, height
            self._stream.pix_fmt = "yuv420p"
        frame = self._av.VideoFrame.from_image(picture.crop((0, 0, width, height)))
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def finish(self) -> None:
        """Write the frames that the encoder still buffers."""
        if self._stream is not None:
            for packet in self._stream.encode():
                self._container.mux(packet)
