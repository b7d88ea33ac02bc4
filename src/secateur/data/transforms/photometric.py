"""Light, contrast, saturation, hue and the channels' order, distorted at random as SSD's are.

Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016, by way of Howard (2013). Each change is
made or left out by even chances, in ranges and in an order that are torchvision's
``RandomPhotometricDistort``.
"""

from collections.abc import Callable
from random import Random

import torch
from torch import Tensor

BRIGHTNESS = (0.875, 1.125)
CONTRAST = SATURATION = (0.5, 1.5)
HUE = (-0.05, 0.05)  # turns of the colour wheel

# Pixels (3, N) float, 0 to 255, a factor, and how many pixels at the end are the sample; in place.
_Change = Callable[[Tensor, float, int], None]


def distort(pixels: Tensor, sample: Tensor, chances: Random) -> Tensor:
    """Distort a picture, or a part of one.

    All changes but that of contrast look at one pixel at a time, so they can be made on the part
    of a picture that is used, at the size it is used at. Contrast is changed about the mean grey of
    the whole picture, as the changes before it left that.

    Args:
        pixels: (3, H, W) uint8.
        sample: (3, N) uint8, some pixels of the whole picture, spread evenly over it.
        chances: what is drawn from.

    Returns:
        (3, H, W) uint8.
    """
    changes = _draw_changes(chances)
    order = chances.sample(range(3), 3) if chances.random() < 0.5 else [0, 1, 2]
    if changes:
        # The sample goes along behind the pixels, to meet the same changes.
        both = torch.cat([pixels.flatten(1), sample], 1).float()
        for change, factor in changes:
            change(both, factor, sample.shape[1])
            both.clamp_(0, 255)
        pixels = both[:, : pixels[0].numel()].round_().byte().view(pixels.shape)
    return pixels[order] if order != [0, 1, 2] else pixels


def change_brightness(pixels: Tensor, factor: float, _sampled: int) -> None:
    """Multiply."""
    pixels *= factor


def change_contrast(pixels: Tensor, factor: float, sampled: int) -> None:
    """Move away from, or towards, the mean grey of the sample."""
    mean = float(_grey(pixels[:, -sampled:]).mean())
    pixels.mul_(factor).add_((1 - factor) * mean)


def change_saturation(pixels: Tensor, factor: float, _sampled: int) -> None:
    """Move away from, or towards, each pixel's own grey."""
    grey = _grey(pixels)
    pixels.mul_(factor).add_(grey, alpha=1 - factor)


def change_hue(pixels: Tensor, factor: float, _sampled: int) -> None:
    """Turn the hue of HSV by ``factor`` of the colour wheel, a sixth at most."""
    red, green, blue = pixels
    most, least = pixels.amax(0), pixels.amin(0)
    chroma = most - least
    # In sixths of the wheel from red; red's own sector is -1 to 1, and the rest goes up to 5.
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
    # A channel is full within a sixth of its own hue and gone two sixths away, round the wheel.
    pixels[0] = 2 - torch.minimum(hue.abs(), (hue - 6).abs())
    pixels[1] = 2 - (hue - 2).abs()
    pixels[2] = 2 - torch.minimum((hue - 4).abs(), (hue + 2).abs())
    pixels.clamp_(0, 1).mul_(chroma).add_(least)


def _draw_changes(chances: Random) -> list[tuple[_Change, float]]:
    brightness, contrast, saturation, hue = (
        [(change, chances.uniform(*limits))] if chances.random() < 0.5 else []
        for change, limits in (
            (change_brightness, BRIGHTNESS),
            (change_contrast, CONTRAST),
            (change_saturation, SATURATION),
            (change_hue, HUE),
        )
    )
    if chances.random() < 0.5:
        return [*brightness, *contrast, *saturation, *hue]
    return [*brightness, *saturation, *hue, *contrast]


def _grey(pixels: Tensor) -> Tensor:
    """Luma (N,) of pixels (3, N), by the weights of ITU-R BT.601."""
    red, green, blue = pixels
    grey: Tensor = (0.299 * red).add_(green, alpha=0.587).add_(blue, alpha=0.114)
    return grey
