"""Compression of a Lightning module: Secateur needs only a callback."""

import lightning
import torch
from own_model import build, draw, evaluate
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import secateur


class Sparsify(lightning.Callback):
    """Attach a penalty to the optimizers of a training."""

    def __init__(self, penalty: secateur.Penalties) -> None:
        self.penalty = penalty

    def on_train_start(self, trainer: lightning.Trainer, _: lightning.LightningModule) -> None:
        """Attach it when the optimizers exist."""
        for optimizer in trainer.optimizers:
            self.penalty.attach(optimizer)


class Classifier(lightning.LightningModule):
    """An ordinary module around a network."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def training_step(self, batch: list[Tensor]) -> Tensor:
        """Return the loss of a batch."""
        pictures, labels = batch
        return nn.functional.cross_entropy(self.net(pictures), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer."""
        return torch.optim.AdamW(self.parameters(), lr=2e-3)


def train(net: nn.Module, penalty: secateur.Penalties) -> None:
    """Train for a few epochs."""
    loader = DataLoader(TensorDataset(*draw(1024, seed=0)), batch_size=64, shuffle=True)
    trainer = lightning.Trainer(
        max_epochs=4,
        callbacks=[Sparsify(penalty)],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Classifier(net), loader)


if __name__ == "__main__":
    torch.manual_seed(0)
    net = build()
    train(net, secateur.Penalties())
    pictures, goal = draw(2, seed=2)[0], secateur.Goal(keep_macs=0.3)
    result = secateur.compress(net, pictures, goal, train=train, evaluate=evaluate, report=print)
    result.save("slim.safetensors")
