"""Raw outputs of an SSD on a batch of pictures of one size."""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast
from weakref import WeakKeyDictionary

from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD

from secateur.tasks.normalisation import normalised

# By generator of default boxes: the shapes and device they depend on, and the boxes.
_CACHE: WeakKeyDictionary[nn.Module, tuple[Any, Tensor]] = WeakKeyDictionary()


class RawOutputs(NamedTuple):
    """What an SSD computes before matching, loss, decoding and NMS."""

    logits: Tensor  # (N, B, 1 + K) float32; class 0 is the background
    offsets: Tensor  # (N, B, 4) float32, from the default boxes
    boxes: Tensor  # default boxes (B, 4) float32, x1, y1, x2, y2 in pixels


def raw_outputs(ssd: SSD, pictures: Tensor) -> RawOutputs:
    """Run an SSD on pictures (N, 3, H, W) uint8."""
    x = normalised(pictures, ssd.transform.image_mean, ssd.transform.image_std)
    maps = list(ssd.backbone(x).values())
    outputs = ssd.head(maps)
    logits, offsets = (outputs[name].float() for name in ("cls_logits", "bbox_regression"))
    return RawOutputs(logits, offsets, _default_boxes(ssd, x, maps))


def _default_boxes(ssd: SSD, x: Tensor, maps: Sequence[Tensor]) -> Tensor:
    """(B, 4); cached, since their generation is a large part of a training step on a GPU."""
    generator = ssd.anchor_generator
    key = (x.device, *(tuple(each.shape[-2:]) for each in (x, *maps)))
    if generator not in _CACHE or _CACHE[generator][0] != key:
        one = ImageList(x[:1], [cast(tuple[int, int], tuple(x.shape[-2:]))])
        _CACHE[generator] = key, generator(one, [each[:1].float() for each in maps])[0]
    return _CACHE[generator][1]
