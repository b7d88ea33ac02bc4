"""An exported file computes what its network computes, or is deleted."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from small_networks import liven, no_bar, write_classifier, write_detector

from secateur.config.evaluate import Evaluate
from secateur.data.unannotated import find_pictures
from secateur.errors import DataError, ExportError, ModelError
from secateur.export import export as exporting
from secateur.export.export import Export, export_network
from secateur.export.table import Tolerance
from secateur.export.target import Target, picture_shape
from secateur.export.verification import compare_detections
from secateur.inference.predictor import Predictor, load_file, open_predictor
from secateur.inference.torch_network import TorchNetwork
from secateur.models.network import build_network
from secateur.models.network_file import load_network, save_network
from secateur.models.ssd import SSDArchitecture
from secateur.models.vgg import vgg_architecture
from secateur.pruning.graph.trace import channel_groups
from secateur.pruning.removal import remove_filters
from secateur.runtimes.exported_file import ExportedFile
from secateur.runtimes.header import KEY, ExportHeader


@pytest.fixture(scope="module")
def resized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_detector(tmp_path_factory.mktemp("network") / "slim.safetensors")


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_detector(tmp_path_factory.mktemp("native") / "slim.safetensors", resize=False)


def exported(model: Path, out: Path, target: Target) -> Export:
    return export_network(TorchNetwork.load(str(model)), out, target, bar=no_bar)


def agrees(result: Export) -> bool:
    found = result.agreement
    return found is not None and found.objects > 1000 and found.matched == found.objects


def agrees_on_all(result: Export) -> bool:
    found = result.agreement
    return found is not None and found.matched == found.objects == 16


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

    # Several pictures per batch; for the native network, of another shape than in the trace.
    torch.manual_seed(2)
    side = (96, 96) if model == "resized" else (140, 110)
    pictures = torch.randint(0, 256, (3, 3, *side), dtype=torch.uint8)
    ours, theirs = open_predictor(source), open_predictor(out)
    tolerance = Tolerance(pixels=0.01, score=1e-4, share=1.0)
    found = compare_detections(
        ours.detect(pictures), theirs.detect(pictures), tolerance, least=0.01, most=200
    )
    assert found.objects > 300
    assert found.matched == found.objects
    header = theirs.header
    assert header.classes == ("dog", "cat", "[b]cow")
    assert (header.batch, header.size) == (None, 96)
    assert header.shape == ((96, 96) if model == "resized" else None)
    assert header.provenance == {"run": "test", "score": 0.01, "nms": 0.45, "boxes": 200}


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
    assert ExportHeader.parse({p.key: p.value for p in model.metadata_props}[KEY])


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_the_file_keeps_the_scores_and_nms_asked_for(
    resized: Path, tmp_path: Path, suffix: str
) -> None:
    source = TorchNetwork.load(str(resized))
    source.model.nms_thresh, source.model.detections_per_img = 0.15, 150
    torch.manual_seed(2)
    pictures = torch.randint(0, 256, (1, 3, 96, 96), dtype=torch.uint8)
    found = source.model.eval()([pictures[0] / 255])[0]
    score = round(float(found["scores"][20].detach()), 4)

    kind = "onnx" if suffix == ".onnx" else "openvino"
    result = export_network(
        source, tmp_path / f"slim{suffix}", Target(kind, score=score), bar=no_bar
    )
    assert result.agreement
    assert result.agreement.matched == result.agreement.objects > 100
    assert source.model.score_thresh != score, "the caller's model is not changed"
    predictor = open_predictor(tmp_path / f"slim{suffix}", settings=Evaluate(score=0.0))
    (detections,) = predictor.detect(pictures)
    assert len(detections.scores) in (20, 21)
    assert float(detections.scores.min()) >= score - 1e-4
    assert source.model.detections_per_img == 150


@pytest.mark.parametrize("target", [Target(raw=True), Target("openvino", raw=True)])
def test_raw_outputs(target: Target, resized: Path, tmp_path: Path) -> None:
    out = tmp_path / target.file_for("slim.safetensors").name
    assert out.stem == "slim.raw"
    assert agrees(exported(resized, out, target))
    loaded = load_file(out)
    assert isinstance(loaded, ExportedFile)
    outputs = loaded.run(np.zeros((1, 3, 96, 96), np.uint8))
    boxes = 12 * 12 * 4 + 6 * 6 * 6 + 3 * 3 * 6
    assert [output.shape for output in outputs] == [(1, boxes, 4), (1, boxes, 4), (boxes, 4)]


@pytest.mark.parametrize("kind", ["onnx", "openvino", "torch"])
def test_half_precision_takes_half_the_room(kind: str, resized: Path, tmp_path: Path) -> None:
    sizes = {}
    for precision in ("fp32", "fp16"):
        target = Target(kind, precision)
        out = tmp_path / target.file_for("slim.safetensors").name
        result = exported(resized, out, target)
        assert result.agreement
        assert result.agreement.matched >= 0.99 * result.agreement.objects > 900
        sizes[precision] = result.bytes
    # The graph does not shrink, and these networks are small.
    assert sizes["fp16"] < 0.8 * sizes["fp32"]


def test_a_torch_file_has_no_batch_norm(resized: Path, tmp_path: Path) -> None:
    out = tmp_path / "slim.plain.safetensors"
    exported(resized, out, Target("torch"))
    loaded = load_file(out)
    assert isinstance(loaded, TorchNetwork)
    assert isinstance(loaded.architecture, SSDArchitecture)
    assert not loaded.architecture.batch_norm
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in loaded.model.modules())


@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_a_slim_network(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = vgg_architecture(("a", "b", "c"), size=32, widths=0.1, hidden=(32,), pool=1)
    dense = liven(build_network(made))
    graph = channel_groups(dense, torch.rand(1, 3, 32, 32))
    kept = {
        name: g.channels_of(torch.arange(1, g.units, 2)) for name, g in graph.prunable().items()
    }
    slim = tmp_path / "slim.safetensors"
    save_network(slim, remove_filters(dense, graph, kept), made, {})
    out = tmp_path / Target(kind).file_for(str(slim)).name
    assert agrees_on_all(exported(slim, out, Target(kind)))
    if kind == "torch":
        (first, *_) = kept
        loaded = load_network(out)
        assert loaded.model.get_parameter(f"{first}.weight").shape[0] == len(kept[first])


def test_a_fixed_shape_takes_no_other(native: Path, tmp_path: Path) -> None:
    out = tmp_path / "slim.onnx"
    assert agrees(exported(native, out, Target(shape=picture_shape("80x120"))))
    predictor = open_predictor(out)
    for width, height in ((120, 80), (80, 120)):
        Image.new("RGB", (width, height)).save(tmp_path / f"{width}.png")
    assert predictor.detect_files(find_pictures([tmp_path / "120.png"]), 1)
    with pytest.raises(DataError, match="120 by 80 only"):
        predictor.detect_files(find_pictures([tmp_path / "80.png"]), 1)


def test_a_classifier(tmp_path: Path) -> None:
    model = write_classifier(tmp_path / "slim.safetensors")
    for target in (Target(), Target("openvino"), Target(raw=True), Target("torch")):
        out = tmp_path / target.file_for(str(model)).name
        result = exported(model, out, target)
        assert result.agreement
        assert result.agreement.matched == result.agreement.objects == 16
        pictures = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
        scores = open_predictor(out).classify(pictures)
        torch.testing.assert_close(scores, open_predictor(model).classify(pictures))


def test_a_failed_check_leaves_nothing(
    resized: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file whose boxes are off by 0.6 pixels is deleted."""
    real = exporting.open_predictor

    def shifted(path: Path, **settings: object) -> Predictor:
        predictor = real(path, **settings)  # type: ignore[arg-type]

        def run(pictures: torch.Tensor) -> object:
            found = predictor.detect(pictures)
            for each in found:
                each.boxes[:, 0] += 0.6
            return found

        return Predictor(predictor.path, predictor.header, run)

    monkeypatch.setattr(exporting, "open_predictor", shifted)
    with pytest.raises(
        ExportError, match=r"not written.*differ from the network's by more than 0.5 pixels"
    ):
        exported(resized, tmp_path / "slim.onnx", Target())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("target", "name", "words"),
    [
        (Target("torch", "int8"), "a.safetensors", "has no int8; use --format onnx or openvino"),
        (Target("torch", raw=True), "a.safetensors", "leave out --raw"),
        (Target(shape=(90, 90)), "a.onnx", "leave out --shape"),
        (Target("openvino"), "a.onnx", "ends in .xml"),
        (Target(precision="int8"), "a.onnx", "give them with --data"),
        (Target("tflite"), "a.tflite", "use one of onnx, openvino, torch"),
    ],
)
def test_options_that_contradict_each_other(
    target: Target, name: str, words: str, resized: Path, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=words):
        exported(resized, tmp_path / name, target)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["80", "x80", "80x", "80x-3", "axb"])
def test_a_malformed_shape(text: str) -> None:
    with pytest.raises(ExportError, match="such as 736x1280"):
        picture_shape(text)


def test_a_shape_that_is_too_small(native: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="enlarge --shape"):
        exported(native, tmp_path / "a.onnx", Target(shape=(5, 90)))


def test_pictures_of_any_size_are_resized_and_boxes_are_in_their_pixels(
    resized: Path, tmp_path: Path
) -> None:
    out = tmp_path / "slim.onnx"
    exported(resized, out, Target())
    torch.manual_seed(3)
    pixels = torch.randint(0, 256, (3, 50, 200), dtype=torch.uint8)
    ours = open_predictor(resized).detect_picture(pixels)
    theirs = open_predictor(out).detect_picture(pixels)
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


def test_a_missing_network(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such network file"):
        TorchNetwork.load(str(tmp_path / "none.safetensors"))
    with pytest.raises(ModelError, match="torchvision has no such weights"):
        TorchNetwork.load("torchvision:None_Weights.X")
