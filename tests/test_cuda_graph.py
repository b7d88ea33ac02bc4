"""Recorded passes are those of single launches."""

import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from secateur import training
from secateur.data.cached_batches import CachedBatches
from secateur.data.classification_set import ClassificationSet
from secateur.training import Schedule, train

SCHEDULE = Schedule("sgd", 0.05, 1e-4, 0.0, "constant", clip=5.0)


def trained(precision: str) -> tuple[list[float], dict[str, Tensor]]:
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (64, 3, 16, 16), dtype=torch.uint8)
    names = tuple(str(number) for number in range(64))
    pictures = ClassificationSet(("a", "b"), pixels, torch.arange(64) % 2, names)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 14 * 14, 2)
    )
    fabric = Fabric(accelerator="cuda", devices=1, precision=precision)  # type: ignore[arg-type]
    batches = CachedBatches(
        pictures,
        steps=6,
        batch_size=16,
        seed=0,
        augmentation=lambda given, _generator: given,
        device=fabric.device,
    )

    def loss(net: nn.Module, given: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(net(given / 255).float(), labels)

    trace = train(fabric, model, loss, batches, SCHEDULE)
    return trace, {name: tensor.cpu() for name, tensor in model.state_dict().items()}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("precision", "apart"), [("32-true", 1e-3), ("bf16-mixed", 3e-2)])
def test_replayed_training_is_that_of_single_launches(
    precision: str, apart: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = trained(precision)
    monkeypatch.setattr(training, "record_passes", lambda *_args, **_options: None)
    single = trained(precision)
    torch.testing.assert_close(recorded[0], single[0], atol=apart, rtol=0)
    for name, tensor in single[1].items():
        torch.testing.assert_close(recorded[1][name], tensor, atol=apart, rtol=0, msg=name)
