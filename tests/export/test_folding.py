"""Batch norms are folded only where the layer before them is certain."""

import pytest
import torch
from torch import Tensor, nn

from secateur.export.folding import fold_batch_norm
from secateur.models.architecture import Architecture
from secateur.models.network import build_network, raw_network
from secateur.models.ssd import ssd_architecture
from secateur.models.vgg import vgg_architecture

SSD = ssd_architecture(
    "ssd300", ("a", "b"), size=96, widths=0.06, batch_norm=True, detection_layers=3
)
VGG = vgg_architecture(("a", "b"), size=32, widths=0.06, hidden=(16,), pool=1)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def randomised(model: nn.Module) -> nn.Module:
    """Give every norm statistics and weights that change its input."""
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, NORMS):
            module.running_mean = torch.randn_like(module.running_mean)
            module.running_var = torch.rand_like(module.running_var) + 0.5
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    return model.double().eval()


def norms(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, NORMS)]


@torch.no_grad()
def outputs(model: nn.Module, x: Tensor) -> list[Tensor]:
    found = model(x)
    return list(found.values()) if isinstance(found, dict) else [found]


@pytest.mark.parametrize("architecture", [SSD, VGG])
def test_networks_without_norms_have_the_same_outputs(architecture: Architecture) -> None:
    model = randomised(build_network(architecture))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    folded = fold_batch_norm(model)
    assert len(norms(model)) > 10
    assert not norms(folded)
    assert [name for name, _ in folded.named_modules()] == [n for n, _ in model.named_modules()]
    x = torch.rand(2, 3, architecture.size, architecture.size).double()
    for ours, theirs in zip(
        outputs(raw_network(folded), x), outputs(raw_network(model), x), strict=True
    ):
        torch.testing.assert_close(ours, theirs)
    assert all(torch.equal(before[n], v) for n, v in model.state_dict().items())


@pytest.mark.parametrize(
    ("layer", "norm"),
    [
        (nn.Conv1d(1, 1, 1), nn.BatchNorm1d(1)),
        (nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)),
        (nn.Linear(1, 1), nn.BatchNorm1d(1)),
    ],
)
def test_literal_weights(
    layer: nn.Conv1d | nn.Conv2d | nn.Linear, norm: nn.BatchNorm1d | nn.BatchNorm2d
) -> None:
    """Norm: (y - 1) / sqrt(4) * 6 + 5, so weight 2 becomes 6 and bias 3 becomes 11."""
    assert layer.bias is not None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    with torch.no_grad():
        layer.weight.fill_(2)
        layer.bias.fill_(3)
        norm.running_mean.fill_(1)
        norm.running_var.fill_(4 - norm.eps)
        norm.weight.fill_(6)
        norm.bias.fill_(5)
    block = nn.Sequential(layer, norm, nn.ReLU())
    folded = fold_batch_norm(block)
    assert isinstance(folded[1], nn.Identity)
    assert folded[0].weight.item() == pytest.approx(6)
    assert folded[0].bias.item() == pytest.approx(11)
    assert block.training
    assert layer.weight.item() == 2


class Residual(nn.Module):
    """A block whose modules are attributes: their order in ``forward`` is not visible."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv(self.norm(x)) + x
        return result


def shared_convolution() -> nn.Module:
    conv = nn.Conv2d(3, 3, 1)
    return nn.Sequential(conv, nn.BatchNorm2d(3), conv)


def hooked_convolution() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    model[0].register_forward_hook(lambda *_: _[2] * 2)
    return model


@pytest.mark.parametrize(
    "build",
    [
        Residual,
        shared_convolution,
        hooked_convolution,
        lambda: nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3)),
        lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)),
        lambda: nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)),
    ],
)
def test_other_norms_remain(build: type[nn.Module]) -> None:
    model = build().double().eval()
    folded = fold_batch_norm(model)
    assert norms(folded) == norms(model) != []
    x = torch.rand(2, 3, 4, 4).double()
    torch.testing.assert_close(outputs(folded, x), outputs(model, x))
