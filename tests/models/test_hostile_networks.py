"""Network, weight, answer and state files that are not what they say; nothing large is made."""

import io
import json
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from commands import Outcome, one_error
from secateur.config.data import ClassificationData, DetectionData
from secateur.config.evaluate import Evaluate
from secateur.data.classification_set import ClassificationSet
from secateur.data.detection_set import AnnotatedPicture, DetectionSet
from secateur.errors import ModelError, RunError
from secateur.models.module_file import save, shrink_to
from secateur.models.network_file import load_network, load_weights, read_state, save_network
from secateur.models.ssd import build_ssd, ssd_architecture
from secateur.models.vgg import build_vgg, vgg_architecture
from secateur.run.folder import read_record
from secateur.run.predictions_file import PREDICTIONS_FILE, load_predictions, save_predictions
from secateur.runtimes.description import Description
from secateur.tasks.classification.classifier import Classifier
from secateur.tasks.detection.average_precision import Detections
from secateur.tasks.detection.detector import Detector
from secateur.training.checkpoint import TrainingState

torch.set_num_threads(1)
SMALL = ssd_architecture("ssd300", ("stop", "yield"), size=96, detection_layers=1, widths=1 / 64)
VGG = vgg_architecture(("a", "b"), size=32, widths=0.001, hidden=(), pool=1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "network.safetensors"
    save_network(path, build_ssd(SMALL), SMALL, {})
    return path


def raw_file(path: Path, header: bytes, length: int | None = None, payload: bytes = b"") -> None:
    """A safetensors file of any header, which may lie about its length."""
    size = len(header) if length is None else length
    path.write_bytes(struct.pack("<Q", size) + header + payload)


def tensor(shape: list[int], end: int, kind: str = "F32") -> bytes:
    return json.dumps({"x": {"dtype": kind, "shape": shape, "data_offsets": [0, end]}}).encode()


@pytest.mark.parametrize(
    ("header", "length"),
    [
        (b"{}", 2**63),
        (b"{}", 2**40),
        (b"{}", 99_999_999),
        (tensor([2**31, 2**31], 4), None),
        (tensor([2**62, 4], 0), None),
        (tensor([-1], 4), None),
        (tensor([1], 2**50), None),
        (tensor([0, 2**62], 0), None),
        (tensor([1], 4, "F99"), None),
        (b"[" * 100_000, None),
        (b'{"x":' * 20_000, None),
        (b"\xff" * 50, None),
        (b'{"__metadata__": {"secateur": 5}}', None),
    ],
)
def test_crafted_headers(tmp_path: Path, header: bytes, length: int | None) -> None:
    path = tmp_path / "x.safetensors"
    raw_file(path, header, length)
    tracemalloc.start()
    with pytest.raises(ModelError, match=r"x\.safetensors: ") as error:
        load_network(path)
    with pytest.raises(ModelError, match=r"x\.safetensors: "):
        shrink_to(nn.Linear(1, 1), path)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()
    assert "\n" not in str(error.value)


def rewrite(path: Path, text: str) -> None:
    save_file(load_file(path), path, {"secateur": text})


WRONG: list[dict[str, Any]] = [
    {"size": 10**9},
    {"size": 4097},
    {"widths": dict.fromkeys(SMALL.widths, 2**17)},
    {"widths": dict.fromkeys(SMALL.widths, 10**30)},
    {"aspect_ratios": [[0]]},
    {"aspect_ratios": [[-2]]},
    {"aspect_ratios": [[2] * 1000]},
    {"scales": [0, 0.2]},
    {"scales": [float("inf"), 0.2]},
    {"std": [0, 1, 1]},
    {"mean": [float("nan"), 0, 0]},
    {"detection_layers": 10**9},
    {"classes": ["\ud800", "b"]},
]


@pytest.mark.parametrize("change", WRONG)
def test_architectures_that_cannot_be(file: Path, change: dict[str, Any]) -> None:
    content = {"architecture": SMALL.model_dump(mode="json") | change, "provenance": {}}
    rewrite(file, json.dumps(content))
    with pytest.raises(ModelError, match="without secateur's header"):
        load_network(file)


@pytest.mark.parametrize("change", [{"size": 5000}, {"pool": 10**6}, {"dropout": float("nan")}])
def test_classifiers_that_cannot_be(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "vgg.safetensors"
    save_network(path, build_vgg(VGG), VGG, {})
    content = {"architecture": VGG.model_dump(mode="json") | change, "provenance": {}}
    rewrite(path, json.dumps(content))
    with pytest.raises(ModelError, match="without secateur's header"):
        load_network(path)


def test_wide_architecture_of_a_narrow_file(file: Path) -> None:
    """Found before memory is taken: these weights would fill 100 GB."""
    wide = SMALL.model_dump(mode="json") | {"widths": dict.fromkeys(SMALL.widths, 2**16)}
    rewrite(file, json.dumps({"architecture": wide, "provenance": {}}))
    with pytest.raises(ModelError, match="but the header says"):
        load_network(file)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"architecture":' * 10_000, '{"architecture": null, "provenance": NaN}'],
)
def test_deep_headers(file: Path, text: str) -> None:
    rewrite(file, text)
    with pytest.raises(ModelError, match="without secateur's header"):
        load_network(file)
    assert Description.parse(text) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.fill_(float("nan")), "holds what is no number"),
        (lambda t: t.fill_(float("inf")), "holds what is no number"),
        (lambda t: t.to(torch.complex64), "holds C64, no weights"),
        (lambda t: t > 0, "holds BOOL, no weights"),
        (lambda t: t.to(torch.float8_e4m3fn), "holds F8_E4M3, no weights"),
    ],
)
def test_weights_that_are_none(
    file: Path, change: Callable[[torch.Tensor], torch.Tensor], message: str
) -> None:
    content = {"architecture": SMALL.model_dump(mode="json"), "provenance": {}}
    weights = load_file(file)
    name = next(iter(weights))
    save_file({**weights, name: change(weights[name])}, file, {"secateur": json.dumps(content)})
    with pytest.raises(ModelError, match=message):
        load_network(file)


