"""Cached pixels equal freshly decoded ones, and the cache is bounded in bytes."""

import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from secateur.data import picture_cache
from secateur.data.detection_set import AnnotatedPicture, annotated_picture
from secateur.data.loaders import evaluation_batches, read_resized
from secateur.data.picture_cache import PictureCache
from secateur.errors import DataError

RESIZED = 3 * 16 * 16  # bytes


def noise(path: Path, size: tuple[int, int] = (40, 30)) -> AnnotatedPicture:
    Image.effect_noise(size, 80).convert("RGB").save(path)
    return annotated_picture(path, [], [], [], path)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the pictures that were decoded."""
    names: list[str] = []

    def counted(picture: AnnotatedPicture, size: int | None) -> torch.Tensor:
        names.append(picture.path.name)
        return read_resized(picture, size)

    monkeypatch.setattr(picture_cache, "read_resized", counted)
    return names


@pytest.mark.parametrize("size", [16, None])
def test_batches_are_the_same(tmp_path: Path, decoded: list[str], size: int | None) -> None:
    sizes = [(40, 30), (20, 10), (40, 30), (20, 10), (40, 30)]
    pictures = [noise(tmp_path / f"{i}.png", each) for i, each in enumerate(sizes)]
    cache = PictureCache()
    plain = list(evaluation_batches(pictures, size, 2))
    for _ in range(3):
        cached = list(evaluation_batches(pictures, size, 2, cache.decode))
        assert [positions for positions, _ in cached] == [positions for positions, _ in plain]
        for (_, pixels), (_, expected) in zip(cached, plain, strict=True):
            assert torch.equal(pixels, expected)
    assert decoded == [f"{i}.png" for i in range(5)], "each once"


def test_sizes_are_kept_apart(tmp_path: Path, decoded: list[str]) -> None:
    picture, cache = noise(tmp_path / "a.png"), PictureCache()
    shapes = [tuple(cache.decode(picture, size).shape) for size in (16, 8, None, 16, 8, None)]
    assert shapes == [(3, 16, 16), (3, 8, 8), (3, 30, 40)] * 2
    assert len(decoded) == 3


def test_the_limit_bounds_the_bytes(tmp_path: Path, decoded: list[str]) -> None:
    pictures = [noise(tmp_path / f"{i}.png") for i in range(4)]
    cache = PictureCache(limit=2 * RESIZED)
    for _ in range(2):
        for picture in pictures:
            assert torch.equal(cache.decode(picture, 16), read_resized(picture, 16))
    # The first two are kept; the others are decoded each time.
    assert decoded == ["0.png", "1.png", "2.png", "3.png", "2.png", "3.png"]


def test_a_changed_file_is_decoded_again(tmp_path: Path, decoded: list[str]) -> None:
    picture, other = noise(tmp_path / "a.png"), noise(tmp_path / "b.png")
    cache = PictureCache(limit=RESIZED)
    before = cache.decode(picture, 16)
    noise(picture.path)
    state = picture.path.stat()
    os.utime(picture.path, ns=(state.st_atime_ns, state.st_mtime_ns + 1_000_000_000))
    after = cache.decode(picture, 16)
    assert not torch.equal(before, after)
    assert torch.equal(after, read_resized(picture, 16))
    # The old pixels' bytes are free again: the new ones are kept, and there is no room for more.
    cache.decode(picture, 16)
    cache.decode(other, 16)
    cache.decode(other, 16)
    assert decoded == ["a.png", "a.png", "b.png", "b.png"]


def test_a_missing_file_is_not_read_from_memory(tmp_path: Path) -> None:
    picture, cache = noise(tmp_path / "a.png"), PictureCache()
    cache.decode(picture, 16)
    picture.path.unlink()
    with pytest.raises(DataError, match=r"a\.png: went missing; restore it or remove it"):
        cache.decode(picture, 16)
