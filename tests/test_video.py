from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from secateur import extras
from secateur.errors import DataError, MissingExtraError
from secateur.video import Video, video_copy


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
    assert [frame.shape for frame in frames] == [(3, 48, 64)] * 5
    means = [float(frame.float().mean()) for frame in frames]
    np.testing.assert_allclose(means, [0, 60, 120, 180, 240], atol=6)


def test_odd_sides_lose_a_row_and_a_column(tmp_path: Path) -> None:
    video = Video(write_video(tmp_path / "a.mp4", [90], (65, 49)))
    assert next(iter(video)).shape == (3, 48, 64)
    video.close()


@pytest.mark.parametrize("content", [None, b"", b"no video", b"\0" * 5000])
def test_what_is_no_video(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "[a].mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"\[a\].mp4: holds no video"):
        Video(path)


def test_a_video_that_breaks_off(tmp_path: Path) -> None:
    """The index stands behind the pictures, so that without it nothing can be read."""
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