def test_the_command_line_says_so_in_one_line(
    tmp_path: Path, secateur: Callable[..., Outcome]
) -> None:
    path = tmp_path / "x.safetensors"
    raw_file(path, tensor([2**31, 2**31], 4))
    for command in (
        ["inspect", path],
        ["detect", path, path, "--out", tmp_path / "out"],
        ["export", path],
    ):
        one_error(secateur(*command), path)


# ---- torch files --------------------------------------------------------------------------------


def test_torch_files_that_unpack_to_many_times_their_size(tmp_path: Path) -> None:
    path, packed = tmp_path / "w.pth", tmp_path / "packed.pth"
    torch.save({"0.weight": torch.zeros(2_000_000)}, path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert packed.stat().st_size < 100_000
    assert len(read_state(str(path))) == 1
    with pytest.raises(ModelError, match=r"packed\.pth: not a safetensors file or a plain torch"):
        read_state(str(packed))


def test_torch_files_of_odd_tensors(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    path = tmp_path / "w.pth"
    torch.save({5: torch.zeros(2)}, path)
    with pytest.raises(ModelError, match=r"w\.pth: holds no state dict"):
        load_weights(model, str(path), batch_norm=False)
    torch.save({"weight": torch.empty(2, 2, device="meta")}, path)
    with pytest.raises(ModelError, match=r"w\.pth: holds tensors that cannot be copied"):
        load_weights(model, str(path), batch_norm=False)


def test_downloaded_weights_are_not_unpickled_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def download(_url: str, **options: Any) -> dict[str, torch.Tensor]:
        asked.update(options)
        return {}

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    read_state("torchvision:SSD300_VGG16_Weights.COCO_V1")
    assert asked == {"check_hash": True, "weights_only": True}


# ---- runs ---------------------------------------------------------------------------------------


def pictures(count: int) -> DetectionSet:
    none = torch.empty(0)
    each = AnnotatedPicture(Path("a.jpg"), 9, 9, none.reshape(0, 4), none.long(), none.bool())
    return DetectionSet(("a", "b"), (each,) * count)


DETECTOR = Detector(DetectionData(format="voc", root=Path()), Evaluate())
FOUND = [
    Detections(torch.tensor([[0.0, 0, 4, 4]] * n), torch.tensor([1] * n), torch.full((n,), 0.5))
    for n in (2, 1)
]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("picture", torch.tensor([0, 0, 2**31 - 1], dtype=torch.int32)),
        ("picture", torch.tensor([0, 0, -1], dtype=torch.int32)),
        ("picture", torch.tensor([1, 0, 1], dtype=torch.int32)),
        ("picture", torch.tensor([0.0, 0, 1])),
        ("picture", torch.tensor(0, dtype=torch.int32)),
        ("labels", torch.tensor([1, 2, 3])),
        ("labels", torch.tensor([0, 1, 1])),
        ("labels", torch.tensor([1, 1])),
        ("boxes", torch.zeros(3, 5)),
        ("boxes", torch.full((3, 4), float("nan"))),
        ("scores", torch.zeros(3, 1)),
        ("scores", torch.full((3,), float("inf"))),
        ("scores", torch.zeros(3, dtype=torch.complex64)),
        ("scores", None),
    ],
)
def test_altered_answers(tmp_path: Path, name: str, value: torch.Tensor | None) -> None:
    save_predictions(tmp_path, DETECTOR, FOUND)
    dataset = pictures(2)
    assert len(load_predictions(tmp_path, DETECTOR, dataset)) == 2
    changed = {**load_file(tmp_path / PREDICTIONS_FILE), name: value}
    save_file({n: t for n, t in changed.items() if t is not None}, tmp_path / PREDICTIONS_FILE)
    with pytest.raises(RunError, match=r"predictions\.safetensors: cannot be read; remove"):
        load_predictions(tmp_path, DETECTOR, dataset)


