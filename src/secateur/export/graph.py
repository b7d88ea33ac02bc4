"""What an exported file computes: a batch of pictures in; objects, raw outputs or scores out.

Pictures are RGB bytes, (N, 3, H, W) uint8: what an image library gives, so that whoever runs the
file cannot get the normalisation wrong. The shapes of all outputs follow from the input's.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD
from torchvision.ops import clip_boxes_to_image

from secateur.export.suppression import kept_by_nms


class Graph(nn.Module):
    """A network from bytes to outputs of known names.

    Attributes:
        outputs: their names, in order.
        inner: how many of the last stay inside the file, as names of what the network alone
            gives, so that it can be timed without what comes behind it.
    """

    outputs: tuple[str, ...]
    inner = 0


class RawDetector(Graph):
    """Pictures to the raw outputs of an SSD's heads, and the default boxes that they refer to.

    Args:
        ssd: in evaluation mode; with ``half`` its weights are changed to half precision.
        size: height and width of every picture, pixels; None for any.
        half: whether the network computes in half precision.
    """

    outputs = ("logits", "offsets", "default_boxes")

    def __init__(self, ssd: SSD, size: tuple[int, int] | None, half: bool = False) -> None:
        super().__init__()
        self.normalised = Normalised(ssd.transform.image_mean, ssd.transform.image_std, half)
        self.backbone = ssd.backbone.half() if half else ssd.backbone
        self.head = ssd.head.half() if half else ssd.head
        self.anchor_generator = ssd.anchor_generator
        self.boxes: Tensor | None = None
        if size is not None:
            with torch.no_grad():
                self.boxes = self(torch.zeros(1, 3, *size, dtype=torch.uint8))[2]

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map (N, 3, H, W) uint8 to logits (N, B, C), offsets (N, B, 4) and boxes (B, 4)."""
        x = self.normalised(pictures)
        maps = list(self.backbone(x).values())
        outputs: dict[str, Tensor] = self.head(maps)
        boxes = self.boxes
        if boxes is None:
            sides = cast(tuple[int, int], tuple(x.shape[-2:]))
            one = ImageList(x[:1].float(), [sides])
            boxes = self.anchor_generator(one, [m[:1].float() for m in maps])[0]
        return outputs["cls_logits"].float(), outputs["bbox_regression"].float(), boxes


class Detector(Graph):
    """Pictures to objects: the network, decoding and NMS of an SSD, without any loop.

    What torchvision's ``SSD.postprocess_detections`` does class by class and picture by picture,
    with its settings, all at once.

    Args:
        ssd: as for ``RawDetector``.
        size: likewise.
        half: likewise.
    """

    outputs = ("boxes", "labels", "scores", "logits", "offsets")
    inner = 2

    def __init__(self, ssd: SSD, size: tuple[int, int] | None, half: bool = False) -> None:
        super().__init__()
        self.raw = RawDetector(ssd, size, half)
        self.box_coder = ssd.box_coder
        self.score_thresh = ssd.score_thresh
        self.nms_thresh = ssd.nms_thresh
        self.candidates = ssd.topk_candidates
        self.detections = ssd.detections_per_img

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """Map (N, 3, H, W) uint8 to the best D objects of each picture, the surest first.

        Returns:
            Boxes (N, D, 4) in pixels, labels (N, D) int64 from 1, scores (N, D). Where a picture
            has fewer objects, the rest of its rows are zero. Then the raw outputs of the heads.
        """
        logits, offsets, default_boxes = self.raw(pictures)
        scores = logits.softmax(-1)[..., 1:].transpose(1, 2)  # (N, C, B)
        decoded = self._decoded(offsets, default_boxes, pictures)  # (N, B, 4)
        pictures_, classes, boxes = scores.shape
        k = self.candidates
        if self.raw.boxes is None:
            # A picture of any size may have fewer default boxes than there are candidates.
            scores = nn.functional.pad(scores, (0, k))
            decoded = nn.functional.pad(decoded, (0, 0, 0, k))
        else:
            k = min(k, boxes)
        best, index = scores.topk(k)  # (N, C, K)
        first = torch.arange(pictures_, device=index.device)[:, None, None] * decoded.shape[1]
        candidates = decoded.flatten(0, 1)[index + first]  # (N, C, K, 4)
        kept = kept_by_nms(
            candidates.flatten(0, 1), best.flatten(0, 1), self.nms_thresh, self.score_thresh
        )
        best = torch.where(kept.view_as(best), best, 0.0).flatten(1)  # (N, C × K)
        top, place = best.topk(min(self.detections, classes * k))  # (N, D)
        found = top > 0
        labels = torch.where(found, place // k + 1, 0)
        chosen = candidates.flatten(1, 2).gather(1, place[..., None].expand(-1, -1, 4))
        return torch.where(found[..., None], chosen, 0.0), labels, top, logits, offsets

    def _decoded(self, offsets: Tensor, default_boxes: Tensor, pictures: Tensor) -> Tensor:
        """Boxes (N, B, 4) in pixels, clipped to the picture."""
        count = offsets.shape[0]
        references = default_boxes.expand(count, -1, -1).flatten(0, 1)
        boxes: Tensor = self.box_coder.decode_single(offsets.flatten(0, 1), references)
        height, width = pictures.shape[-2:]
        clipped: Tensor = clip_boxes_to_image(boxes, (height, width))
        return clipped.view_as(offsets)


class Classifier(Graph):
    """Pictures to the probability of each class.

    Args:
        network: in evaluation mode; with ``half`` its weights are changed to half precision.
        mean: of the channels, 0 to 1.
        std: likewise.
        half: whether the network computes in half precision.
    """

    outputs = ("scores",)

    def __init__(
        self, network: nn.Module, mean: Sequence[float], std: Sequence[float], half: bool = False
    ) -> None:
        super().__init__()
        self.normalised = Normalised(mean, std, half)
        self.network = network.half() if half else network

    def forward(self, pictures: Tensor) -> Tensor:
        """Map (N, 3, H, W) uint8 to (N, K), rows that sum to 1."""
        logits: Tensor = self.network(self.normalised(pictures))
        return logits.float().softmax(1)


class RawClassifier(Classifier):
    """Pictures to the raw outputs of a classifier."""

    outputs = ("logits",)

    def forward(self, pictures: Tensor) -> Tensor:
        """Map (N, 3, H, W) uint8 to (N, K)."""
        logits: Tensor = self.network(self.normalised(pictures))
        return logits.float()


class Normalised(nn.Module):
    """Bytes to the numbers a network was trained with."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], half: bool) -> None:
        super().__init__()
        self.mean = nn.Buffer(torch.tensor(mean).view(1, 3, 1, 1))
        self.std = nn.Buffer(torch.tensor(std).view(1, 3, 1, 1))
        self.half_precision = half

    def forward(self, pictures: Tensor) -> Tensor:
        """Map (N, 3, H, W) uint8 to float32, or float16."""
        x = (pictures / 255 - self.mean) / self.std
        return x.half() if self.half_precision else x
