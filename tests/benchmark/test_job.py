from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from secateur.benchmark.job import Job, Run, parts, pictures_for
from secateur.benchmark.pictures import random_batch
from secateur.benchmark.timing import Part
from secateur.export.target import Target
from secateur.inference.torch_network import TorchNetwork


def loaded(
    model: Path, runtime: str, file: Path | None, side: int = 96, batch: int = 1
) -> tuple[dict[Part, Run], object]:
    header = TorchNetwork.load(str(model)).header
    job = Job(str(model), header, runtime, file, False, 1, random_batch((side, side), batch, 0))
    return dict(parts(job)), pictures_for(job)[0]


def outputs(run: Run, pictures: object) -> list[np.ndarray]:
    found = run(pictures)
    if isinstance(found, torch.Tensor):
        return [found.numpy()]
    assert isinstance(found, Sequence)
    return [np.asarray(each) for each in found]


def test_every_runtime_can_run_the_network_without_nms(
    detector: Path, exported: Callable[..., Path]
) -> None:
    files: dict[str, Path | None] = {
        "torch": None,
        "onnxruntime": exported(detector, Target("onnx")),
        "openvino": exported(detector, Target("openvino")),
    }
    found, scores = {}, {}
    for runtime, file in files.items():
        ready, pictures = loaded(detector, runtime, file)
        assert list(ready) == ["whole", "network"], "the part that users run is loaded first"
        found[runtime] = outputs(ready["network"], pictures)[:2]
        whole = ready["whole"](pictures)
        assert isinstance(whole, list)
        scores[runtime] = whole[0].scores if runtime == "torch" else torch.from_numpy(whole[2][0])
    assert len(scores["torch"]) > 100
    for theirs in scores.values():
        torch.testing.assert_close(theirs, scores["torch"], rtol=0, atol=1e-4)
    logits, offsets = found.pop("torch")
    assert logits.shape == (1, offsets.shape[1], 3)
    for theirs in found.values():
        np.testing.assert_allclose(theirs[0], logits, atol=1e-4)
        np.testing.assert_allclose(theirs[1], offsets, atol=1e-4)


def test_openvino_runs_an_onnx_file(detector: Path, exported: Callable[..., Path]) -> None:
    file = exported(detector, Target("onnx"))
    ready, pictures = loaded(detector, "openvino", file)
    assert list(ready) == ["whole", "network"]
    ready["network"](pictures)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_raw_export_has_the_network_only(
    runtime: str, detector: Path, exported: Callable[..., Path]
) -> None:
    ready, pictures = loaded(detector, runtime, exported(detector, Target("onnx", raw=True)))
    assert list(ready) == ["network"]
    ready["network"](pictures)


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime"])
def test_a_classifier_has_one_part(
    runtime: str, classifier: Path, exported: Callable[..., Path]
) -> None:
    file = None if runtime == "torch" else exported(classifier, Target("onnx"), batch=2)
    ready, pictures = loaded(classifier, runtime, file, side=32, batch=2)
    assert list(ready) == ["whole"]
    scores = np.concatenate(outputs(ready["whole"], pictures)).reshape(2, 3)
    np.testing.assert_allclose(scores.sum(1), [1, 1], rtol=1e-5)
