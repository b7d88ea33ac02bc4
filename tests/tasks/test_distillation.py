"""Learning from another network's predictions."""

import math

import pytest
import torch
from torch import Tensor, nn

from secateur.models.ssd import build_ssd, ssd_architecture
from secateur.tasks.classification.classification import classification_loss
from secateur.tasks.detection.detection import ssd_loss, teacher_loss
from secateur.tasks.distillation import Teacher, divergence


def test_divergence_by_hand() -> None:
    # Teacher 3/4 and 1/4, learner 1/2 and 1/2.
    taught, logits = torch.tensor([math.log(3.0), 0.0]), torch.tensor([5.0, 5.0])
    wanted = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert divergence(logits, taught, 1.0).item() == pytest.approx(wanted, rel=1e-5)
    # At temperature 2 the teacher says √3 to 1.
    share = math.sqrt(3) / (1 + math.sqrt(3))
    softened = 4 * (share * math.log(2 * share) + (1 - share) * math.log(2 * (1 - share)))
    assert divergence(logits, taught, 2.0).item() == pytest.approx(softened, rel=1e-5)


def test_who_says_the_same_has_nothing_to_learn() -> None:
    logits = torch.tensor([[1.0, 2.0, -3.0]])
    assert divergence(logits, logits, 4.0).tolist() == pytest.approx([0.0], abs=1e-5)


def test_a_detector_learns_from_where_the_teacher_sees_something() -> None:
    # Two default boxes: the teacher is sure of nothing in the first, and half sure in the second.
    taught = {
        "cls_logits": torch.tensor([[[40.0, 0.0], [0.0, 0.0]]]),
        "bbox_regression": torch.tensor([[[0.0] * 4, [0.0, 1.0, 2.0, 3.0]]]),
    }
    outputs = {
        "cls_logits": torch.tensor([[[40.0, 0.0], [0.0, math.log(3.0)]]]),
        "bbox_regression": torch.tensor([[[9.0] * 4, [0.0, 1.0, 2.0, 1.0]]]),
    }
    # The boxes' smooth L1 of the second: 2 − 0.5, half of it; nothing of the first.
    classes = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    # Half an object is seen; what divides is at least one.
    assert teacher_loss(outputs, taught).item() == pytest.approx(classes + 0.75, rel=1e-5)
    four = {name: torch.cat([value] * 4) for name, value in taught.items()}
    given = {name: torch.cat([value] * 4) for name, value in outputs.items()}
    assert teacher_loss(given, four).item() == pytest.approx((classes + 0.75) * 4 / 2, rel=1e-5)


def ssd() -> nn.Module:
    return build_ssd(
        ssd_architecture(
            "ssd300", ("a",), size=64, batch_norm=True, widths=0.05, detection_layers=3
        )
    )


def test_the_teacher_adds_its_weight_to_the_loss_and_takes_no_gradient() -> None:
    torch.manual_seed(0)
    learner, teacher = ssd().train(), ssd().eval()
    pictures = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    targets = torch.tensor([[[8.0, 8, 40, 40]], [[0.0, 0, 0, 0]]]), torch.tensor([[1], [0]])
    alone = ssd_loss(learner, pictures, *targets)
    once = ssd_loss(learner, pictures, *targets, teacher=Teacher(teacher, 1.0))
    twice = ssd_loss(learner, pictures, *targets, teacher=Teacher(teacher, 2.0))
    assert once.item() > alone.item()
    torch.testing.assert_close(twice - once, once - alone)
    of_itself = ssd_loss(learner, pictures, *targets, teacher=Teacher(learner, 1.0))
    torch.testing.assert_close(of_itself, alone)
    twice.backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())


class Fixed(nn.Module):
    """Gives the same logits for every picture."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, pictures: Tensor) -> Tensor:
        return self.logits.expand(len(pictures), -1)


def test_a_classifier_learns_from_softened_classes() -> None:
    learner, teacher = Fixed(0.0, 0.0), Fixed(4 * math.log(3.0), 0.0)
    pixels = torch.zeros(2, 3, 2, 2, dtype=torch.uint8)
    loss = classification_loss(
        learner,
        pixels,
        torch.tensor([0, 1]),
        mean=[0, 0, 0],
        std=[1, 1, 1],
        teacher=Teacher(teacher, 0.5),
    )
    taught = 16 * (0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5))
    assert loss.item() == pytest.approx(math.log(2) + 0.5 * taught, rel=1e-5)
    loss.backward()
    assert teacher.logits.grad is None
    assert learner.logits.grad is not None
