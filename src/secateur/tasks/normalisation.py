"""Pictures as networks are given them."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor


def normalised(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Give pictures zero mean and unit deviation.

    Args:
        pixels: (N, C, H, W), 0 to 255, uint8 or float.
        mean: of the channels, 0–1.
        std: of the channels, 0–1.
    """
    device = pixels.device
    return (pixels / 255 - _of_channels((*mean,), device)) / _of_channels((*std,), device)


@lru_cache(maxsize=8)
def _of_channels(values: tuple[float, ...], device: torch.device) -> Tensor:
    """A number for each channel, (1, C, 1, 1), moved to the device but once."""
    return torch.tensor(values, device=device).view(1, -1, 1, 1)
