"""A classifier as a run's task."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torchvision.models import VGG

from secateur.data.cached_batches import CachedBatches, augment
from secateur.data.classification_set import ClassificationSet
from secateur.models.network import example_input
from secateur.models.vgg import VGGArchitecture
from secateur.recipe import ClassificationData, Evaluate, Training
from secateur.tasks.classification import METRICS, classification_loss, classify, top1
from secateur.training import Batches


@dataclass(frozen=True, slots=True)
class Classifier:
    """Tells what a picture shows; see ``tasks.task.Task`` for what a task does."""

    data: ClassificationData
    evaluate: Evaluate

    @property
    def metrics(self) -> tuple[str, ...]:
        """Share of pictures whose class comes first."""
        return METRICS

    def batches(
        self,
        dataset: ClassificationSet,
        architecture: VGGArchitecture,  # noqa: ARG002 # the pictures were read at its size
        settings: Training,
        seed: int,
        device: torch.device,
    ) -> Batches:
        """Pictures (N, 3, size, size) and labels (N,), on the device."""
        chances = self.data.augmentation.model_dump()

        def vary(pixels: Tensor, generator: torch.Generator) -> Tensor:
            return augment(pixels, **chances, generator=generator)

        return CachedBatches(
            dataset,
            steps=settings.steps,
            batch_size=settings.batch_size,
            seed=seed,
            augmentation=vary,
            device=device,
        )

    def loss(self, architecture: VGGArchitecture) -> Callable[..., Tensor]:
        """Cross entropy on normalised pictures."""
        return partial(classification_loss, mean=architecture.mean, std=architecture.std)

    def measure(
        self,
        model: VGG,
        architecture: VGGArchitecture,
        dataset: ClassificationSet,
        metrics: tuple[str, ...],
        *,
        device: torch.device | None = None,
        advance: Callable[[int], None] = lambda _count: None,
    ) -> dict[str, float]:
        """Classify all pictures, and count."""
        predicted = classify(
            model,
            dataset.pixels,
            mean=architecture.mean,
            std=architecture.std,
            batch_size=self.evaluate.batch_size,
            device=device,
            advance=advance,
        )
        return {name: top1(predicted, dataset.labels) for name in metrics}

    def evaluation_input(
        self,
        architecture: VGGArchitecture,
        dataset: ClassificationSet,  # noqa: ARG002 # its pictures all have the network's size
    ) -> Tensor:
        """A picture of the network's size."""
        return example_input(architecture)
