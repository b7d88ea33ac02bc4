import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torchvision.models import vgg16, vgg16_bn

from secateur.models.network import layer_widths
from secateur.models.vgg import VGGArchitecture, build_vgg, layers, vgg_architecture

TEN = tuple("abcdefghij")
THOUSAND = tuple(map(str, range(1000)))
NARROW = {
    **dict.fromkeys(["conv1_1", "conv1_2"], 2),
    **dict.fromkeys(["conv2_1", "conv2_2"], 3),
    **dict.fromkeys(["conv3_1", "conv3_2", "conv3_3"], 4),
    **dict.fromkeys(["conv4_1", "conv4_2", "conv4_3"], 5),
    **{"conv5_1": 6, "conv5_2": 7, "conv5_3": 8},
}


def parameters(architecture: VGGArchitecture) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in build_vgg(architecture).parameters())


@pytest.mark.parametrize("batch_norm", [False, True])
def test_full_widths_are_torchvisions(batch_norm: bool) -> None:
    with torch.device("meta"):
        theirs = (vgg16_bn if batch_norm else vgg16)(num_classes=10).eval()
        ours = build_vgg(vgg_architecture(TEN, batch_norm=batch_norm)).eval()
    assert str(ours) == str(theirs)
    # One copy of small weights for both: they are 0.5 GB.
    state = {
        name: torch.randn(entry.shape) * 0.02 if entry.dim() != 1 else torch.ones(entry.shape)
        for name, entry in theirs.state_dict().items()
    }
    theirs.load_state_dict(state, assign=True)
    ours.load_state_dict(state, assign=True)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    pictures = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        outputs = ours(pictures)
        assert outputs.shape == (2, 10)
        assert outputs.std() > 0
        assert torch.equal(outputs, theirs(pictures))


def test_parameter_counts() -> None:
    assert parameters(vgg_architecture(THOUSAND, batch_norm=False)) == 138_357_544
    assert parameters(vgg_architecture(THOUSAND)) == 138_365_992
    # Convolutions 14,714,688, norms 2 · 4,224, fc6 512 · 512 + 512, classes 512 · 10 + 10
    assert parameters(vgg_architecture(TEN, size=32, hidden=(512,), pool=1)) == 14_990_922


def test_fresh_weights_are_spread_like_torchvisions() -> None:
    torch.manual_seed(0)
    vgg = build_vgg(vgg_architecture(TEN, size=32, widths=0.5, hidden=(512,), pool=1))
    convolution, hidden = vgg.features[7], vgg.classifier[0]
    # By the outputs: variance 2 / (64 filters · 3 · 3)
    assert convolution.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert hidden.weight.std().item() == pytest.approx(0.01, rel=0.02)
    for layer in (convolution, hidden, vgg.classifier[3]):
        assert not layer.bias.any()


@pytest.mark.parametrize(
    ("hidden", "classifier"),
    [
        ((), {}),
        ((9,), {"fc6": "classifier.0"}),
        ((9, 4), {"fc6": "classifier.0", "fc7": "classifier.3"}),
    ],
)
def test_layers_and_widths(hidden: tuple[int, ...], classifier: dict[str, str]) -> None:
    architecture = vgg_architecture(
        TEN, size=32, batch_norm=False, widths=NARROW, hidden=hidden, pool=2, dropout=0.25
    )
    vgg = build_vgg(architecture)
    positions = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    assert list(layers(vgg).items()) == [
        *zip(NARROW, [f"features.{i}" for i in positions], strict=True),
        *classifier.items(),
    ]
    assert (
        layer_widths(vgg)
        == architecture.widths
        == NARROW | dict(zip(classifier, hidden, strict=True))
    )
    assert vgg(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
    assert vgg.classifier[0].in_features == 8 * 2 * 2
    assert [layer.p for layer in vgg.modules() if isinstance(layer, nn.Dropout)] == [0.25] * len(
        hidden
    )


def test_share_of_the_widths() -> None:
    half = vgg_architecture(TEN, widths=0.5, hidden=(100, 3)).widths
    assert (half["conv1_1"], half["conv5_3"], half["fc6"], half["fc7"]) == (32, 256, 50, 2)
    assert set(vgg_architecture(TEN, widths=0.001).widths.values()) == {1, 4}


def test_some_widths_by_name() -> None:
    some = vgg_architecture(TEN, widths={"conv1_2": 7, "fc7": 5}).widths
    assert (some["conv1_1"], some["conv1_2"], some["fc6"], some["fc7"]) == (64, 7, 4096, 5)


def test_architecture_survives_json() -> None:
    architecture = vgg_architecture(TEN, size=40, hidden=(512,), pool=1)
    assert VGGArchitecture.model_validate_json(architecture.model_dump_json()) == architecture


def test_faulty_architecture() -> None:
    with pytest.raises(ValueError, match="no such layers: conv6, fc7"):
        vgg_architecture(TEN, widths={"fc7": 5, "conv6": 5, "conv1_1": 5}, hidden=(512,))
    with pytest.raises(ValueError, match="at most 2 items after validation, not 3"):
        vgg_architecture(TEN, hidden=(1, 2, 3))
    with pytest.raises(ValueError, match=r"size\n  Input should be greater than or equal to 32"):
        vgg_architecture(TEN, size=31)
    good = vgg_architecture(TEN).model_dump()
    with pytest.raises(ValueError, match=r"size 31 is too small for five poolings; .* 32 or more"):
        VGGArchitecture.model_validate(good | {"size": 31})
    for wrong in (NARROW | {"fc7": 5}, {"fc6": 5} | NARROW, {"conv1_1": 5}):
        with pytest.raises(
            ValidationError, match="widths must name exactly these layers, in order"
        ):
            VGGArchitecture.model_validate(good | {"widths": wrong})
    for name, value in (("classes", ()), ("pool", 0), ("dropout", 1.5), ("std", (1, 1, 0))):
        with pytest.raises(ValidationError, match=name):
            VGGArchitecture.model_validate(good | {name: value})
