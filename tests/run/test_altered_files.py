"""Altered predictions, checkpoints and stage records are refused, never misread."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from secateur.config.data import ClassificationData, DetectionData
from secateur.config.evaluate import Evaluate
from secateur.data.classification_set import ClassificationSet
from secateur.data.detection_set import AnnotatedPicture, DetectionSet
from secateur.errors import RunError
from secateur.run.predictions_file import PREDICTIONS_FILE, load_predictions, save_predictions
from secateur.run.stage import read_step
from secateur.tasks.classification.classifier import Classifier
from secateur.tasks.detection.detections import Detections
from secateur.tasks.detection.detector import Detector
from secateur.training.checkpoint import TrainingState

torch.set_num_threads(1)


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
def test_altered_predictions(tmp_path: Path, name: str, value: torch.Tensor | None) -> None:
    save_predictions(tmp_path, DETECTOR, FOUND)
    dataset = pictures(2)
    assert len(load_predictions(tmp_path, DETECTOR, dataset)) == 2
    changed = {**load_file(tmp_path / PREDICTIONS_FILE), name: value}
    save_file({n: t for n, t in changed.items() if t is not None}, tmp_path / PREDICTIONS_FILE)
    with pytest.raises(RunError, match=r"predictions\.safetensors: cannot be read; delete"):
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
    with pytest.raises(RunError, match=r"predictions\.safetensors: cannot be read; delete"):
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
    ("rng", torch.zeros(5, dtype=torch.uint8)),
    ("rng", torch.zeros(5)),
    ("rng", None),
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
def test_altered_checkpoints(
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

    def resume() -> None:
        state.steps_done(5)
        state.restore(*training(optimizer))

    with (
        torch.random.fork_rng(devices=[]),
        pytest.raises(RunError, match="is not a checkpoint of this training; delete it") as error,
    ):
        resume()
    assert str(path) in str(error.value)


RESULT = {
    "kind": "threshold",
    "phase": 1,
    "metrics": {"top1": 90.0},
    "threshold": 0.1,
    "zeros": 0.5,
    "status": "found",
    "trace": [{"threshold": 0.1, "zeros": 0.5, "metric": 90.0}],
}
RECORD = {"version": 2, "output_key": "a", "result_key": "b", "seconds": 1, "result": RESULT}
DELETE_FILE = "delete the file and give the run's command again$"
DELETE_RUN = "delete the run's folder, or give another with --run$"


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("[" * 100_000, DELETE_FILE),
        ('{"a":' * 100_000, DELETE_FILE),
        ("[]", DELETE_FILE),
        ("5", DELETE_FILE),
        ("9" * 5000, DELETE_FILE),
        ("\udcff", DELETE_FILE),
        (json.dumps({**RECORD, "seconds": "x"}), DELETE_FILE),
        (json.dumps({**RECORD, "seconds": -1}), DELETE_FILE),
        (json.dumps({**RECORD, "result": []}), DELETE_FILE),
        (json.dumps({**RECORD, "result": {}}), DELETE_FILE),
        (json.dumps({**RECORD, "result": {**RESULT, "kind": "other"}}), DELETE_FILE),
        (json.dumps({**RECORD, "result": {**RESULT, "other": 1}}), DELETE_FILE),
        (json.dumps({**RECORD, "result": {**RESULT, "zeros": 2}}), DELETE_FILE),
        (json.dumps({**RECORD, "result": {**RESULT, "trace": []}}), DELETE_FILE),
        (json.dumps({**RECORD, "result": {**RESULT, "threshold": float("nan")}}), DELETE_FILE),
        (json.dumps({n: v for n, v in RECORD.items() if n != "output_key"}), DELETE_FILE),
        (json.dumps({**RECORD, "version": 1}), DELETE_RUN),
        (json.dumps({**RECORD, "version": "2"}), DELETE_RUN),
        (json.dumps({n: v for n, v in RECORD.items() if n != "version"}), DELETE_RUN),
    ],
)
def test_altered_stage_records(tmp_path: Path, text: str, cure: str) -> None:
    path = tmp_path / "step.json"
    path.write_text(json.dumps(RECORD))
    assert read_step(tmp_path) is not None
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(RunError, match=rf"step\.json: .*; {cure}") as error:
        read_step(tmp_path)
    assert "\n" not in str(error.value)
