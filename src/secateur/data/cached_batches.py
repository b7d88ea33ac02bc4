"""Batches of a classifier's pictures, which are kept and augmented on the device."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from secateur.data.classification_set import ClassificationSet
from secateur.data.seeds import AUGMENTATION, derived_seed, epoch_order
from secateur.distributed.rank import SINGLE, Rank

# From pictures (N, 3, S, S) uint8 to (N, 3, S, S), uint8 or float, 0 to 255. All random numbers
# come from the generator, which is on the CPU.
Augmentation = Callable[[Tensor, torch.Generator], Tensor]


class CachedBatches:
    """Batches of augmented pictures, shuffled in each epoch, without the first ``done``.

    Batch ``p`` depends on the seed and on ``p`` only, so an interruption does not change what a
    training sees. Random numbers are drawn on the CPU, so they are the same for every device. Each
    of several processes gets its part of every batch; the augmentation must use the same ``rank``.
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
        """Return a step's pixels (B, 3, S, S), 0 to 255, and labels (B,), on the device."""
        own = self.rank.batch_slice(self.batch_size)
        index = self._positions(step)[own].to(self.pixels.device)
        generator = torch.Generator().manual_seed(derived_seed(self.seed, AUGMENTATION, step))
        return self.augmentation(self.pixels[index], generator), self.labels[index]

    def _positions(self, step: int) -> Tensor:
        """Positions of a batch's pictures, (B,) int64; a batch may span several epochs."""
        count = len(self.labels)
        first = step * self.batch_size
        last = first + self.batch_size
        epochs = range(first // count, (last - 1) // count + 1)
        walk = torch.cat([epoch_order(count, self.seed, epoch) for epoch in epochs])
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
    """Augment each picture at random; areas outside the picture mirror its content at the border.

    Args:
        pixels: (N, 3, S, S) uint8.
        flip: mirror half of the pictures.
        shift: largest shift along each axis ÷ side; by whole pixels, so that shifts do not blur.
        zoom: largest factor by which a picture is enlarged or reduced, at least 1.
        rotate: largest rotation in either direction, degrees.
        light: largest relative change of brightness and of contrast, 0–1.
        generator: of all random numbers, on the CPU.
        rank: the process whose part of the batch ``pixels`` are. Random numbers are drawn for the
            whole batch, so a picture is augmented in the same way by any number of processes.

    Returns:
        (N, 3, S, S), 0 to 255: float32, or uint8 if nothing but mirroring is enabled.
    """
    count, side, device = len(pixels) * rank.world_size, pixels.shape[-1], pixels.device
    own = rank.batch_slice(count)

    def between(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)[own]

    if flip:
        mirrored = (torch.rand(count, generator=generator)[own] < 0.5).to(device)
        pixels = torch.where(mirrored.view(-1, 1, 1, 1), pixels.flip(-1), pixels)
    limit = round(shift * side)
    if limit > 0 or zoom > 1 or rotate > 0:
        angle = between(-math.radians(rotate), math.radians(rotate))
        factor = zoom ** between(-1, 1)
        shifts = torch.randint(-limit, limit + 1, (2, count), generator=generator)
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
    """Return matrices (N, 2, 3) for ``warp`` that scale and rotate about the centre, then shift.

    Args:
        angle: clockwise rotation, radians, (N,).
        factor: scale, (N,).
        across: shift to the right, pixels, (N,).
        down: shift downwards, pixels, (N,).
        side: side of the pictures, pixels.
    """
    # They map positions in the result to positions in the source, in units of half a side.
    cos, sin = angle.cos() / factor, angle.sin() / factor
    x, y = across * (-2 / side), down * (-2 / side)
    rows = [cos, sin, cos * x + sin * y, -sin, cos, cos * y - sin * x]
    return torch.stack(rows, 1).view(-1, 2, 3)


def warp(pixels: Tensor, matrices: Tensor) -> Tensor:
    """Resample pictures (N, 3, S, S) with ``affine`` matrices (N, 2, 3), to float32."""
    grid = affine_grid(matrices, list(pixels.shape), align_corners=False)
    return grid_sample(
        pixels.float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
