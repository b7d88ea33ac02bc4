import pytest
import torch
from torch import nn

from secateur.models.folding import fold_batch_norm
from secateur.models.network import Architecture, build_network, raw_network
from secateur.models.ssd import ssd_architecture
from secateur.models.vgg import vgg_architecture

SSD = ssd_architecture(
    "ssd300", ("a", "b"), size=96, widths=0.06, batch_norm=True, detection_layers=3
)
VGG = vgg_architecture(("a", "b"), size=32, widths=0.06, hidden=(16,), pool=1)


def lively(architecture: Architecture) -> nn.Module:
    torch.manual_seed(1)
    model = build_network(architecture)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn_like(module.running_mean)
            module.running_var = torch.rand_like(module.running_var) + 0.5
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    return model.double().eval()


@pytest.mark.parametrize("architecture", [SSD, VGG])
def test_outputs_stay(architecture: Architecture) -> None:
    model = lively(architecture)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    folded, plain = fold_batch_norm(model, architecture)
    assert plain == architecture.model_copy(update={"batch_norm": False})
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert folded.state_dict().keys() == build_network(plain).state_dict().keys()
    x = torch.rand(2, 3, architecture.size, architecture.size).double()
    with torch.no_grad():
        ours, theirs = raw_network(folded.double())(x), raw_network(model)(x)
    for a, b in zip(
        *((r.values() if isinstance(r, dict) else [r]) for r in (ours, theirs)), strict=True
    ):
        # The folded weights are kept in single precision.
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(before[n], v) for n, v in model.state_dict().items())


def test_a_literal_convolution() -> None:
    """Norm: (y - 1) / sqrt(4) * 6 + 5, so weight 2 becomes 6 and bias 3 becomes 11."""
    model = build_network(VGG)
    conv, norm = model.features[0], model.features[1]
    with torch.no_grad():
        conv.weight.fill_(2)
        conv.bias.fill_(3)
        norm.running_mean.fill_(1)
        norm.running_var.fill_(4 - norm.eps)
        norm.weight.fill_(6)
        norm.bias.fill_(5)
    folded, _ = fold_batch_norm(model.eval(), VGG)
    torch.testing.assert_close(folded.features[0].weight, torch.full_like(conv.weight, 6))
    torch.testing.assert_close(folded.features[0].bias, torch.full_like(conv.bias, 11))


def test_nothing_to_fold() -> None:
    plain = VGG.model_copy(update={"batch_norm": False})
    model = build_network(plain)
    assert fold_batch_norm(model, plain) == (model, plain)
