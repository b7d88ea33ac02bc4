from pathlib import Path

import pytest
import torch

from secateur.data.augmentation import ssd_augmentation
from secateur.data.loading import Batch, training_batches
from secateur.data.voc import read_voc
from shapes import draw_voc_folder


@pytest.mark.parametrize(("workers", "done"), [(1, 0), (2, 0), (0, 2), (2, 2)])
def test_batches_depend_on_neither_loading_processes_nor_interruptions(
    workers: int, done: int, tmp_path: Path
) -> None:
    draw_voc_folder(tmp_path)
    pictures = read_voc(tmp_path, "train", ("square", "disc")).pictures

    def batches(workers: int, done: int) -> list[Batch]:
        transform = ssd_augmentation(64, photometric=True, expand=2, crop=True, flip=True)
        return list(
            training_batches(
                pictures, transform, steps=9, batch_size=4, seed=3, workers=workers, done=done
            )
        )

    wanted, found = batches(0, 0)[done:], batches(workers, done)
    assert len(found) == 9 - done
    for (pixels, targets), (others, other_targets) in zip(wanted, found, strict=True):
        assert torch.equal(pixels, others)
        for one, other in zip(targets, other_targets, strict=True):
            assert one.keys() == other.keys()
            assert all(torch.equal(value, other[name]) for name, value in one.items())
