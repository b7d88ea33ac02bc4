"""Trainings with and without recorded passes give the same network."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader

from secateur.data.cached_batches import CachedBatches
from secateur.data.classification_set import ClassificationSet
from secateur.models.ssd import build_ssd, ssd_architecture
from secateur.tasks.detection.loss import ssd_loss
from secateur.training import loop as training
from secateur.training.loop import train
from secateur.training.schedule import Schedule

SCHEDULE = Schedule("sgd", 0.05, 1e-4, 0.0, "constant", clip=5.0)
STEPS, BATCH = 6, 16
Outcome = tuple[list[float], dict[str, Tensor]]


def make_fabric(precision: str) -> Fabric:
    return Fabric(accelerator="cuda", devices=1, precision=precision)  # type: ignore[arg-type]


def classifier(precision: str) -> Outcome:
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (64, 3, 16, 16), dtype=torch.uint8)
    names = tuple(str(number) for number in range(64))
    pictures = ClassificationSet(("a", "b"), pixels, torch.arange(64) % 2, names)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 14 * 14, 2)
    )
    fabric = make_fabric(precision)
    batches = CachedBatches(
        pictures,
        steps=STEPS,
        batch_size=BATCH,
        seed=0,
        augmentation=lambda given, _generator: given,
        device=fabric.device,
    )

    def loss(net: nn.Module, given: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(net(given / 255).float(), labels)

    trace = train(fabric, model, loss, batches, SCHEDULE)
    return trace, model.state_dict()


def detector(precision: str) -> Outcome:
    torch.manual_seed(0)
    model = build_ssd(
        ssd_architecture(
            "ssd300", ("a", "b"), size=96, batch_norm=True, widths=0.1, detection_layers=4
        )
    )
    pictures = torch.randint(0, 256, (STEPS * BATCH, 3, 96, 96), dtype=torch.uint8)
    corners = 50 * torch.rand(len(pictures), 3, 2)
    boxes = torch.cat([corners, corners + 5 + 40 * torch.rand(len(pictures), 3, 2)], -1)
    labels = torch.randint(0, 3, (len(pictures), 3))  # some pictures have few objects or none
    samples = [*zip(pictures, boxes, labels, strict=True)]
    batches = DataLoader(samples, BATCH)  # type: ignore[arg-type, var-annotated]
    schedule = replace(SCHEDULE, lr=0.02)
    trace = train(make_fabric(precision), model, ssd_loss, batches, schedule)
    return trace, model.state_dict()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("precision", "apart"), [("32-true", 1e-3), ("bf16-mixed", 3e-2)])
@pytest.mark.parametrize("trained", [classifier, detector])
def test_recorded_passes_do_not_change_a_training(
    trained: Callable[[str], Outcome],
    precision: str,
    apart: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # has only 10 bits
    recorded = trained(precision)
    monkeypatch.setattr(training, "record_passes", lambda *_args, **_options: None)
    single = trained(precision)
    torch.testing.assert_close(recorded[0], single[0], atol=apart, rtol=0)
    for name, tensor in single[1].items():
        found, wanted = recorded[1][name].cpu(), tensor.cpu()
        torch.testing.assert_close(found, wanted, atol=apart, rtol=0, msg=name)
