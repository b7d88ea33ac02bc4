"""Whole detectors of torchvision are pruned by their raw networks."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD, SSDHead
from zoo import ResNetFeatures

import secateur
from secateur.models.raw_parts import raw_parts

torch.set_num_threads(1)


def ssd() -> nn.Module:
    boxes = DefaultBoxGenerator([[2]] * 5)
    head = SSDHead([128, 256, 512, 256, 256], boxes.num_anchors_per_location(), 4)
    return SSD(ResNetFeatures(), boxes, (96, 96), 4, head=head, score_thresh=0.0)


def of_torchvision(name: str) -> Callable[[], nn.Module]:
    build: Callable[..., nn.Module] = getattr(detection, name)
    return lambda: build(weights=None, weights_backbone=None, num_classes=4, min_size=64)


DETECTORS: dict[str, Callable[[], nn.Module]] = {
    "SSD": ssd,
    "SSDlite": lambda: detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=4
    ),
    "RetinaNet": of_torchvision("retinanet_resnet50_fpn"),
    "FCOS": of_torchvision("fcos_resnet50_fpn"),
    "Faster R-CNN": of_torchvision("fasterrcnn_mobilenet_v3_large_320_fpn"),
    "Keypoint R-CNN": of_torchvision("keypointrcnn_resnet50_fpn"),
    "Mask R-CNN": of_torchvision("maskrcnn_resnet50_fpn"),
}


def pictures() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(3, 64, 80, generator=generator), torch.rand(3, 80, 64, generator=generator)]


def built(name: str) -> nn.Module:
    torch.manual_seed(0)
    return DETECTORS[name]().eval()


def outputs(model: nn.Module, images: list[Tensor]) -> list[Tensor]:
    with torch.no_grad():
        return [x for x in tree_leaves(model(images)) if isinstance(x, Tensor)]


@pytest.mark.parametrize("name", DETECTORS)
def test_half_of_a_whole_detector_goes(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model, images = built(name), pictures()
    graph = secateur.channel_groups(model, (images,))
    assert set(graph.shapes) == set(model.state_dict())
    # What the heads and the pictures determine is fixed, and nothing else.
    reasons = {group.fixed for group in graph.groups.values()} - {None}
    assert reasons == {"the network's output", "the network's input x"}

    kept = {
        group.name: group.channels_of(torch.arange(max(group.least, (group.units + 1) // 2)))
        for group in graph.prunable().values()
    }
    slim = secateur.remove_filters(model, graph, kept)
    assert secateur.verify_removal(model, slim, graph, kept, (images,)) < 1e-9
    assert outputs(slim, images)

    secateur.save(tmp_path / "slim.safetensors", slim)
    back = secateur.shrink_to(DETECTORS[name](), tmp_path / "slim.safetensors").eval()
    for a, b in zip(outputs(slim, images), outputs(back, images), strict=True):
        assert torch.equal(a, b)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "head"),
    [("SSD", "head"), ("RetinaNet", "head"), ("FCOS", "head"), ("Faster R-CNN", "rpn.head")],
)
@pytest.mark.parametrize("form", ["tuple", "mapping", "tensor"])
def test_the_raw_network_computes_what_the_heads_do_in_the_detector(
    name: str, head: str, form: str
) -> None:
    model = built(name)
    batch = torch.stack([pictures()[0]] * 2)
    inputs: Any = {"tuple": (list(batch),), "mapping": {"images": list(batch)}, "tensor": batch}
    seen: list[Any] = []
    hook = model.get_submodule(head).register_forward_hook(
        lambda _module, _inputs, output: seen.append(output)
    )
    outputs(model, list(batch))
    hook.remove()
    with torch.no_grad():
        raw, x = raw_parts(model, inputs[form])
        assert isinstance(x, Tensor)
        given = tree_leaves(raw(x))
    wanted = tree_leaves(seen)
    assert len(wanted) > 1
    assert all(torch.equal(a, b) for a, b in zip(wanted, given, strict=False))


def test_any_other_network_is_its_own_raw_network() -> None:
    model, x = nn.Conv2d(3, 4, 1), torch.rand(1, 3, 8, 8)
    assert raw_parts(model, x) == (model, x)


def test_a_whole_detector_is_compressed() -> None:
    images = pictures()
    box = torch.tensor([[8.0, 8.0, 40.0, 40.0]])
    targets = [{"boxes": box, "labels": torch.tensor([k])} for k in (1, 2)]

    def loss(model: nn.Module) -> Tensor:
        losses: Mapping[str, Tensor] = model(images, targets)
        return torch.stack(list(losses.values())).sum()

    def train(model: nn.Module, penalty: secateur.Penalties) -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        penalty.attach(optimizer)
        model.train()
        optimizer.zero_grad()
        loss(model).backward()
        optimizer.step()

    def evaluate(model: nn.Module) -> float:
        model.train()
        return -float(loss(model))

    goal = secateur.Goal(keep_macs=0.5)
    result = secateur.compress(built("SSD"), (images,), goal, train=train, evaluate=evaluate)
    assert result.slim.macs <= 0.5 * result.dense.macs
    assert isinstance(result.model, SSD)
    assert outputs(result.model.eval(), images)


def test_a_whole_detector_is_compressed_without_training() -> None:
    model, images = built("SSD"), pictures()
    calibration = secateur.Calibration([images], inputs=lambda batch: (batch,))
    goal = secateur.Goal(keep_macs=0.6)
    result = secateur.compress(
        model, (images,), goal, train=None, evaluate=lambda _: 1.0, calibration=calibration
    )
    assert result.slim.macs <= 0.6 * result.dense.macs
    assert outputs(result.model, images)
