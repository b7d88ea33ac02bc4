"""Normalisation of pictures for a network."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor


def normalised(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Scale pixels to 0–1, subtract the mean and divide by the standard deviation.

    Args:
        pixels: (N, C, H, W), 0 to 255, uint8 or float.
        mean: of each channel, 0–1.
        std: of each channel, 0–1.
    """
    device = pixels.device
    return (pixels / 255 - _by_channel((*mean,), device)) / _by_channel((*std,), device)


@lru_cache(maxsize=8)
def _by_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    """(1, C, 1, 1) on the device; cached, since a copy to a GPU takes long."""
    return torch.tensor(values, device=device).view(1, -1, 1, 1)
