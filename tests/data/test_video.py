import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from secateur.data.video import Video, video_copy
from secateur.errors import DataError, MissingExtraError
from secateur.files import optional as extras


def write_video(path: Path, shades: list[int], size: tuple[int, int] = (64, 48)) -> Path:
    with video_copy(path, Fraction(10)) as writer:
        for shade in shades:
            writer.write(Image.new("RGB", size, (shade, shade, shade)))
    return path


def test_frames_come_back_in_order(tmp_path: Path) -> None:
    video = Video(write_video(tmp_path / "a.mp4", [0, 60, 120, 180, 240]))
    assert video.rate == 10
    assert video.frames == 5
    frames = list(video)
    video.close()
    assert [frame.shape for frame, _ in frames] == [(3, 48, 64)] * 5
    assert [seconds for _, seconds in frames] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    means = [float(frame.float().mean()) for frame, _ in frames]
    np.testing.assert_allclose(means, [0, 60, 120, 180, 240], atol=6)


def test_odd_sides_lose_a_row_and_a_column(tmp_path: Path) -> None:
    video = Video(write_video(tmp_path / "a.mp4", [90], (65, 49)))
    assert next(iter(video))[0].shape == (3, 48, 64)
    video.close()


# Offset of a track's matrix after the name of its header, and the matrices that phones write.
MATRIX = 40
ONE = 1 << 16
TURNS = {
    0: (ONE, 0, 0, ONE),
    90: (0, ONE, -ONE, 0),
    180: (-ONE, 0, 0, -ONE),
    270: (0, -ONE, ONE, 0),
}


@pytest.mark.parametrize("clockwise", TURNS)
def test_a_phones_video_is_rotated_upright(clockwise: int, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    stored = np.zeros((32, 64, 3), np.uint8)
    stored[:16, :32] = 255  # the first quarter is white
    with video_copy(path, Fraction(10)) as writer:
        writer.write(Image.fromarray(stored))
    file = bytearray(path.read_bytes())
    a, b, c, d = TURNS[clockwise]
    start = file.index(b"tkhd") + len(b"tkhd") + MATRIX
    file[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(file)
    video = Video(path)
    pixels, _ = next(iter(video))
    video.close()
    expected = np.rot90(stored, -clockwise // 90).transpose(2, 0, 1)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.numpy().astype(int) - expected).mean() < 16


@pytest.mark.parametrize("content", [None, b"", b"no video", b"\0" * 5000])
def test_not_a_video(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "[a].mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"\[a\].mp4: not a readable video"):
        Video(path)


def test_a_truncated_video(tmp_path: Path) -> None:
    """The index is after the frames; without it nothing can be read."""
    path = write_video(tmp_path / "a.mp4", list(range(0, 250, 5)))
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(DataError, match=r"a\.mp4"):
        list(Video(path))


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(extras.importlib, "import_module", missing)
    with pytest.raises(MissingExtraError, match=r"pip install 'secateur\[video\]'"):
        Video(tmp_path / "a.mp4")
