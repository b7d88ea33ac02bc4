"""Small networks whose outputs differ clearly from box to box."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from torchvision.models.detection.ssd import SSD

from secateur.models.network import build_network
from secateur.models.network_file import save_network
from secateur.models.ssd import SSDArchitecture, ssd_architecture
from secateur.models.vgg import vgg_architecture


def architecture(*, resize: bool = True, size: int = 96) -> SSDArchitecture:
    return ssd_architecture(
        "ssd300",
        ("dog", "cat", "[b]cow"),
        size=size,
        resize=resize,
        widths=0.06,
        batch_norm=True,
        detection_layers=3,
    )


def liven(model: nn.Module) -> nn.Module:
    """Randomise the statistics of norms and the weights of a detector's heads."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn_like(module.running_mean) / 4
            module.running_var = torch.rand_like(module.running_var) + 0.5
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
    if isinstance(model, SSD):
        for module in model.head.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.05)
    return model.eval()


def write_detector(path: Path, *, resize: bool = True, size: int = 96) -> Path:
    torch.manual_seed(0)
    made = architecture(resize=resize, size=size)
    save_network(path, liven(build_network(made)), made, {"run": "test"})
    return path


def write_classifier(path: Path) -> Path:
    torch.manual_seed(0)
    made = vgg_architecture(("a", "b", "c"), size=32, widths=0.06, hidden=(32,), pool=1)
    save_network(path, liven(build_network(made)), made, {})
    return path


@contextmanager
def no_bar(_title: str, _total: int) -> Iterator[Callable[..., None]]:
    yield lambda *_: None
