"""A classifier as a run's task."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.models import VGG

from secateur.config.data import ClassificationData
from secateur.config.evaluate import Evaluate
from secateur.config.train import Training
from secateur.data.cached_batches import CachedBatches, augment
from secateur.data.classification_set import ClassificationSet
from secateur.distributed.rank import SINGLE, Rank
from secateur.models.network import example_input
from secateur.models.vgg import VGGArchitecture
from secateur.tasks.classification.classification import (
    METRICS,
    accuracy_by_class,
    class_scores,
    classification_loss,
    top1,
)
from secateur.tasks.classification.examples import classification_examples
from secateur.tasks.distillation import Teacher
from secateur.training.loop import Batches


@dataclass(frozen=True, slots=True)
class Classifier:
    """Tells what a picture shows; see ``tasks.task.Task`` for what a task does."""

    data: ClassificationData
    evaluate: Evaluate

    @property
    def metrics(self) -> tuple[str, ...]:
        """Share of pictures whose class comes first."""
        return METRICS

    def check(self, dataset: ClassificationSet, architecture: VGGArchitecture, split: str) -> None:
        """Every picture has a class, and the network's size."""

    def batches(
        self,
        dataset: ClassificationSet,
        architecture: VGGArchitecture,  # noqa: ARG002 # the pictures were read at its size
        settings: Training,
        seed: int,
        device: torch.device,
        done: int = 0,
        rank: Rank = SINGLE,
    ) -> Batches:
        """Pictures (N, 3, size, size) and labels (N,), on the device."""
        chances = self.data.augmentation.model_dump()

        def vary(pixels: Tensor, generator: torch.Generator) -> Tensor:
            return augment(pixels, **chances, generator=generator, rank=rank)

        return CachedBatches(
            dataset,
            steps=settings.steps,
            batch_size=settings.batch_size,
            seed=seed,
            augmentation=vary,
            device=device,
            done=done,
            rank=rank,
        )

    def loss(
        self, architecture: VGGArchitecture, teacher: Teacher | None = None
    ) -> Callable[..., Tensor]:
        """Cross entropy on normalised pictures."""
        return partial(
            classification_loss, mean=architecture.mean, std=architecture.std, teacher=teacher
        )

    def predictions(
        self,
        model: VGG,
        architecture: VGGArchitecture,
        dataset: ClassificationSet,
        *,
        device: torch.device | None = None,
        advance: Callable[[int], None] = lambda _count: None,
    ) -> Tensor:
        """Probability of each class for each picture, (N, K) float32."""
        return class_scores(
            model,
            dataset.pixels,
            mean=architecture.mean,
            std=architecture.std,
            batch_size=self.evaluate.batch_size,
            device=device,
            advance=advance,
        )

    def measure(
        self, predictions: Tensor, dataset: ClassificationSet, metrics: tuple[str, ...]
    ) -> dict[str, float]:
        """Share of pictures whose class is the most probable."""
        return {name: top1(predictions.argmax(1), dataset.labels) for name in metrics}

    def by_class(self, predictions: Tensor, dataset: ClassificationSet) -> dict[str, Any]:
        """The same share of each class, and the ``confusion`` matrix."""
        return accuracy_by_class(predictions.argmax(1), dataset.labels, dataset.classes)

    def to_tensors(self, predictions: Tensor) -> dict[str, Tensor]:
        """One tensor, ``probabilities`` (N, K) float32."""
        return {"probabilities": predictions}

    def from_tensors(
        self,
        tensors: Mapping[str, Tensor],
        dataset: ClassificationSet,
    ) -> Tensor:
        """The same tensor."""
        found = tensors["probabilities"]
        fits = found.shape == (len(dataset), len(dataset.classes))
        if not fits or found.dtype != torch.float32 or not found.isfinite().all():
            raise ValueError("not the probabilities of each class for each picture")
        return found

    def joined(self, predictions: Sequence[Tensor]) -> Tensor:
        """The probabilities of all pictures."""
        return torch.stack([*predictions])

    def examples(
        self, dense: Tensor, slim: Tensor, dataset: ClassificationSet, folder: Path
    ) -> dict[str, Any]:
        """Pictures that slim takes for something else."""
        return classification_examples(dense, slim, dataset, folder)

    def evaluation_input(
        self,
        architecture: VGGArchitecture,
        dataset: ClassificationSet,  # noqa: ARG002 # its pictures all have the network's size
    ) -> Tensor:
        """A picture of the network's size."""
        return example_input(architecture)