@pytest.mark.parametrize(
    "value",
    [torch.zeros(2, 3), torch.zeros(3), torch.zeros(3, 2).long(), torch.full((3, 2), 1e999)],
)
def test_altered_probabilities(tmp_path: Path, value: torch.Tensor) -> None:
    task = Classifier(ClassificationData(format="folders", root=Path()), Evaluate(metric="top1"))
    dataset = ClassificationSet(
        ("a", "b"),
        torch.zeros(3, 3, 1, 1, dtype=torch.uint8),
        torch.zeros(3).long(),
        ("x", "y", "z"),
    )
    save_predictions(tmp_path, task, torch.full((3, 2), 0.5))
    assert len(load_predictions(tmp_path, task, dataset)) == 3
    save_file({"probabilities": value}, tmp_path / PREDICTIONS_FILE)
    with pytest.raises(RunError, match=r"predictions\.safetensors: cannot be read; remove"):
        load_predictions(tmp_path, task, dataset)


def training(optimizer: str) -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.Linear(2, 1)
    kinds: dict[str, torch.optim.Optimizer] = {
        "sgd": torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        "adamw": torch.optim.AdamW(model.parameters(), lr=0.1),
    }
    model(torch.ones(1, 2)).sum().backward()
    kinds[optimizer].step()
    return model, kinds[optimizer]


STATES: list[tuple[str, torch.Tensor | None]] = [
    ("trace", torch.zeros(9, dtype=torch.float64)),
    ("trace", torch.zeros(1, 1, dtype=torch.float64)),
    ("trace", torch.tensor(0.5, dtype=torch.float64)),
    ("trace", torch.zeros(1)),
    ("chance", torch.zeros(5, dtype=torch.uint8)),
    ("chance", torch.zeros(5)),
    ("chance", None),
    ("model.weight", torch.zeros(3, 3)),
    ("model.weight", None),
    ("model.other", torch.zeros(1)),
    ("optimizer.7.momentum_buffer", torch.zeros(1)),
    ("optimizer.-1.momentum_buffer", torch.zeros(1)),
    ("optimizer.x.momentum_buffer", torch.zeros(1)),
    ("optimizer.0.momentum_buffer", torch.zeros(5)),
    ("optimizer.0.exp_avg", torch.zeros(1, 2)),
]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize(("name", "value"), STATES)
def test_altered_states(
    tmp_path: Path, optimizer: str, name: str, value: torch.Tensor | None
) -> None:
    path = tmp_path / "training.safetensors"
    TrainingState(path, interval=0.0).write_when_due(*training(optimizer), [0.5])
    state = TrainingState(path)
    assert (state.steps_done(5), state.restore(*training(optimizer))) == (1, [0.5])
    changed = {**load_file(path), name: value}
    save_file({n: t for n, t in changed.items() if t is not None}, path)
    if (optimizer, name) == ("adamw", "optimizer.0.exp_avg"):
        return  # it has this one

    def go_on() -> None:
        state.steps_done(5)
        state.restore(*training(optimizer))

    with torch.random.fork_rng(devices=[]), pytest.raises(RunError, match="does not fit") as error:
        go_on()
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        "[]",
        "5",
        '{"key": 1, "seconds": "x", "result": {}}',
        '{"key": 1, "seconds": 1, "result": []}',
        '{"key": 1, "result": {}}',
        "9" * 5000,
        "\udcff",
    ],
)
def test_a_step_of_an_odd_record_is_not_done(tmp_path: Path, text: str) -> None:
    path = tmp_path / "step.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert read_record(path) is None


def test_pickles_are_no_networks(tmp_path: Path) -> None:
    file = io.BytesIO()
    pickle.dump({"a": 1}, file)
    (tmp_path / "x.safetensors").write_bytes(file.getvalue())
    with pytest.raises(ModelError, match="not a safetensors file"):
        load_network(tmp_path / "x.safetensors")


def test_slim_files_of_odd_tensors(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    save(path, nn.Linear(2, 2))
    raw_file(
        path,
        b'{"weight":{"dtype":"F6_E2M3","shape":[2,2],"data_offsets":[0,3]},'
        b'"bias":{"dtype":"F32","shape":[2],"data_offsets":[3,11]}}',
        payload=bytes(11),
    )
    with pytest.raises(ModelError, match=r"mine\.safetensors: "):
        shrink_to(nn.Linear(2, 2), path)
