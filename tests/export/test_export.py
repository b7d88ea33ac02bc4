"""Exports do what their networks do, or are not handed over."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from networks import no_bar, write_classifier, write_detector
from PIL import Image

from secateur.config.evaluate import Evaluate
from secateur.data.unannotated import find_pictures
from secateur.errors import DataError, ExportError, ModelError
from secateur.export import export as exporting
from secateur.export.agreement import Tolerance, compare_detections
from secateur.export.export import Export, export
from secateur.export.source import load_source
from secateur.export.target import Target, picture_shape
from secateur.inference.predictor import (
    OpenNetwork,
    find_all,
    find_in_picture,
    load_any,
    open_network,
)
from secateur.runtimes.description import KEY, Description
from secateur.runtimes.session import Session


@pytest.fixture(scope="module")
def resized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_detector(tmp_path_factory.mktemp("network") / "slim.safetensors")


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_detector(tmp_path_factory.mktemp("native") / "slim.safetensors", resize=False)


def exported(model: Path, out: Path, target: Target) -> Export:
    return export(load_source(str(model)), out, target, bar=no_bar)


def agrees(result: Export) -> bool:
    found = result.agreement
    return found is not None and found.objects > 1000 and found.matched == found.objects


@pytest.mark.parametrize("model", ["resized", "native"])
@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_the_file_finds_what_the_network_finds(
    model: str, suffix: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source: Path = request.getfixturevalue(model)
    out = tmp_path / f"slim{suffix}"
    target = Target("onnx" if suffix == ".onnx" else "openvino", dynamic_batch=True)
    assert agrees(exported(source, out, target))
    beside = {f"slim{suffix}", f"slim{suffix}.json"} | ({"slim.bin"} if suffix == ".xml" else set())
    assert {file.name for file in tmp_path.iterdir()} == beside

    # Several pictures at once, and for the native network of another shape than it was traced at.
    torch.manual_seed(2)
    side = (96, 96) if model == "resized" else (140, 110)
    pictures = torch.randint(0, 256, (3, 3, *side), dtype=torch.uint8)
    ours, theirs = open_network(source), open_network(out)
    assert ours.find
    assert theirs.find
    tolerance = Tolerance(pixels=0.01, score=1e-4, share=1.0)
    found = compare_detections(
        ours.find(pictures), theirs.find(pictures), tolerance, least=0.01, most=200
    )
    assert found.objects > 300
    assert found.matched == found.objects
    description = theirs.description
    assert description.classes == ("dog", "cat", "[b]cow")
    assert (description.batch, description.size) == (None, 96)
    assert description.shape == ((96, 96) if model == "resized" else None)
    assert description.provenance == {"run": "test", "score": 0.01, "nms": 0.45, "boxes": 200}


def test_standard_operators_and_nothing_of_this_machine(resized: Path, tmp_path: Path) -> None:
    out = tmp_path / "slim.onnx"
    exported(resized, out, Target())
    model = onnx.load(out)
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""}
    assert not model.functions
    assert [output.name for output in model.graph.output] == ["boxes", "labels", "scores"]
    shapes = [
        [d.dim_value for d in output.type.tensor_type.shape.dim] for output in model.graph.output
    ]
    assert shapes == [[1, 200, 4], [1, 200], [1, 200]]
    content = out.read_bytes()
    assert b"secateur/" not in content
    assert str(Path(__file__).parents[2]).encode() not in content
    assert Description.parse({p.key: p.value for p in model.metadata_props}[KEY])


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_the_file_keeps_the_scores_and_nms_asked_for(
    resized: Path, tmp_path: Path, suffix: str
) -> None:
    source = load_source(str(resized))
    source.model.nms_thresh, source.model.detections_per_img = 0.15, 150
    torch.manual_seed(2)
    pictures = torch.randint(0, 256, (1, 3, 96, 96), dtype=torch.uint8)
    found = source.model.eval()([pictures[0] / 255])[0]
    score = round(float(found["scores"][20].detach()), 4)

    kind = "onnx" if suffix == ".onnx" else "openvino"
    result = export(source, tmp_path / f"slim{suffix}", Target(kind, score=score), bar=no_bar)
    assert result.agreement
    assert result.agreement.matched == result.agreement.objects > 100
    assert source.model.score_thresh != score, "it is the caller's"
    network = open_network(tmp_path / f"slim{suffix}", settings=Evaluate(score=0.0))
    assert network.find
    (answer,) = network.find(pictures)
    assert len(answer.scores) in (20, 21)
    assert float(answer.scores.min()) >= score - 1e-4
    assert source.model.detections_per_img == 150


@pytest.mark.parametrize("target", [Target(raw=True), Target("openvino", raw=True)])
def test_raw_outputs(target: Target, resized: Path, tmp_path: Path) -> None:
    out = tmp_path / target.file_for("slim.safetensors").name
    assert out.stem == "slim.raw"
    assert agrees(exported(resized, out, target))
    session = load_any(out)
    assert isinstance(session, Session)
    outputs = session.run(np.zeros((1, 3, 96, 96), np.uint8))
    boxes = 12 * 12 * 4 + 6 * 6 * 6 + 3 * 3 * 6
    assert [output.shape for output in outputs] == [(1, boxes, 4), (1, boxes, 4), (boxes, 4)]


@pytest.mark.parametrize("kind", ["onnx", "openvino", "torch"])
def test_half_precision_takes_half_the_room(kind: str, resized: Path, tmp_path: Path) -> None:
    sizes = {}
    for precision in ("fp32", "fp16"):
        target = Target(kind, precision)  # type: ignore[arg-type]
        out = tmp_path / target.file_for("slim.safetensors").name
        result = exported(resized, out, target)
        assert result.agreement
        assert result.agreement.matched >= 0.99 * result.agreement.objects > 900
        sizes[precision] = result.bytes
    # The graph itself does not shrink, and these networks are small.
    assert sizes["fp16"] < 0.8 * sizes["fp32"]


def test_a_torch_file_has_no_batch_norm(resized: Path, tmp_path: Path) -> None:
    out = tmp_path / "slim.plain.safetensors"
    exported(resized, out, Target("torch"))
    loaded = load_any(out)
    assert not isinstance(loaded, Session)
    assert not loaded.architecture.batch_norm
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in loaded.model.modules())


def test_a_fixed_shape_takes_no_other(native: Path, tmp_path: Path) -> None:
    out = tmp_path / "slim.onnx"
    assert agrees(exported(native, out, Target(shape=picture_shape("80x120"))))
    network = open_network(out)
    for width, height in ((120, 80), (80, 120)):
        Image.new("RGB", (width, height)).save(tmp_path / f"{width}.png")
    assert find_all(network, find_pictures([tmp_path / "120.png"]), 1)
    with pytest.raises(DataError, match="120 by 80 only"):
        find_all(network, find_pictures([tmp_path / "80.png"]), 1)


def test_a_classifier(tmp_path: Path) -> None:
    model = write_classifier(tmp_path / "slim.safetensors")
    for target in (Target(), Target("openvino"), Target(raw=True), Target("torch")):
        out = tmp_path / target.file_for(str(model)).name
        result = exported(model, out, target)
        assert result.agreement
        assert result.agreement.matched == result.agreement.objects == 16
        assert open_network(out).scores


def test_a_failed_check_leaves_nothing(
    resized: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file whose boxes lie a pixel off is not handed over."""
    real = exporting.open_network

    def shifted(path: Path, **settings: object) -> OpenNetwork:
        network = real(path, **settings)  # type: ignore[arg-type]
        find = network.find
        assert find

        def off(pictures: torch.Tensor) -> list[object]:
            found = find(pictures)
            for each in found:
                each.boxes[:, 0] += 0.6
            return list(found)

        return OpenNetwork(network.path, network.description, find=off)  # type: ignore[arg-type]

    monkeypatch.setattr(exporting, "open_network", shifted)
    with pytest.raises(ExportError, match=r"not written.*predictions lie further than 0.5 pixels"):
        exported(resized, tmp_path / "slim.onnx", Target())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("target", "name", "words"),
    [
        (Target("torch", "int8"), "a.safetensors", "no 8 bits"),
        (Target("torch", raw=True), "a.safetensors", "leave out --raw"),
        (Target(shape=(90, 90)), "a.onnx", "leave out --shape"),
        (Target("openvino"), "a.onnx", "ends in .xml"),
        (Target(precision="int8"), "a.onnx", "name them by --data"),
    ],
)
def test_what_does_not_go_together(
    target: Target, name: str, words: str, resized: Path, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=words):
        exported(resized, tmp_path / name, target)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["80", "x80", "80x", "80x-3", "axb"])
