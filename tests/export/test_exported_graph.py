"""The exported graph computes the same as torchvision's post-processing."""

import pytest
import torch
from small_networks import architecture, liven
from torch import Tensor
from torchvision.models.detection.ssd import SSD

from secateur.export.graph import Classifier, Detector, RawClassifier, RawDetector
from secateur.models.ssd import build_ssd
from secateur.models.vgg import build_vgg, vgg_architecture
from secateur.tasks.classification.prediction import class_scores


def lively_ssd(*, resize: bool = True) -> SSD:
    torch.manual_seed(0)
    ssd = liven(build_ssd(architecture(resize=resize)))
    assert isinstance(ssd, SSD)
    return ssd


def pictures(count: int, height: int, width: int) -> Tensor:
    torch.manual_seed(1)
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8)


@torch.no_grad()
def torchvision_finds(ssd: SSD, given: Tensor) -> list[dict[str, Tensor]]:
    logits, offsets, boxes = RawDetector(ssd, None)(given)
    sides = [tuple(given.shape[-2:])] * len(given)
    outputs = {"cls_logits": logits, "bbox_regression": offsets}
    found: list[dict[str, Tensor]] = ssd.postprocess_detections(
        outputs, [boxes] * len(given), sides
    )
    return found


@pytest.mark.parametrize("resize", [True, False])
@pytest.mark.parametrize("shape", [(96, 96), (130, 170)])
@torch.no_grad()
def test_as_torchvision(resize: bool, shape: tuple[int, int]) -> None:
    ssd = lively_ssd(resize=resize)
    ssd.detections_per_img, ssd.topk_candidates = 60, 40
    given = pictures(3, *shape)
    fixed = shape if resize else None
    boxes, labels, scores = Detector(ssd, fixed)(given)[:3]
    assert boxes.shape == (3, 60, 4)
    for number, expected in enumerate(torchvision_finds(ssd, given)):
        assert len(expected["scores"]) == 60
        torch.testing.assert_close(scores[number], expected["scores"])
        torch.testing.assert_close(boxes[number], expected["boxes"], rtol=0, atol=1e-4)
        assert labels[number].tolist() == expected["labels"].tolist()


@torch.no_grad()
def test_rows_after_the_last_object_are_zero() -> None:
    ssd = lively_ssd()
    given = pictures(2, 96, 96)
    ssd.score_thresh = float(torchvision_finds(ssd, given)[0]["scores"][20])
    boxes, labels, scores = Detector(ssd, (96, 96))(given)[:3]
    for number, expected in enumerate(torchvision_finds(ssd, given)):
        count = len(expected["scores"])
        assert count < 200
        torch.testing.assert_close(scores[number, :count], expected["scores"])
        assert not scores[number, count:].any()
        assert not labels[number, count:].any()
        assert not boxes[number, count:].any()


@torch.no_grad()
def test_fewer_default_boxes_than_candidates() -> None:
    ssd = lively_ssd(resize=False)
    given = pictures(1, 32, 40)
    found = Detector(ssd, None)(given)
    expected = torchvision_finds(ssd, given)[0]
    count = len(expected["scores"])
    torch.testing.assert_close(found[2][0, :count], expected["scores"])
    assert not found[2][0, count:].any()


def test_half_precision_converts_every_weight() -> None:
    graph = RawDetector(lively_ssd(), (96, 96), half=True)
    assert {p.dtype for p in graph.parameters()} == {torch.float16}
    with torch.no_grad():
        outputs = graph(pictures(1, 96, 96))
    assert {output.dtype for output in outputs} == {torch.float32}


@torch.no_grad()
def test_a_classifier_gives_probabilities() -> None:
    made = vgg_architecture(("a", "b"), size=32, widths=0.06, hidden=(16,), pool=1)
    model = liven(build_vgg(made))
    given = pictures(4, 32, 32)
    scores = Classifier(model, made.mean, made.std)(given)
    expected = class_scores(model, given, mean=made.mean, std=made.std, batch_size=4)
    torch.testing.assert_close(scores, expected)
    raw = RawClassifier(model, made.mean, made.std)(given)
    torch.testing.assert_close(raw.softmax(1), expected)
