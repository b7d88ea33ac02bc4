"""torchvision's own SSDs are exported: SSD300 on VGG16 and SSDLite320 on MobileNetV3."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_networks import no_bar
from torch import nn
from torchvision.models.detection import (
    SSD300_VGG16_Weights,
    SSDLite320_MobileNet_V3_Large_Weights,
    fasterrcnn_resnet50_fpn,
    ssd300_vgg16,
    ssdlite320_mobilenet_v3_large,
)
from torchvision.models.detection.ssd import SSD

from secateur.errors import ModelError
from secateur.export.export import export_network
from secateur.export.target import Target
from secateur.inference.predictor import open_predictor
from secateur.inference.torch_network import TorchNetwork


def lively(build: Callable[..., SSD], classes: int) -> SSD:
    """Fresh weights whose outputs differ from box to box, as after training."""
    torch.manual_seed(0)
    ssd = build(weights=None, weights_backbone=None, num_classes=classes)
    norms = [module for module in ssd.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the mean over all batches
    if norms:
        with torch.no_grad():
            ssd.train().head(list(ssd.backbone(torch.randn(4, 3, 320, 320)).values()))
    for layer in ssd.head.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.1 if norms else 0.01)
    return ssd.eval()


@pytest.mark.parametrize(
    ("build", "weights", "size", "most"),
    [
        (ssd300_vgg16, SSD300_VGG16_Weights.COCO_V1, 300, 200),
        (ssdlite320_mobilenet_v3_large, SSDLite320_MobileNet_V3_Large_Weights.COCO_V1, 320, 300),
    ],
)
def test_trained_weights_by_name(
    build: Callable[..., SSD],
    weights: SSD300_VGG16_Weights,
    size: int,
    most: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fresh weights replace those that torchvision would download."""
    ssd = lively(build, 91)
    monkeypatch.setattr(type(weights), "get_state_dict", lambda *_, **__: ssd.state_dict())
    network = TorchNetwork.load(f"torchvision:{weights}")
    assert network.header.classes == tuple(weights.meta["categories"][1:])
    out = tmp_path / "ssd.onnx"
    result = export_network(network, out, Target(), bar=no_bar)
    assert result.agreement
    assert result.agreement.matched >= 0.998 * result.agreement.objects > 1000
    predictor = open_predictor(out)
    assert predictor.header.size == size
    found = predictor.detect(torch.zeros(1, 3, size, size, dtype=torch.uint8))[0]
    assert len(found.scores) == most


def test_weights_of_another_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "torchvision:FasterRCNN_ResNet50_FPN_Weights.COCO_V1"
    model = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    monkeypatch.setattr("secateur.inference.torch_network.read_state", lambda _: model.state_dict())
    with pytest.raises(ModelError, match="not the weights of an SSD"):
        TorchNetwork.load(name)


def test_classes_must_be_as_many_as_the_network_has() -> None:
    ssd = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=3)
    assert TorchNetwork.from_ssd("mine", ssd, ("a", "b")).header.classes == ("a", "b")
    with pytest.raises(ModelError, match="has 2 classes, but 1 are named"):
        TorchNetwork.from_ssd("mine", ssd, ("a",))