def test_a_shape_that_is_none(text: str) -> None:
    with pytest.raises(ExportError, match="such as 736x1280"):
        picture_shape(text)


def test_too_small_a_shape(native: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="enlarge --shape"):
        exported(native, tmp_path / "a.onnx", Target(shape=(5, 90)))


def test_pictures_of_any_size_are_squeezed_and_boxes_are_in_their_pixels(
    resized: Path, tmp_path: Path
) -> None:
    out = tmp_path / "slim.onnx"
    exported(resized, out, Target())
    torch.manual_seed(3)
    pixels = torch.randint(0, 256, (3, 50, 200), dtype=torch.uint8)
    ours = find_in_picture(open_network(resized), pixels)
    theirs = find_in_picture(open_network(out), pixels)
    torch.testing.assert_close(ours.scores, theirs.scores, rtol=0, atol=1e-4)
    for found in (ours, theirs):
        assert 50 < found.boxes[:, 2].max() <= 200
        assert found.boxes[:, 3].max() <= 50


def test_the_report_beside_the_file(resized: Path, tmp_path: Path) -> None:
    out = tmp_path / "slim.onnx"
    result = exported(resized, out, Target())
    written = json.loads((tmp_path / "slim.onnx.json").read_text("utf-8"))
    assert written["file"] == "slim.onnx"
    assert written["bytes"] == result.bytes == out.stat().st_size
    assert written["checked_on"] == "16 drawn pictures"
    assert written["agreement"]["matched"] == written["agreement"]["objects"]


def test_a_network_that_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such network file"):
        load_source(str(tmp_path / "none.safetensors"))
    with pytest.raises(ModelError, match="torchvision has no such weights"):
        load_source("torchvision:None_Weights.X")
