"""Classification: loss, probabilities and metrics."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from secateur.models.vgg import build_vgg, vgg_architecture
from secateur.tasks.classification.accuracy import (
    METRICS,
    accuracy_by_class,
    confusion_matrix,
    top1,
)
from secateur.tasks.classification.loss import classification_loss
from secateur.tasks.classification.prediction import class_scores

MEAN, STD = (0.5, 0.25, 0.0), (0.5, 0.25, 1.0)


class Means(nn.Module):
    """Logits are the means of the normalised channels."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.batches: list[int] = []
        self.modes: list[bool] = []

    def forward(self, x: Tensor) -> Tensor:
        self.batches.append(len(x))
        self.modes.append(self.training)
        return x.mean((2, 3)) * self.scale


# Normalised: 1, 3, 0.2 and -1, -1, 1
PIXELS = torch.tensor([[255, 255, 51], [0, 0, 255]], dtype=torch.uint8).view(2, 3, 1, 1)
LOGITS = [[1.0, 3.0, 0.2], [-1.0, -1.0, 1.0]]


def cross_entropy(logits: list[float], targets: list[float]) -> float:
    total = math.log(sum(map(math.exp, logits)))
    return sum(t * (total - logit) for t, logit in zip(targets, logits, strict=True))


def test_loss() -> None:
    loss = classification_loss(Means(), PIXELS, torch.tensor([1, 0]), mean=MEAN, std=STD)
    wanted = (cross_entropy(LOGITS[0], [0, 1, 0]) + cross_entropy(LOGITS[1], [1, 0, 0])) / 2
    assert loss.item() == pytest.approx(wanted, rel=1e-5)
    assert loss.requires_grad
    as_float = classification_loss(
        Means(), PIXELS.float(), torch.tensor([1, 0]), mean=MEAN, std=STD
    )
    assert as_float.item() == loss.item()


def test_label_smoothing() -> None:
    loss = classification_loss(
        Means(), PIXELS, torch.tensor([1, 0]), mean=MEAN, std=STD, label_smoothing=0.3
    )
    wanted = (
        cross_entropy(LOGITS[0], [0.1, 0.8, 0.1]) + cross_entropy(LOGITS[1], [0.8, 0.1, 0.1])
    ) / 2
    assert loss.item() == pytest.approx(wanted, rel=1e-5)


def test_scores() -> None:
    scores = class_scores(Means(), PIXELS, mean=MEAN, std=STD, batch_size=1)
    wanted = [[math.exp(x) / sum(map(math.exp, row)) for x in row] for row in LOGITS]
    torch.testing.assert_close(scores, torch.tensor(wanted))
    assert scores.dtype == torch.float32
    assert not scores.requires_grad
    together = class_scores(Means(), PIXELS, mean=MEAN, std=STD, batch_size=8)
    torch.testing.assert_close(together, scores)


@pytest.mark.parametrize("training", [False, True])
def test_mode_of_the_model_is_restored(training: bool) -> None:
    model = Means().train(training)
    advanced: list[int] = []
    pixels = PIXELS[:1].expand(5, 3, 1, 1)
    class_scores(model, pixels, mean=MEAN, std=STD, batch_size=2, advance=advanced.append)
    assert advanced == model.batches == [2, 2, 1]
    assert model.modes == [False] * 3
    assert model.training is training


def test_network_with_batch_norm_is_not_changed() -> None:
    vgg = build_vgg(vgg_architecture(("a", "b"), size=32, widths=0.03, hidden=(8,), pool=1)).train()
    before = {name: value.clone() for name, value in vgg.state_dict().items()}
    pixels = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    scores = class_scores(vgg, pixels, mean=MEAN, std=STD, batch_size=2)
    assert scores.shape == (3, 2)
    torch.testing.assert_close(scores.sum(1), torch.ones(3))
    assert all(module.training for module in vgg.modules())
    # The running statistics of the norms too.
    for name, value in vgg.state_dict().items():
        assert torch.equal(value, before[name])


def test_top1() -> None:
    assert METRICS == ("top1",)
    assert top1(torch.tensor([0, 1, 2, 2]), torch.tensor([0, 2, 2, 2])) == 75.0


def test_confusion_matrix() -> None:
    matrix = confusion_matrix(torch.tensor([0, 1, 0, 2]), torch.tensor([0, 0, 0, 2]), 4)
    assert matrix.tolist() == [[2, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]


def test_accuracy_by_class() -> None:
    predicted, labels = torch.tensor([0, 1, 0, 2]), torch.tensor([0, 0, 0, 2])
    assert accuracy_by_class(predicted, labels, ["cat", "dog", "cow"]) == {
        "by_class": {
            "cat": {"pictures": 3, "top1": pytest.approx(200 / 3)},
            "dog": {"pictures": 0, "top1": None},
            "cow": {"pictures": 1, "top1": 100.0},
        },
        "confusion": [[2, 1, 0], [0, 0, 0], [0, 0, 1]],
    }


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1))
def test_confusion_matrix_counts_pairs(pairs: list[tuple[int, int]]) -> None:
    predicted, labels = torch.tensor(pairs).unbind(1)
    matrix = confusion_matrix(predicted, labels, 4)
    for true in range(4):
        for found in range(4):
            assert matrix[true, found] == pairs.count((found, true))
    assert top1(predicted, labels) == pytest.approx(100 * int(matrix.trace()) / len(pairs))
