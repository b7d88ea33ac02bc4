"""Repeated evaluations, as in a search for a threshold, decode each picture once."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from secateur.config.data import DetectionData
from secateur.config.evaluate import Evaluate
from secateur.data import loaders
from secateur.data.detection_set import AnnotatedPicture
from secateur.data.picture_cache import PictureCache
from secateur.data.source import read_detection_split
from secateur.models.network import build_network
from secateur.models.ssd import ssd_architecture
from secateur.tasks.detection.detector import Detector
from shapes import draw_voc_folder


@pytest.mark.parametrize("resize", [True, False])
def test_each_picture_is_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resize: bool
) -> None:
    draw_voc_folder(tmp_path, train=1)
    data = DetectionData(format="voc", root=tmp_path, classes=("square", "disc"), resize=resize)
    dataset = read_detection_split(data, "test", 64)
    decoded: list[Path] = []
    read_image = loaders.read_image

    def counted(picture: AnnotatedPicture) -> Image.Image:
        decoded.append(picture.path)
        return read_image(picture)

    monkeypatch.setattr(loaders, "read_image", counted)
    torch.manual_seed(0)
    architecture = ssd_architecture(
        "ssd300",
        dataset.classes,
        resize=resize,
        size=64,
        widths=0.04,
        batch_norm=True,
        detection_layers=1,
        scales=[0.4, 0.8],
    )
    model = build_network(architecture)

    cached = Detector(data, Evaluate(score=0.01))
    again = [cached.predictions(model, architecture, dataset) for _ in range(4)]
    assert sorted(decoded) == [picture.path for picture in dataset.pictures]

    uncached = Detector(data, Evaluate(score=0.01), PictureCache(limit=0))
    expected = uncached.predictions(model, architecture, dataset)
    assert len(decoded) == 2 * len(dataset)
    assert any(len(each.scores) for each in expected)
    for found in again:
        for one, other in zip(found, expected, strict=True):
            assert torch.equal(one.boxes, other.boxes)
            assert torch.equal(one.labels, other.labels)
            assert torch.equal(one.scores, other.scores)
