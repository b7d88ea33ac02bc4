"""Batches of detection pictures: augmented for training, resized for evaluation."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info
from torchvision.transforms.v2.functional import pil_to_tensor, resize

from secateur.data.detection_set import AnnotatedPicture
from secateur.data.image_io import bombs_refused, decode_picture
from secateur.data.seeds import AUGMENTATION, derived_seed, epoch_order
from secateur.data.shared_memory import Loading, fitting
from secateur.data.transforms.augmentation import Sample, Transform
from secateur.distributed.rank import SINGLE, Rank
from secateur.errors import DataError

# Pictures (N, 3, H, W) uint8, boxes (N, M, 4) float32 and labels (N, M) int64, 0 for no object.
Batch = tuple[Tensor, Tensor, Tensor]
# Seconds that a training waits for a batch. Large batches of large pictures take minutes.
LONGEST_WAIT = 600.0
# From a picture and the side it is resized to, None for its own size, to pixels (3, H, W) uint8.
Decode = Callable[[AnnotatedPicture, int | None], Tensor]


def read_picture(picture: AnnotatedPicture) -> Tensor:
    """Decode a picture, (3, H, W) uint8.

    Raises:
        DataError: as for ``read_image``.
    """
    pixels: Tensor = pil_to_tensor(read_image(picture))
    return pixels


def read_image(picture: AnnotatedPicture) -> Image.Image:
    """Decode a picture to RGB.

    Raises:
        DataError: the file is missing or broken, or its size has changed.
    """
    try:
        with bombs_refused():
            image = decode_picture(picture.path)
    except FileNotFoundError:
        raise DataError(
            f"{picture.path}: went missing; restore it or remove it from the data"
        ) from None
    if image.size != (picture.width, picture.height):
        raise DataError(
            f"{picture.path}: is no longer {picture.width} by {picture.height} pixels; restore it, "
            "or start the command again"
        )
    return image


def read_resized(picture: AnnotatedPicture, size: int | None) -> Tensor:
    """Decode a picture and resize it to a square.

    Args:
        picture: on disk.
        size: side of the square, pixels; None for the picture's own size.

    Returns:
        (3, H, W) uint8.

    Raises:
        DataError: as for ``read_image``.
    """
    pixels = read_picture(picture)
    if size is not None:
        pixels = resize(pixels, [size, size], antialias=True)
    return pixels


class TrainingSamples(Dataset[Sample]):
    """An endless sequence of augmented pictures, shuffled in each epoch.

    Sample ``p`` depends on the seed and on ``p`` only, so a training sees the same samples with any
    number of worker processes and after any interruption. Difficult objects are left out.
    """

    def __init__(
        self,
        pictures: Sequence[AnnotatedPicture],
        transform: Transform,
        length: int,
        seed: int,
        first: int = 0,
    ) -> None:
        self.pictures = pictures
        self.transform = transform
        self.length = length
        self.seed = seed
        self.first = first

    def __len__(self) -> int:
        return self.length - self.first

    def __getstate__(self) -> dict[str, Any]:
        """Pickle tensors as arrays, for spawned processes: each tensor would take a shared file."""
        pictures = [
            (p.path, p.height, p.width, *(t.numpy() for t in (p.boxes, p.labels, p.difficult)))
            for p in self.pictures
        ]
        return {**self.__dict__, "pictures": pictures}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state
        self.pictures = [
            AnnotatedPicture(path, height, width, *map(torch.from_numpy, arrays))
            for path, height, width, *arrays in state["pictures"]
        ]

    def __getitem__(self, index: int) -> Sample:
        position = self.first + index
        epoch, offset = divmod(position, len(self.pictures))
        picture = self.pictures[int(epoch_order(len(self.pictures), self.seed, epoch)[offset])]
        rng = Random(derived_seed(self.seed, AUGMENTATION, position))  # noqa: S311 # not a secret
        return self.transform(_without_difficult(picture), read_image(picture), rng)


class TrainingLoader(DataLoader[Sample]):
    """A loader of training batches.

    Attributes:
        shortage: why fewer processes than wanted load pictures; None if there are as many.
    """

    shortage: str | None = None


def training_batches(
    pictures: Sequence[AnnotatedPicture],
    transform: Transform,
    *,
    steps: int,
    batch_size: int,
    seed: int,
    workers: int,
    done: int = 0,
    rank: Rank = SINGLE,
) -> TrainingLoader:
    """Return a loader of ``steps`` batches of augmented pictures, without the first ``done``.

    All batches have the same shapes, with room for the largest number of objects in a picture.
    Where shared memory has no room for the batches of all ``workers``, fewer load, or none.

    Args:
        pictures: on disk.
        transform: the augmentation.
        steps: number of batches of the whole training.
        batch_size: pictures in a batch of all processes together.
        seed: of order and augmentation.
        workers: processes that load pictures.
        done: batches that an interrupted training has already had.
        rank: whose part of each batch is read.

    Raises:
        DataError: with workers, if a picture cannot be read.
    """
    most = max(int((~picture.difficult).sum()) for picture in pictures)
    samples = TrainingSamples(
        pictures, transform, steps * batch_size, seed, first=done * batch_size
    )
    own = rank.batch_slice(batch_size)
    starts = range(0, len(samples), batch_size)
    collate = partial(_collate, room=max(1, most))
    loading = Loading(0, 0)
    if workers and len(samples):
        one = sum(part.nbytes for part in collate([samples[0]]))
        loading = fitting(workers, one * (own.stop - own.start), rank.local_world_size)
    loader = TrainingLoader(
        samples,
        batch_sampler=[[*range(start + own.start, start + own.stop)] for start in starts],
        num_workers=loading.workers,
        collate_fn=collate,
        prefetch_factor=loading.prefetch if loading.workers else None,
        timeout=LONGEST_WAIT if loading.workers else 0,
        # Without a generator, loading would draw from the training's global random numbers.
        generator=torch.Generator().manual_seed(seed),
    )
    loader.shortage = loading.shortage
    return loader


def evaluation_batches(
    pictures: Sequence[AnnotatedPicture],
    size: int | None,
    batch_size: int,
    decode: Decode = read_resized,
) -> Iterator[tuple[list[int], Tensor]]:
    """Yield positions and pixels (N, 3, H, W) uint8 of all pictures, each once.

    Args:
        pictures: on disk.
        size: side to which every picture is resized, pixels; None keeps their sizes, and batches
            contain pictures of one shape only.
        batch_size: pictures in a batch.
        decode: decodes a picture and resizes it.

    Raises:
        DataError: a picture cannot be read.
    """
    # By shape. With many shapes, at most two batches of pictures wait in memory.
    waiting: dict[tuple[int, ...], tuple[list[int], list[Tensor]]] = {}
    for position, picture in enumerate(pictures):
        pixels = decode(picture, size)
        positions, batch = waiting.setdefault(tuple(pixels.shape), ([], []))
        positions.append(position)
        batch.append(pixels)
        if sum(len(batch) for _, batch in waiting.values()) >= 2 * batch_size:
            positions, batch = max(waiting.values(), key=lambda group: len(group[0]))
        elif len(batch) < batch_size:
            continue
        yield positions, torch.stack(batch)
        del waiting[tuple(batch[0].shape)]
    for positions, batch in waiting.values():
        yield positions, torch.stack(batch)


def _without_difficult(picture: AnnotatedPicture) -> AnnotatedPicture:
    wanted = ~picture.difficult
    return replace(
        picture,
        boxes=picture.boxes[wanted],
        labels=picture.labels[wanted],
        difficult=picture.difficult[wanted],
    )


def _collate(samples: list[Sample], room: int) -> Batch:
    boxes = torch.zeros(len(samples), room, 4)
    labels = torch.zeros(len(samples), room, dtype=torch.int64)
    for number, (_, target) in enumerate(samples):
        count = len(target["labels"])
        boxes[number, :count], labels[number, :count] = target["boxes"], target["labels"]
    batch = torch.stack([pixels for pixels, _ in samples]), boxes, labels
    if get_worker_info() is not None:
        # Sending would share them too, but in a thread in which an error loses the batch.
        for part in batch:
            part.share_memory_()  # type: ignore[no-untyped-call]
    return batch
