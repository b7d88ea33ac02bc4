"""The raw network of torchvision's detectors: what can be traced, verified and counted.

Resizing of the pictures comes before it; matching, decoding and NMS, whose sizes depend on the
data, after it.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.fcos import FCOS
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.retinanet import RetinaNet
from torchvision.models.detection.ssd import SSD

from secateur.models.example_inputs import ExampleInputs, call_arguments
from secateur.models.modes import evaluating


def raw_parts(model: nn.Module, example_inputs: ExampleInputs) -> tuple[nn.Module, ExampleInputs]:
    """Give the raw network of a detector of torchvision, and what its forward pass takes.

    Its parameters are the detector's own, under the same names. Of any other network, the network
    and the inputs are returned as they are.

    Args:
        model: not changed.
        example_inputs: of a detector: its pictures, (3, H, W) each.
    """
    raw: nn.Module
    if isinstance(model, SSD | RetinaNet | FCOS):
        raw = OneStage(model)
    elif isinstance(model, GeneralizedRCNN):
        raw = TwoStage(model)
    else:
        return model, example_inputs
    args, kwargs = call_arguments(example_inputs)
    pictures = args[0] if args else kwargs["images"]
    with evaluating(model), torch.no_grad():  # in training the size is drawn at random
        batch, _ = model.transform(list(pictures))
    return raw.train(model.training), batch.tensors


def _maps(features: Tensor | Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Feature maps by name; a backbone without a pyramid gives one."""
    return {"0": features} if isinstance(features, Tensor) else dict(features)


class OneStage(nn.Module):
    """SSD, SSDlite, RetinaNet or FCOS without decoding and NMS."""

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.backbone: nn.Module = detector.backbone
        self.head: nn.Module = detector.head

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map pictures (N, 3, H, W) to the outputs of the heads."""
        outputs: dict[str, Tensor] = self.head(list(_maps(self.backbone(x)).values()))
        return outputs


class TwoStage(nn.Module):
    """Faster, Mask or Keypoint R-CNN without proposals, decoding and NMS.

    The heads of the second stage see one region for each picture and map: all of the map. Pooled
    by averages, as it is here, or by RoIAlign, a region keeps the map's channels apart.
    """

    def __init__(self, detector: GeneralizedRCNN) -> None:
        super().__init__()
        self.backbone: nn.Module = detector.backbone
        self.rpn: Any = detector.rpn
        self.roi_heads: nn.Module = detector.roi_heads

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map pictures (N, 3, H, W) to the raw outputs of all heads."""
        maps = _maps(self.backbone(x))
        objectness, offsets = self.rpn.head(list(maps.values()))
        outputs: list[Tensor] = [*objectness, *offsets]
        for kind in ("box", "mask", "keypoint"):
            pool, head, predictor = (
                getattr(self.roi_heads, f"{kind}_{part}", None)
                for part in ("roi_pool", "head", "predictor")
            )
            if pool is None or head is None or predictor is None:
                continue
            regions = torch.cat(
                [
                    nn.functional.adaptive_avg_pool2d(maps[name], pool.output_size)
                    for name in pool.featmap_names
                    if name in maps
                ]
            )
            predicted = predictor(head(regions))
            outputs += [predicted] if isinstance(predicted, Tensor) else predicted
        return outputs
