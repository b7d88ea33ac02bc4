"""Pictures as the network meets them: augmented for training, plain for evaluation."""

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import crop as crop_picture

# A picture (3, H, W) uint8 with boxes (N, 4) and labels (N,), to the same.
Transform = Callable[
    [tv_tensors.Image, dict[str, Tensor]], tuple[tv_tensors.Image, dict[str, Tensor]]
]


def ssd_augmentation(
    size: int,
    *,
    photometric: bool = True,
    expand: float = 4.0,
    crop: bool = True,
    flip: bool = True,
) -> Transform:
    """SSD's own augmentation: photometric, expand, IoU crop, flip; then size × size pixels.

    Args:
        size: side of the result, pixels.
        photometric: distort light, contrast, saturation and hue.
        expand: largest canvas a picture is laid on, in its own sides; 1 for never.
        crop: crop so that the objects left have some least overlap with the crop.
        flip: mirror half the pictures; false where left and right mean different things.
    """
    steps: list[torch.nn.Module] = []
    if photometric:
        steps.append(v2.RandomPhotometricDistort())
    if expand > 1:
        # Filled with grey: a network trained from scratch has no mean colour of its own yet.
        steps.append(v2.RandomZoomOut(fill=(123, 117, 104), side_range=(1.0, expand)))
    if crop:
        steps.append(v2.RandomIoUCrop())
    if flip:
        steps.append(v2.RandomHorizontalFlip())
    steps += [v2.Resize((size, size), antialias=True), v2.SanitizeBoundingBoxes()]
    composed: Transform = v2.Compose(steps)
    return composed


def native_crops(
    size: int, *, photometric: bool = True, zoom: float = 1.25, flip: bool = True
) -> Transform:
    """Crops of size × size pixels at about native resolution, four in five round an object.

    Args:
        size: side of the crop, pixels.
        photometric: distort light, contrast, saturation and hue.
        zoom: largest factor by which a crop is enlarged or reduced.
        flip: mirror half the crops.
    """
    finish = v2.Compose(
        [
            *([v2.RandomPhotometricDistort()] if photometric else []),
            *([v2.RandomHorizontalFlip()] if flip else []),
            v2.Resize((size, size), antialias=True),
        ]
    )

    def transform(
        picture: tv_tensors.Image, target: dict[str, Tensor]
    ) -> tuple[tv_tensors.Image, dict[str, Tensor]]:
        height, width = picture.shape[-2:]
        side = round(size * zoom ** float(torch.empty(()).uniform_(-1, 1)))
        side = min(side, height, width)
        boxes = target["boxes"]
        if len(boxes) and torch.rand(()) < 0.8:
            x1, y1, x2, y2 = boxes[int(torch.randint(len(boxes), ()))].tolist()
            # Anywhere that holds the whole object, or its middle where it is larger than the crop.
            left = _between(min(x2 - side, x1), max(x2 - side, x1))
            top = _between(min(y2 - side, y1), max(y2 - side, y1))
        else:
            left, top = _between(0, width - side), _between(0, height - side)
        x, y = (
            int(min(max(left, 0), width - side)),
            int(min(max(top, 0), height - side)),
        )
        shifted = boxes.as_subclass(Tensor) - torch.tensor([x, y, x, y])
        clipped = shifted.clamp(0, side)
        # An object of which less than half is left is neither one to learn nor clean background;
        # it is taken as background, as in a picture whose edge cuts it.
        area = (clipped[:, 2:] - clipped[:, :2]).prod(1)
        seen = area > 0.5 * (shifted[:, 2:] - shifted[:, :2]).prod(1)
        target = {
            "boxes": tv_tensors.BoundingBoxes(
                clipped[seen], format="XYXY", canvas_size=(side, side)
            ),
            "labels": target["labels"][seen],
        }
        result = finish(crop_picture(picture, y, x, side, side), target)
        return result[0], result[1]

    return transform


def _between(low: float, high: float) -> float:
    return float(torch.empty(()).uniform_(low, high)) if high > low else low
