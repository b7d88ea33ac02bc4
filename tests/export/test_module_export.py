"""Networks of any class as ONNX and OpenVINO files."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import fcos_resnet50_fpn

import secateur
from secateur.errors import ExportError, ModelError, SecateurError
from secateur.inference.predictor import open_predictor

IMAGE = torch.rand(1, 3, 8, 8)


class Branches(nn.Module):
    """Several inputs, one of them no tensor; a dict with a tuple in it, and with nothing in it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())

    def forward(self, image: Tensor, mask: Tensor, *, scale: dict[str, Any]) -> dict[str, Any]:
        x = self.body(image)
        if scale["twice"]:
            x = 2 * x
        return {
            "relu": x * mask,  # a name that torch gives an inner value
            "pair": (x.mean((2, 3)) * scale["by"], x.argmax(1)),
            "image": image,
            "nothing": None,
        }


class Noisy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x)


def run_onnx(path: Path, *arrays: Tensor) -> list[Any]:
    session = onnxruntime.InferenceSession(path)
    names = [each.name for each in session.get_inputs()]
    found: list[Any] = session.run(None, dict(zip(names, [a.numpy() for a in arrays], strict=True)))
    return found


@pytest.mark.parametrize("name", ["net.onnx", "net.xml"])
def test_inputs_and_outputs_have_the_names_of_the_network(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Branches().train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    inputs = {"image": IMAGE, "mask": torch.rand(1, 1, 8, 8), "scale": {"by": 3.0, "twice": True}}
    made = secateur.export_model(net, inputs, tmp_path / name)
    assert made.inputs == {"image": [1, 3, 8, 8], "mask": [1, 1, 8, 8]}
    assert made.outputs == ["relu", "pair_0", "pair_1", "image_2"]
    assert made.checked_on == "the example and 3 random inputs"
    assert made.difference < 1e-5
    assert json.loads((tmp_path / f"{name}.json").read_text())["outputs"] == made.outputs
    assert net.training
    assert all(before[key].equal(value) for key, value in net.state_dict().items())
    with pytest.raises(ModelError, match="export_model wrote: it takes tensors, not pictures"):
        open_predictor(tmp_path / name)


def test_file_gives_what_the_network_gives(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten())
    with torch.no_grad():
        net[0].weight.fill_(2)
        net[0].bias.fill_(1)
    secateur.export_model(net, torch.zeros(1, 1, 1, 2), tmp_path / "net.onnx")
    (found,) = run_onnx(tmp_path / "net.onnx", torch.tensor([[[[3.0, -1.0]]]]))
    assert found.tolist() == [[7.0, -1.0]]


def test_any_number_of_samples(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    made = secateur.export_model(net, IMAGE, tmp_path / "net.onnx", dynamic_batch=True)
    assert made.inputs == {"input": [None, 3, 8, 8]}
    x = torch.rand(5, 3, 8, 8)
    (found,) = run_onnx(tmp_path / "net.onnx", x)
    with torch.no_grad():
        np.testing.assert_allclose(found, net(x).numpy(), atol=1e-5)


def test_network_in_half_precision_is_written_in_single(tmp_path: Path) -> None:
    net = nn.Conv2d(3, 4, 3).half()
    secateur.export_model(net, IMAGE.half(), tmp_path / "net.onnx")
    (found,) = run_onnx(tmp_path / "net.onnx", IMAGE)
    assert found.dtype == np.float32
    assert net.weight.dtype == torch.float16


def test_file_that_differs_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"net.onnx: not written: its output output differs"):
        secateur.export_model(Noisy(), IMAGE, tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if x.sum() > 0 else x


class Closed(nn.Module):
    def forward(self, x: Tensor) -> Any:
        return IMAGE.numpy() if x is None else object()


@pytest.mark.parametrize(
    ("net", "inputs", "file", "message"),
    [
        (nn.Conv2d(3, 4, 3), IMAGE, "net.safetensors", "use secateur.save"),
        (nn.Conv2d(3, 4, 3), IMAGE, "net.pb", "ends in .onnx or .xml; rename it"),
        (nn.Conv2d(3, 4, 3), IMAGE[:, :2], "net.onnx", "does not run on the example inputs"),
        (Branching(), IMAGE, "net.onnx", "cannot write this network as ONNX: .*data-dependent"),
        (Closed(), IMAGE, "net.onnx", "gives a object; return tensors"),
    ],
)
def test_what_cannot_be_written_is_said_in_a_line(
    net: nn.Module,
    inputs: Tensor,
    file: str,
    message: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SecateurError, match=message) as caught:
        secateur.export_model(net, inputs, tmp_path / file)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
    assert not "".join(capfd.readouterr())


def test_whole_detector_is_refused(tmp_path: Path) -> None:
    net = fcos_resnet50_fpn(weights=None, weights_backbone=None)
    with pytest.raises(ExportError, match="depends on the picture"):
        secateur.export_model(net, ([IMAGE[0]],), tmp_path / "net.onnx")


def test_example_of_the_docs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[2] / "docs" / "shipping.md").read_text("utf-8")
    (code,) = re.findall(r"<!-- export of any network -->\n```python\n(.*?)```", text, re.S)
    monkeypatch.chdir(tmp_path)
    exec(code, {})  # noqa: S102 # our own page
    assert (tmp_path / "resnet18.onnx").is_file()
