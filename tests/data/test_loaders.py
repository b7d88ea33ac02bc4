from dataclasses import replace
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from secateur.data import loaders as loading
from secateur.data.detection_set import AnnotatedPicture, annotated_picture
from secateur.data.formats.voc import read_voc
from secateur.data.loaders import Batch, TrainingSamples, training_batches
from secateur.data.transforms.augmentation import NativeCrops, SSDAugmentation, Transform
from shapes import draw_voc_folder


@pytest.mark.parametrize(("workers", "done"), [(1, 0), (2, 0), (0, 2), (2, 2)])
def test_batches_depend_on_neither_loading_processes_nor_interruptions(
    workers: int, done: int, tmp_path: Path
) -> None:
    draw_voc_folder(tmp_path)
    pictures = read_voc(tmp_path, "train", ("square", "disc")).pictures

    def batches(workers: int, done: int) -> list[Batch]:
        transform = SSDAugmentation(64, photometric=True, expand=2, crop=True, flip=True)
        return list(
            training_batches(
                pictures, transform, steps=9, batch_size=4, seed=3, workers=workers, done=done
            )
        )

    wanted, found = batches(0, 0)[done:], batches(workers, done)
    assert len(found) == 9 - done
    for batch, other in zip(wanted, found, strict=True):
        assert all(torch.equal(one, another) for one, another in zip(batch, other, strict=True))


def test_batches_have_room_for_the_objects_of_any_picture(tmp_path: Path) -> None:
    draw_voc_folder(tmp_path)
    picture = read_voc(tmp_path, "train", ("square", "disc")).pictures[0]
    counts = [0, 3, 1]
    pictures = [with_objects(picture, count) for count in counts]
    transform = SSDAugmentation(64, photometric=False, expand=1, crop=False, flip=False)
    batches = training_batches(pictures, transform, steps=3, batch_size=1, seed=0, workers=0)
    found = []
    for pixels, boxes, labels in batches:
        assert pixels.shape == (1, 3, 64, 64)
        assert boxes.shape == (1, max(counts), 4)
        count = int((labels != 0).sum())
        assert labels.shape == (1, max(counts))
        assert (labels[0, count:] == 0).all()
        assert (boxes[0, count:] == 0).all()
        assert (boxes[0, :count, 2:] > boxes[0, :count, :2]).all()
        found.append(count)
    assert sorted(found) == sorted(counts)


def with_objects(picture: AnnotatedPicture, count: int) -> AnnotatedPicture:
    """The picture with ``count`` objects and a difficult one."""
    boxes = torch.tensor([[4.0, 4.0, 20.0, 24.0]]).repeat(count + 1, 1)
    labels, number = torch.ones(count + 1, dtype=torch.int64), torch.arange(count + 1)
    return replace(picture, boxes=boxes, labels=labels, difficult=number == count)


@pytest.mark.parametrize(
    "transform",
    [SSDAugmentation(32), NativeCrops(32, zoom=2.0)],
    ids=lambda each: type(each).__name__,
)
def test_samples_are_pickled_for_spawned_processes(transform: Transform, tmp_path: Path) -> None:
    """Processes are spawned on macOS and Windows, and on Linux from Python 3.14."""
    Image.new("RGB", (60, 40), (200, 90, 30)).save(tmp_path / "a.png")
    picture = annotated_picture(
        tmp_path / "a.png", [[5, 5, 25, 30]], [1], [False], tmp_path / "a.txt"
    )
    samples = TrainingSamples([picture], transform, 4, 0)
    sent = ForkingPickler.dumps(samples)
    received = ForkingPickler.loads(sent)
    assert b"rebuild_storage" not in bytes(sent), "each tensor would take a shared file"
    for index in range(4):
        (pixels, target), (others, same) = samples[index], received[index]
        assert torch.equal(pixels, others)
        assert torch.equal(target["boxes"], same["boxes"])
        assert torch.equal(target["labels"], same["labels"])


def test_at_most_two_batches_of_pictures_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = []
    for number in range(30):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (20 + number // 2, 20)).save(path)
        pictures.append(annotated_picture(path, [], [], [], path))
    read: list[int] = []
    usual = loading.read_picture

    def counted(picture: AnnotatedPicture) -> Tensor:
        read.append(1)
        return usual(picture)

    monkeypatch.setattr(loading, "read_picture", counted)
    seen: list[int] = []
    for positions, pixels in loading.evaluation_batches(pictures, None, 4):
        assert len(read) - len(seen) <= 2 * 4
        assert len(positions) == len(pixels) <= 4
        seen += positions
    assert sorted(seen) == list(range(30))
