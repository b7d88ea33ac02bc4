"""Batches of worker processes in a shared memory that is small, absent or full."""

import threading
from pathlib import Path

import pytest
import torch

from secateur.data import loaders, shared_memory
from secateur.data.detection_set import AnnotatedPicture
from secateur.data.formats.voc import read_voc
from secateur.data.loaders import TrainingLoader, training_batches
from secateur.data.shared_memory import Loading, fitting, free_room
from secateur.data.transforms.augmentation import SSDAugmentation
from secateur.errors import RunError
from secateur.files.translated_errors import translated_errors
from shapes import draw_voc_folder

MB = 2**20


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[AnnotatedPicture, ...]:
    draw_voc_folder(tmp_path)
    return read_voc(tmp_path, "train", ("square", "disc")).pictures


def loader(pictures: tuple[AnnotatedPicture, ...], workers: int = 2) -> TrainingLoader:
    transform = SSDAugmentation(64)
    return training_batches(pictures, transform, steps=3, batch_size=4, seed=0, workers=workers)


def set_room(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    monkeypatch.setattr(shared_memory, "FOLDER", Path("/shm"))
    monkeypatch.setattr(shared_memory, "free_room", lambda _folder: room)


@pytest.mark.parametrize(
    ("room", "trainings", "workers", "prefetch"),
    [
        (100, 1, 2, 4),  # 2 * 4 batches ahead and 2 at the training, of 10 MB
        (99, 1, 2, 3),
        (60, 1, 2, 2),
        (40, 1, 2, 1),
        (39, 1, 1, 1),
        (29, 1, 0, 1),
        (0, 1, 0, 1),
        (200, 2, 2, 4),
        (100, 2, 2, 1),
        (70, 2, 1, 1),
    ],
)
def test_workers_and_their_batches_fit_into_the_room(
    room: int, trainings: int, workers: int, prefetch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_room(monkeypatch, room * MB)
    found = fitting(2, 10 * MB, trainings)
    assert (found.workers, found.prefetch) == (workers, prefetch)
    assert (found.shortage is None) == (workers == 2)


def test_a_shortage_is_one_line_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    set_room(monkeypatch, 64 * MB)
    assert fitting(8, 20 * MB) == Loading(
        1,
        1,
        "/shm: has 64 MB free, room for 1 of 8 processes that load pictures; enlarge it "
        "(docker run --shm-size=1g), or lower data.workers",
    )
    set_room(monkeypatch, 0)
    assert fitting(2, 100 * MB).shortage == (
        "/shm: is absent, full or read-only, so no process loads pictures beside the training; "
        "enlarge it (docker run --shm-size=2g), or lower data.workers"
    )


def test_other_systems_have_no_such_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "FOLDER", None)
    assert fitting(3, 2**50) == Loading(3, 4)


def test_room_is_what_can_be_written(tmp_path: Path) -> None:
    assert free_room(tmp_path) > 0
    assert list(tmp_path.iterdir()) == []
    assert free_room(tmp_path / "absent") == 0
    (tmp_path / "file").touch()
    assert free_room(tmp_path / "file") == 0


@pytest.mark.parametrize("room", [0, 10_000, 160_000, MB])
def test_batches_are_the_same_in_any_room(
    pictures: tuple[AnnotatedPicture, ...], room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = list(loader(pictures, workers=0))
    set_room(monkeypatch, room)
    found = loader(pictures)
    # A batch is 4 * 3 * 64 * 64 bytes and its boxes.
    assert found.num_workers == {0: 0, 10_000: 0, 160_000: 1, MB: 2}[room]
    assert (found.shortage is None) == (found.num_workers == 2)
    for batch, other in zip(wanted, found, strict=True):
        assert all(torch.equal(one, another) for one, another in zip(batch, other, strict=True))


def test_shared_memory_that_is_full_later_ends_in_one_line(
    pictures: tuple[AnnotatedPicture, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_tensor: torch.Tensor) -> None:
        raise RuntimeError(
            "unable to allocate shared memory(shm) for file </torch_1>: No space left on device "
            "(28)"
        )

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    with (
        pytest.raises(RunError, match=r"^a process that loads pictures ran out of.*shm-size"),
        translated_errors(),
    ):
        list(loader(pictures))


def test_a_loader_that_stops_ends_in_one_line(
    pictures: tuple[AnnotatedPicture, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = loader(pictures)
    assert batches.timeout == loaders.LONGEST_WAIT
    monkeypatch.setattr(loaders, "LONGEST_WAIT", 0.2)
    batches = loader(pictures)
    monkeypatch.setattr(loaders, "read_image", lambda _picture: threading.Event().wait())
    with (
        pytest.raises(RunError, match=r"^the processes that load pictures stopped giving batches"),
        translated_errors(),
    ):
        list(batches)
