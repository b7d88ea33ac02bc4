"""Predictions of the detection task: device, mode, decoding and settings."""

from pathlib import Path

import pytest
import torch

from secateur.config.data import DetectionData
from secateur.config.evaluate import Evaluate
from secateur.data import picture_cache
from secateur.data.detection_set import AnnotatedPicture
from secateur.data.formats.voc import read_voc
from secateur.models.ssd import build_ssd, ssd_architecture
from secateur.tasks.detection.detector import Detector
from shapes import draw_voc_folder


def test_pictures_are_decoded_once_and_the_network_is_not_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_voc_folder(tmp_path)
    dataset = read_voc(tmp_path, "test", ("square", "disc"))
    architecture = ssd_architecture(
        "ssd300", dataset.classes, size=64, widths=0.05, detection_layers=3
    )
    torch.manual_seed(0)
    ssd = build_ssd(architecture).train()
    before = {name: value.clone() for name, value in ssd.state_dict().items()}
    decoded: list[Path] = []
    read_resized = picture_cache.read_resized

    def counted(picture: AnnotatedPicture, size: int | None) -> torch.Tensor:
        decoded.append(picture.path)
        return read_resized(picture, size)

    monkeypatch.setattr(picture_cache, "read_resized", counted)
    data = DetectionData.model_validate({"format": "voc", "root": tmp_path})
    task = Detector(data, Evaluate(batch_size=3, score=0.02, boxes=7))
    advanced: list[int] = []
    first = task.predictions(ssd, architecture, dataset, advance=advanced.append)
    again = task.predictions(ssd, architecture, dataset)
    assert sorted(decoded) == sorted(picture.path for picture in dataset.pictures)
    assert sum(advanced) == len(first) == len(dataset)
    assert all(len(each.scores) <= 7 for each in first)
    assert sum(len(each.scores) for each in first) > 0
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one.boxes, other.boxes)
        assert torch.equal(one.scores, other.scores)
    assert ssd.training
    assert all(torch.equal(value, before[name]) for name, value in ssd.state_dict().items())
