"""Batches from pictures that stay on the device, augmented there."""

import math
from collections.abc import Callable, Iterator
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from secateur.data.classification_set import ClassificationSet
from secateur.distributed.rank import SINGLE, Rank

# Pictures (N, 3, S, S) uint8 to (N, 3, S, S), uint8 or float, 0 to 255; all chance is drawn from
# the generator, which is the CPU's.
Augmentation = Callable[[Tensor, torch.Generator], Tensor]


class CachedBatches:
    """A given number of batches from an endless shuffled walk over pictures, but for the first.

    Batch ``p`` depends on the seed and on ``p`` alone, so no interruption changes what a training
    sees; and all chance is drawn on the CPU, so that every device sees the same. Of several
    processes each gives its part of every batch; the augmentation is to do likewise.
    """

    def __init__(
        self,
        dataset: ClassificationSet,
        *,
        steps: int,
        batch_size: int,
        seed: int,
        augmentation: Augmentation,
        device: torch.device,
        done: int = 0,
        rank: Rank = SINGLE,
    ) -> None:
        self.pixels = dataset.pixels.to(device)
        self.labels = dataset.labels.to(device)
        self.steps = steps
        self.done = done
        self.batch_size = batch_size
        self.seed = seed
        self.augmentation = augmentation
        self.rank = rank

    def __len__(self) -> int:
        return self.steps - self.done

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return map(self.batch, range(self.done, self.steps))

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Give a step's pixels (B, 3, S, S), 0 to 255, and labels (B,), on the device."""
        own = self.rank.batch_slice(self.batch_size)
        index = self._positions(step)[own].to(self.pixels.device)
        # Three numbers, so that no step has the seed of an epoch's order.
        generator = torch.Generator().manual_seed(hash((self.seed, step, 1)))
        return self.augmentation(self.pixels[index], generator), self.labels[index]

    def _positions(self, step: int) -> Tensor:
        """Which pictures make a batch, (B,) int64; it may reach over several epochs."""
        count = len(self.labels)
        first = step * self.batch_size
        last = first + self.batch_size
        epochs = range(first // count, (last - 1) // count + 1)
        walk = torch.cat([_order(count, self.seed, epoch) for epoch in epochs])
        start = first - epochs.start * count
        return walk[start : start + self.batch_size]


def augment(
    pixels: Tensor,
    *,
    flip: bool,
    shift: float,
    zoom: float,
    rotate: float,
    light: float,
    generator: torch.Generator,
    rank: Rank = SINGLE,
) -> Tensor:
    """Change each picture by chance; what would leave the picture is mirrored in from its border.

    Args:
        pixels: (N, 3, S, S) uint8.
        flip: mirror half the pictures.
        shift: farthest, as a share of the side; by whole pixels, so that shifts do not blur.
        zoom: largest factor by which a picture is enlarged or reduced, from 1.
        rotate: farthest, degrees.
        light: largest relative change of the brightness and of the contrast, 0–1.
        generator: of all chance, on the CPU.
        rank: whose part of a batch these are; random numbers are drawn for the whole, so that a
            picture is changed alike by however many processes.

    Returns:
        (N, 3, S, S), 0 to 255: float32, or uint8 where there was no more to do than to mirror.
    """
    count, side, device = len(pixels) * rank.world_size, pixels.shape[-1], pixels.device
    own = rank.batch_slice(count)

    def between(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)[own]

    if flip:
        mirrored = (torch.rand(count, generator=generator)[own] < 0.5).to(device)
        pixels = torch.where(mirrored.view(-1, 1, 1, 1), pixels.flip(-1), pixels)
    farthest = round(shift * side)
    if farthest > 0 or zoom > 1 or rotate > 0:
        angle = between(-math.radians(rotate), math.radians(rotate))
        factor = zoom ** between(-1, 1)
        shifts = torch.randint(-farthest, farthest + 1, (2, count), generator=generator)
        across, down = shifts[:, own]
        pixels = warp(pixels, affine(angle, factor, across, down, side).to(device))
    if light > 0:
        brightness = between(1 - light, 1 + light).to(device).view(-1, 1, 1, 1)
        contrast = between(1 - light, 1 + light).to(device).view(-1, 1, 1, 1)
        pixels = pixels.float()
        grey = pixels.mean((1, 2, 3), keepdim=True)
        # (x - grey) · contrast + grey, then · brightness, as one product and one sum
        scale = brightness * contrast
        pixels = pixels.mul(scale).add_(grey * (brightness - scale)).clamp_(0, 255)
    return pixels


def affine(angle: Tensor, factor: Tensor, across: Tensor, down: Tensor, side: int) -> Tensor:
    """Matrices (N, 2, 3) for ``warp`` that enlarge and turn pictures about their middle, and shift.

    Args:
        angle: clockwise, radians, (N,).
        factor: by which pictures are enlarged, (N,).
        across: to the right, pixels, (N,).
        down: pixels, (N,).
        side: of the pictures, pixels.
    """
    # They lead from a place in the result to one in the source, in units of half a side.
    cos, sin = angle.cos() / factor, angle.sin() / factor
    x, y = across * (-2 / side), down * (-2 / side)
    rows = [cos, sin, cos * x + sin * y, -sin, cos, cos * y - sin * x]
    return torch.stack(rows, 1).view(-1, 2, 3)


def warp(pixels: Tensor, matrices: Tensor) -> Tensor:
    """Resample pictures (N, 3, S, S) along ``affine`` matrices (N, 2, 3), to float32."""
    grid = affine_grid(matrices, list(pixels.shape), align_corners=False)
    return grid_sample(
        pixels.float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )


@lru_cache(maxsize=4)
def _order(count: int, seed: int, epoch: int) -> Tensor:
    generator = torch.Generator().manual_seed(hash((seed, epoch)))
    return torch.randperm(count, generator=generator)
