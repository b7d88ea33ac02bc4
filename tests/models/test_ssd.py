"""SSD at any widths, against torchvision's own and the published tables."""

import pytest
import torch
from torch import nn
from torchvision.models.detection import ssd300_vgg16
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList

from secateur.models.cost import count_macs, count_params
from secateur.models.network import layer_widths
from secateur.models.ssd import (
    FULL_WIDTHS,
    PixelDefaultBoxes,
    RawSSD,
    build_ssd,
    convolutions,
    grid_sizes,
    layer_names,
    ssd_architecture,
)

torch.set_num_threads(1)
VOC = tuple(f"class {i}" for i in range(20))

# Paper, Table 1.
SSD300_PRUNED = (64, 56, 107, 121, 193, 158, 195, 263, 181, 331, 98, 108, 78, 146, 106)
SSD300_PRUNED += (34, 198, 12, 36, 22, 41, 22, 66)
SSD512_PRUNED = (64, 61, 119, 122, 215, 160, 187, 252, 172, 313, 170, 134, 117, 305, 332)
SSD512_PRUNED += (122, 133, 89, 168, 81, 92, 40, 84, 40, 80)
PRUNED = {
    "ssd300": dict(zip(FULL_WIDTHS, SSD300_PRUNED, strict=False)),
    "ssd512": dict(zip(FULL_WIDTHS, SSD512_PRUNED, strict=True)),
}


def test_full_ssd300_is_torchvisions() -> None:
    torch.manual_seed(0)
    theirs = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=21).eval()
    ours = build_ssd(ssd_architecture("ssd300", VOC)).eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    picture = torch.rand(3, 200, 260)
    with torch.no_grad():
        (wanted,), (given,) = theirs([picture]), ours([picture])
    assert len(wanted["boxes"]) > 0
    assert all(torch.equal(wanted[key], given[key]) for key in ("boxes", "scores", "labels"))


@pytest.mark.parametrize(
    ("network", "k", "pruned", "params"),
    [
        ("ssd300", 6, False, 26_285_486),
        ("ssd300", 1, True, 2_695_539),
        ("ssd300", 2, True, 3_420_307),
        ("ssd300", 3, True, 3_752_181),
        ("ssd300", 4, True, 3_807_243),
        ("ssd300", 5, True, 3_853_216),
        ("ssd300", 6, True, 3_926_774),
        ("ssd512", 7, False, 27_188_676),
        ("ssd512", 4, True, 5_067_271),
        ("ssd512", 7, True, 5_508_994),
    ],
)
def test_published_parameter_totals(network: str, k: int, pruned: bool, params: int) -> None:
    architecture = ssd_architecture(
        network, VOC, detection_layers=k, widths=PRUNED[network] if pruned else 1.0
    )
    with torch.device("meta"):
        assert count_params(build_ssd(architecture)) == params


@pytest.mark.parametrize(
    ("network", "giga_macs", "kept"), [("ssd300", 31.4, 0.445), ("ssd512", 90.2, 0.490)]
)
def test_macs_at_the_published_widths(network: str, giga_macs: float, kept: float) -> None:
    size = int(network[3:])
    with torch.device("meta"):
        x = torch.zeros(1, 3, size, size)
        dense = count_macs(RawSSD(build_ssd(ssd_architecture(network, VOC))), x)
        slim = count_macs(
            RawSSD(build_ssd(ssd_architecture(network, VOC, widths=PRUNED[network]))), x
        )
    assert dense / 1e9 == pytest.approx(giga_macs, abs=0.05)
    assert slim / dense == pytest.approx(kept, abs=0.0005)


