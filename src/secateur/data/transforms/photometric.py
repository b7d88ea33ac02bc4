"""SSD's photometric distortion: brightness, contrast, saturation, hue and channel order.

Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016, after Howard (2013). Each change is
made with probability 1/2; ranges and order are those of torchvision's ``RandomPhotometricDistort``.
"""

from collections.abc import Callable
from random import Random

import torch
from torch import Tensor

BRIGHTNESS = (0.875, 1.125)
CONTRAST = SATURATION = (0.5, 1.5)
HUE = (-0.05, 0.05)  # turns of the colour wheel

# In place: pixels (3, N) float, 0 to 255, a factor, and the number of sample pixels at the end.
_Change = Callable[[Tensor, float, int], None]


def distort(pixels: Tensor, sample: Tensor, rng: Random) -> Tensor:
    """Distort a picture, or a part of one.

    Every change except contrast works on single pixels, so it can be applied to the visible part of
    a picture at its final size. Contrast changes relative to the mean grey of the whole picture,
    for which ``sample`` stands.

    Args:
        pixels: (3, H, W) uint8.
        sample: (3, N) uint8, pixels spread evenly over the whole picture.
        rng: random numbers of this sample.

    Returns:
        (3, H, W) uint8.
    """
    changes = _draw_changes(rng)
    order = rng.sample(range(3), 3) if rng.random() < 0.5 else [0, 1, 2]
    if changes:
        # The sample is appended, so that it undergoes the same changes.
        both = torch.cat([pixels.flatten(1), sample], 1).float()
        for change, factor in changes:
            change(both, factor, sample.shape[1])
            both.clamp_(0, 255)
        pixels = both[:, : pixels[0].numel()].round_().byte().view(pixels.shape)
    return pixels[order] if order != [0, 1, 2] else pixels


def change_brightness(pixels: Tensor, factor: float, _sampled: int) -> None:
    """Multiply by ``factor``."""
    pixels *= factor


def change_contrast(pixels: Tensor, factor: float, sampled: int) -> None:
    """Scale the difference from the mean grey of the sample by ``factor``."""
    mean = float(_grey(pixels[:, -sampled:]).mean())
    pixels.mul_(factor).add_((1 - factor) * mean)


def change_saturation(pixels: Tensor, factor: float, _sampled: int) -> None:
    """Scale the difference from each pixel's grey by ``factor``."""
    grey = _grey(pixels)
    pixels.mul_(factor).add_(grey, alpha=1 - factor)


def change_hue(pixels: Tensor, factor: float, _sampled: int) -> None:
    """Rotate the HSV hue by ``factor`` turns, at most a sixth of a turn."""
    red, green, blue = pixels
    most, least = pixels.amax(0), pixels.amin(0)
    chroma = most - least
    # In sixths of a turn from red: -1 to 1 where red is largest, up to 5 elsewhere.
    hue = torch.where(
        most == red,
        green - blue,
        torch.where(
            most == green,
            (blue - red).add_(chroma, alpha=2),
            (red - green).add_(chroma, alpha=4),
        ),
    )
    hue.div_(chroma.clamp(min=1e-6)).add_(6 * factor)
    # A channel is full within a sixth of its hue, and zero from two sixths on.
    pixels[0] = 2 - torch.minimum(hue.abs(), (hue - 6).abs())
    pixels[1] = 2 - (hue - 2).abs()
    pixels[2] = 2 - torch.minimum((hue - 4).abs(), (hue + 2).abs())
    pixels.clamp_(0, 1).mul_(chroma).add_(least)


def _draw_changes(rng: Random) -> list[tuple[_Change, float]]:
    brightness, contrast, saturation, hue = (
        [(change, rng.uniform(*limits))] if rng.random() < 0.5 else []
        for change, limits in (
            (change_brightness, BRIGHTNESS),
            (change_contrast, CONTRAST),
            (change_saturation, SATURATION),
            (change_hue, HUE),
        )
    )
    if rng.random() < 0.5:
        return [*brightness, *contrast, *saturation, *hue]
    return [*brightness, *saturation, *hue, *contrast]


def _grey(pixels: Tensor) -> Tensor:
    """Luma (N,) of pixels (3, N), with the weights of ITU-R BT.601."""
    red, green, blue = pixels
    grey: Tensor = (0.299 * red).add_(green, alpha=0.587).add_(blue, alpha=0.114)
    return grey
