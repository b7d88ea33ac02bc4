"""Distillation: values by hand, and which network gets gradients."""

import math

import pytest
import torch
from torch import Tensor, nn

from secateur.models.ssd import build_ssd, ssd_architecture
from secateur.tasks.classification.loss import classification_loss
from secateur.tasks.detection.loss import distillation_loss, ssd_loss
from secateur.tasks.detection.outputs import RawOutputs
from secateur.tasks.distillation import Teacher, divergence


def test_divergence_by_hand() -> None:
    # The teacher's probabilities are 3/4 and 1/4, the student's 1/2 and 1/2.
    teacher, logits = torch.tensor([math.log(3.0), 0.0]), torch.tensor([5.0, 5.0])
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert divergence(logits, teacher, 1.0).item() == pytest.approx(expected, rel=1e-5)
    # At temperature 2 the teacher's probabilities are as √3 to 1.
    share = math.sqrt(3) / (1 + math.sqrt(3))
    softened = 4 * (share * math.log(2 * share) + (1 - share) * math.log(2 * (1 - share)))
    assert divergence(logits, teacher, 2.0).item() == pytest.approx(softened, rel=1e-5)


def test_divergence_of_equal_predictions_is_zero() -> None:
    logits = torch.tensor([[1.0, 2.0, -3.0]])
    assert divergence(logits, logits, 4.0).tolist() == pytest.approx([0.0], abs=1e-5)


def test_distillation_of_a_detector_by_hand() -> None:
    # In the first default box the teacher's probability of an object is 0, in the second 1/2.
    boxes = torch.zeros(2, 4)
    teacher = RawOutputs(
        torch.tensor([[[40.0, 0.0], [0.0, 0.0]]]),
        torch.tensor([[[0.0] * 4, [0.0, 1.0, 2.0, 3.0]]]),
        boxes,
    )
    student = RawOutputs(
        torch.tensor([[[40.0, 0.0], [0.0, math.log(3.0)]]]),
        torch.tensor([[[9.0] * 4, [0.0, 1.0, 2.0, 1.0]]]),
        boxes,
    )
    classes = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    # Smooth L1 of the second box is 2 − 0.5, weighted by 1/2; the first has weight 0.
    offsets = 0.75
    # The probabilities sum to 1/2; the divisor is at least 1.
    assert distillation_loss(student, teacher).item() == pytest.approx(classes + offsets, rel=1e-5)
    student, teacher = (
        RawOutputs(each.logits.repeat(4, 1, 1), each.offsets.repeat(4, 1, 1), boxes)
        for each in (student, teacher)
    )
    expected = (classes + offsets) * 4 / 2
    assert distillation_loss(student, teacher).item() == pytest.approx(expected, rel=1e-5)


def ssd() -> nn.Module:
    return build_ssd(
        ssd_architecture(
            "ssd300", ("a",), size=64, batch_norm=True, widths=0.05, detection_layers=3
        )
    )


def test_teacher_adds_a_weighted_loss_and_gets_no_gradient() -> None:
    torch.manual_seed(0)
    student, teacher = ssd().train(), ssd().eval()
    pictures = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    targets = torch.tensor([[[8.0, 8, 40, 40]], [[0.0, 0, 0, 0]]]), torch.tensor([[1], [0]])
    plain = ssd_loss(student, pictures, *targets)
    once = ssd_loss(student, pictures, *targets, teacher=Teacher(teacher, 1.0))
    twice = ssd_loss(student, pictures, *targets, teacher=Teacher(teacher, 2.0))
    assert once.item() > plain.item()
    torch.testing.assert_close(twice - once, once - plain)
    of_itself = ssd_loss(student, pictures, *targets, teacher=Teacher(student, 1.0))
    torch.testing.assert_close(of_itself, plain)
    twice.backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())


class Fixed(nn.Module):
    """Gives the same logits for every picture."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, pictures: Tensor) -> Tensor:
        return self.logits.expand(len(pictures), -1)


def test_distillation_of_a_classifier_by_hand() -> None:
    student, teacher = Fixed(0.0, 0.0), Fixed(4 * math.log(3.0), 0.0)
    pixels = torch.zeros(2, 3, 2, 2, dtype=torch.uint8)
    loss = classification_loss(
        student,
        pixels,
        torch.tensor([0, 1]),
        mean=[0, 0, 0],
        std=[1, 1, 1],
        teacher=Teacher(teacher, 0.5),
    )
    divergence = 16 * (0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5))
    assert loss.item() == pytest.approx(math.log(2) + 0.5 * divergence, rel=1e-5)
    loss.backward()
    assert teacher.logits.grad is None
    assert student.logits.grad is not None