@pytest.mark.parametrize(
    ("network", "size", "k"),
    [
        *(("ssd300", size, 6) for size in (300, 301, 320, 331, 400)),
        *(("ssd300", size, 4) for size in (96, 100, 111, 150, 223)),
        *(("ssd512", size, 7) for size in (512, 500, 515, 640)),
        *(("ssd512", size, 5) for size in (160, 177, 255)),
    ],
)
def test_grid_sizes_are_those_of_the_maps(network: str, size: int, k: int) -> None:
    architecture = ssd_architecture(
        network, ("a",), size=size, detection_layers=k, widths=1 / 64, resize=False
    )
    with torch.device("meta"):
        maps = build_ssd(architecture).backbone(torch.zeros(1, 3, size, size))
    assert [tuple(m.shape[2:]) for m in maps.values()] == [
        (cells, cells) for cells in grid_sizes(network, size)[:k]
    ]


@pytest.mark.parametrize("batch_norm", [False, True])
def test_widths_are_read_back(batch_norm: bool) -> None:
    wanted = {name: 2 + i for i, name in enumerate(layer_names("ssd512", 7))}
    ssd = build_ssd(ssd_architecture("ssd512", ("a",), widths=wanted, batch_norm=batch_norm))
    assert layer_widths(ssd) == wanted
    norms = [layer for layer in ssd.backbone.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert [norm.num_features for norm in norms] == (list(wanted.values()) if batch_norm else [])
    assert len(convolutions(ssd)) == 25


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"detection_layers": 7}, "ssd300 has 6 detection layers, not 7"),
        ({"widths": {"conv9_9": 4}}, "no such layers: conv9_9; there are conv1_1, conv1_2, "),
        ({"widths": {"conv12_1": 4}}, "no such layers: conv12_1"),
        ({"aspect_ratios": ()}, "6 detection layers need 7 scales and 6 aspect_ratios"),
        ({"scales": (0.1, 0.2)}, "6 detection layers need 7 scales and 6 aspect_ratios"),
        ({"size": 64}, "size 64 is too small for 6 detection layers"),
        ({"widths": {"conv1_1": 0}}, "greater than or equal to 1"),
    ],
)
def test_what_does_not_fit_together(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ssd_architecture("ssd300", ("a",), **options)


def default_boxes(width: int, height: int, clip: bool) -> torch.Tensor:
    boxes = PixelDefaultBoxes(80, [[2], [2, 3]], [0.1, 0.3, 0.6], [8, 16], clip=clip)
    maps = [
        torch.zeros(1, 1, height // 8, width // 8),
        torch.zeros(1, 1, height // 16, width // 16),
    ]
    (found,) = boxes(ImageList(torch.zeros(1, 3, height, width), [(height, width)]), maps)
    return found


def test_boxes_of_a_square_picture_are_torchvisions() -> None:
    theirs = DefaultBoxGenerator([[2], [2, 3]], scales=[0.1, 0.3, 0.6], steps=[8, 16])
    maps = [torch.zeros(1, 1, 10, 10), torch.zeros(1, 1, 5, 5)]
    (wanted,) = theirs(ImageList(torch.zeros(1, 3, 80, 80), [(80, 80)]), maps)
    assert torch.equal(default_boxes(80, 80, clip=True), wanted)


def test_boxes_of_a_rectangular_picture_keep_their_pixels() -> None:
    square = default_boxes(80, 80, clip=False)
    wide = default_boxes(240, 160, clip=False)
    assert len(wide) == 6 * len(square)

    def sizes(boxes: torch.Tensor) -> torch.Tensor:
        return (boxes[:, 2:] - boxes[:, :2]).round(decimals=2).unique(dim=0)

    assert torch.equal(sizes(wide), sizes(square))
    # The first cell's first box: 0.1 · 80 pixels wide about the middle of an 8-pixel cell.
    torch.testing.assert_close(wide[0], torch.tensor([0.0, 0.0, 8.0, 8.0]), atol=1e-4, rtol=0)
    centres = (wide[:, 2:] + wide[:, :2]) / 2
    assert centres.amax(0).tolist() == pytest.approx([236.0, 156.0])
