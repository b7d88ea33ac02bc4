"""Loading: pictures from disk into batches, in an order and with chances fixed by a seed."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from random import Random
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2.functional import pil_to_tensor, resize

from secateur.data.detection_set import AnnotatedPicture
from secateur.data.image_io import bombs_refused, decode_picture
from secateur.data.transforms.augmentation import Sample, Transform
from secateur.distributed.rank import SINGLE, Rank
from secateur.errors import DataError

# Pictures (N, 3, H, W) uint8, boxes (N, M, 4) float32 and labels (N, M) int64, 0 for no object.
Batch = tuple[Tensor, Tensor, Tensor]


def read_picture(picture: AnnotatedPicture) -> Tensor:
    """Decode a picture, (3, H, W) uint8; errors as of ``read_image``."""
    pixels: Tensor = pil_to_tensor(read_image(picture))
    return pixels


def read_image(picture: AnnotatedPicture) -> Image.Image:
    """Decode a picture, in RGB.

    Raises:
        DataError: the file went missing, is broken, or has another size than it had.
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
            "or give the command again"
        )
    return image


class TrainingSamples(Dataset[Sample]):
    """An endless shuffled walk over pictures, augmented.

    Sample ``p`` depends on the seed and on ``p`` alone, so neither the number of workers nor an
    interruption changes what a training sees. Objects marked difficult are left out.
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
        """Go to processes that are started afresh; a tensor would take a shared file each."""
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
        picture = self.pictures[_order(len(self.pictures), self.seed, epoch)[offset]]
        chances = Random(hash((self.seed, position)))  # noqa: S311 # no secret hangs on it
        return self.transform(_without_difficult(picture), read_image(picture), chances)


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
) -> DataLoader[Sample]:
    """Give ``steps`` batches of augmented pictures, but for the first ``done`` of them.

    Only the part of ``rank`` of each batch of ``batch_size`` pictures is read. All have the same
    shapes: room for as many objects as there are in any picture.
    """
    most = max(int((~picture.difficult).sum()) for picture in pictures)
    samples = TrainingSamples(
        pictures, transform, steps * batch_size, seed, first=done * batch_size
    )
    own = rank.batch_slice(batch_size)
    starts = range(0, len(samples), batch_size)
    return DataLoader(
        samples,
        batch_sampler=[[*range(start + own.start, start + own.stop)] for start in starts],
        num_workers=workers,
        collate_fn=partial(_collate, room=max(1, most)),
        prefetch_factor=4 if workers else None,
        # Fixed here, so that loading draws nothing from the training's own chances.
        generator=torch.Generator().manual_seed(seed),
    )


def evaluation_batches(
    pictures: Sequence[AnnotatedPicture], size: int | None, batch_size: int
) -> Iterator[tuple[list[int], Tensor]]:
    """Give positions and pixels (N, 3, H, W) uint8 of all pictures, each once.

    Args:
        size: side every picture is resized to, pixels; None leaves them as they are, and puts
            only pictures of one shape into a batch.
        pictures: on disk.
        batch_size: pictures at once.
    """
    # By shape. Pictures of many shapes must not all wait: no more than two batches do.
    waiting: dict[tuple[int, ...], tuple[list[int], list[Tensor]]] = {}
    for position, picture in enumerate(pictures):
        pixels = read_picture(picture)
        if size is not None:
            pixels = resize(pixels, [size, size], antialias=True)
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
    return torch.stack([pixels for pixels, _ in samples]), boxes, labels


@lru_cache(maxsize=4)
def _order(count: int, seed: int, epoch: int) -> list[int]:
    generator = torch.Generator().manual_seed(hash((seed, epoch)))
    order: list[int] = torch.randperm(count, generator=generator).tolist()
    return order
