"""What an exported file computes: from a batch of pictures to objects, scores or raw outputs.

Pictures are RGB bytes, (N, 3, H, W) uint8, as image libraries give them, so whoever runs the file
cannot get the normalisation wrong. The shapes of all outputs follow from the input's shape.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD
from torchvision.ops import clip_boxes_to_image

from secateur.export.folding import fold_batch_norm
from secateur.export.nms import kept_by_nms
from secateur.inference.torch_network import TorchNetwork
from secateur.runtimes.header import RAW_OUTPUTS, ExportHeader


class Graph(nn.Module):
    """A network from bytes to named outputs.

    Attributes:
        outputs: names, in order.
        inner: how many of the last outputs become inner tensors of the file, which keep their
            names so that the network can be timed without decoding and NMS.
    """

    outputs: tuple[str, ...]
    inner = 0


class RawDetector(Graph):
    """Pictures to the raw outputs of an SSD's heads, and the default boxes.

    Args:
        ssd: in evaluation mode; with ``half`` its weights are converted to half precision.
        size: height and width of every picture, pixels; None for any.
        half: compute in half precision.
    """

    outputs = (*RAW_OUTPUTS, "default_boxes")

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
    """Pictures to objects: network, decoding and NMS of an SSD, without loops.

    It computes the same as torchvision's ``SSD.postprocess_detections``, with the SSD's settings,
    for all classes and pictures at once. Arguments as for ``RawDetector``.
    """

    outputs = ("boxes", "labels", "scores", *RAW_OUTPUTS)
    inner = len(RAW_OUTPUTS)

    def __init__(self, ssd: SSD, size: tuple[int, int] | None, half: bool = False) -> None:
        super().__init__()
        self.raw = RawDetector(ssd, size, half)
        self.box_coder = ssd.box_coder
        self.score_thresh = ssd.score_thresh
        self.nms_thresh = ssd.nms_thresh
        self.candidates = ssd.topk_candidates
        self.detections = ssd.detections_per_img

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """Map (N, 3, H, W) uint8 to the D best objects of each picture, highest score first.

        Returns:
            Boxes (N, D, 4) in pixels, labels (N, D) int64 from 1, scores (N, D); if a picture has
            fewer objects, its remaining rows are zero. Then the raw outputs of the heads.
        """
        logits, offsets, default_boxes = self.raw(pictures)
        scores = logits.softmax(-1)[..., 1:].transpose(1, 2)  # (N, C, B)
        decoded = self._decoded(offsets, default_boxes, pictures)  # (N, B, 4)
        pictures_, classes, boxes = scores.shape
        k = self.candidates
        if self.raw.boxes is None:
            # A picture of unknown size may have fewer default boxes than candidates.
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


class RawClassifier(Graph):
    """Pictures to the logits of a classifier.

    Args:
        network: in evaluation mode; with ``half`` its weights are converted to half precision.
        mean: of the channels, 0 to 1.
        std: of the channels, 0 to 1.
        half: compute in half precision.
    """

    outputs: tuple[str, ...] = ("logits",)

    def __init__(
        self, network: nn.Module, mean: Sequence[float], std: Sequence[float], half: bool = False
    ) -> None:
        super().__init__()
        self.normalised = Normalised(mean, std, half)
        self.network = network.half() if half else network

    def forward(self, pictures: Tensor) -> Tensor:
        """Map (N, 3, H, W) uint8 to (N, K)."""
        logits: Tensor = self.network(self.normalised(pictures))
        return logits.float()


class Classifier(RawClassifier):
    """Pictures to the probability of each class; arguments as for ``RawClassifier``."""

    outputs = ("scores",)

    def forward(self, pictures: Tensor) -> Tensor:
        """Map (N, 3, H, W) uint8 to (N, K); each row sums to 1."""
        return super().forward(pictures).softmax(1)


class Normalised(nn.Module):
    """Bytes to the values that a network was trained with."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], half: bool) -> None:
        super().__init__()
        self.mean = nn.Buffer(torch.tensor(mean).view(1, 3, 1, 1))
        self.std = nn.Buffer(torch.tensor(std).view(1, 3, 1, 1))
        self.half_precision = half

    def forward(self, pictures: Tensor) -> Tensor:
        """Map (N, 3, H, W) uint8 to float32 or, with ``half``, float16."""
        x = (pictures / 255 - self.mean) / self.std
        return x.half() if self.half_precision else x


def export_graph(network: TorchNetwork, header: ExportHeader, half: bool = False) -> Graph:
    """Build what an exported file computes, with batch norms folded.

    Args:
        network: not changed.
        header: says which outputs the file has, and for which pictures.
        half: compute in half precision.
    """
    model, raw = fold_batch_norm(network.model).cpu(), header.outputs == "raw"
    if isinstance(model, SSD):
        return (RawDetector if raw else Detector)(model, header.shape, half)
    return (RawClassifier if raw else Classifier)(model, network.mean, network.std, half)
