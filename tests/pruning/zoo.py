"""Networks of many kinds, with random weights that leave no channel dead."""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD, SSDHead

from secateur.models.ssd import RawSSD


class ResNetFeatures(nn.Module):
    """ResNet-18 and two extra blocks; one map for each detection layer."""

    def __init__(self) -> None:
        super().__init__()
        resnet = torchvision.models.resnet18(weights=None)
        self.stem = nn.Sequential(resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool)
        self.blocks = nn.ModuleList(
            [
                nn.Sequential(resnet.layer1, resnet.layer2),
                resnet.layer3,
                resnet.layer4,
                extra_block(512),
                extra_block(256),
            ]
        )

    def forward(self, x: Tensor) -> "OrderedDict[str, Tensor]":
        x = self.stem(x)
        maps = OrderedDict()
        for i, block in enumerate(self.blocks):
            x = maps[str(i)] = block(x)
        return maps


def extra_block(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, 128, 1),
        nn.ReLU(),
        nn.Conv2d(128, 256, 3, stride=2, padding=1),
        nn.ReLU(),
    )


def ssd_resnet18() -> nn.Module:
    """Give the raw network of an SSD made of torchvision's parts."""
    boxes = DefaultBoxGenerator([[2]] * 5)
    head = SSDHead([128, 256, 512, 256, 256], boxes.num_anchors_per_location(), 4)
    return RawSSD(SSD(ResNetFeatures(), boxes, (96, 96), 4, head=head))


def ssdlite() -> nn.Module:
    """Give the raw network of torchvision's SSDlite."""
    build = torchvision.models.detection.ssdlite320_mobilenet_v3_large
    return RawSSD(build(weights=None, weights_backbone=None, num_classes=4))


class UNet(nn.Module):
    """Three levels down and up, with transposed convolutions and concatenated skips."""

    def __init__(self, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        widths = [16, 32, 64]
        inputs = [3, *widths]
        self.down = nn.ModuleList(
            [self.block(a, b, norm) for a, b in zip(inputs, widths, strict=False)]
        )
        self.bottom = self.block(64, 128, norm)
        self.up = nn.ModuleList([nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in widths])
        self.merge = nn.ModuleList([self.block(2 * w, w, norm) for w in widths])
        self.last = nn.Conv2d(16, 2, 1)

    @staticmethod
    def block(channels: int, filters: int, norm: Callable[[int], nn.Module]) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(channels, filters, 3, padding=1, bias=False),
            norm(filters),
            nn.ReLU(inplace=True),
            nn.Conv2d(filters, filters, 3, padding=1),
            norm(filters),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
            x = nn.functional.max_pool2d(x, 2)
        x = self.bottom(x)
        for up, merge, skip in reversed(list(zip(self.up, self.merge, skips, strict=True))):
            x = merge(torch.cat([skip, up(x)], 1))
        return self.last(x)


def classifier(name: str) -> Callable[[], nn.Module]:
    return partial(torchvision.models.get_model, name, weights=None, num_classes=10)


def googlenet() -> nn.Module:
    """Build it with its two auxiliary heads, which only training runs."""
    return torchvision.models.googlenet(num_classes=10, aux_logits=True, init_weights=False)


# How to build each network, and the side of the picture that it is tried on.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "ResNet-18": (classifier("resnet18"), 64),
    "ResNet-50": (classifier("resnet50"), 64),
    "MobileNetV3-Large": (classifier("mobilenet_v3_large"), 64),
    "DenseNet-121": (classifier("densenet121"), 64),
    "EfficientNet-B0": (classifier("efficientnet_b0"), 64),
    "ConvNeXt-Tiny": (classifier("convnext_tiny"), 64),
    "GoogLeNet": (googlenet, 96),
    "ShuffleNetV2 0.5×": (classifier("shufflenet_v2_x0_5"), 64),
    "SSDlite on MobileNetV3-Large": (ssdlite, 96),
    "SSD on ResNet-18": (ssd_resnet18, 96),
    "U-Net, batch norm": (partial(UNet, nn.BatchNorm2d), 32),
    "U-Net, group norm": (partial(UNet, partial(nn.GroupNorm, 8)), 32),
    "U-Net, instance norm": (partial(UNet, nn.InstanceNorm2d), 32),
}


def build(name: str) -> tuple[nn.Module, Tensor]:
    """Give a network and one picture; entries of norms, scales and biases are none alike."""
    torch.manual_seed(0)
    builder, size = NETWORKS[name]
    model = builder()
    for path, tensor in model.state_dict().items():
        if path.endswith(("bias", "running_mean")):
            nn.init.normal_(tensor, 0, 0.1)
        elif tensor.dim() == 1 or path.endswith("layer_scale"):
            nn.init.uniform_(tensor, 0.5, 1.5)
    return model, torch.randn(1, 3, size, size)
