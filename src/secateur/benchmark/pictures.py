"""The pictures that networks run on while they are measured."""

from pathlib import Path

import numpy as np
import torch
from torchvision.transforms.v2.functional import resize

from secateur.data.loaders import read_picture
from secateur.data.unannotated import find_pictures
from secateur.runtimes.exported_file import Pictures

# Pictures read from a folder; more would take longer and add little variety.
MOST = 16
# Their name in results if there is no folder.
RANDOM = "random bytes"


def random_batch(shape: tuple[int, int], batch: int, seed: int) -> list[Pictures]:
    """Return one batch of random bytes."""
    generator = np.random.default_rng(seed)
    return [generator.integers(0, 256, (batch, 3, *shape), np.uint8)]


def picture_batches(folder: Path, shape: tuple[int, int], batch: int) -> list[Pictures]:
    """Read pictures spread evenly over a folder, resized to one shape.

    Args:
        folder: of pictures, or one picture.
        shape: height and width, pixels.
        batch: pictures per batch; pictures are repeated to fill the last one.

    Raises:
        DataError: there are no pictures, or one cannot be read.
    """
    found = find_pictures([folder])
    step = max(1, len(found) / MOST)
    some = [found[int(i * step)] for i in range(min(MOST, len(found)))]
    pixels = [resize(read_picture(each), list(shape), antialias=True) for each in some]
    count = -(-len(pixels) // batch) * batch
    pixels = [pixels[i % len(pixels)] for i in range(count)]
    return [torch.stack(pixels[i : i + batch]).numpy() for i in range(0, count, batch)]
