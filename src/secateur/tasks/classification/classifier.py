"""Classification as a task of a run."""

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
from secateur.tasks.classification.accuracy import METRICS, accuracy_by_class, top1
from secateur.tasks.classification.examples import classification_examples
from secateur.tasks.classification.loss import classification_loss
from secateur.tasks.classification.prediction import class_scores
from secateur.tasks.distillation import Teacher
from secateur.training.loop import Batches


@dataclass(frozen=True, slots=True)
class Classifier:
    """Classifies pictures; ``tasks.task.Task`` documents the methods."""

    data: ClassificationData
    evaluate: Evaluate

    @property
    def metrics(self) -> tuple[str, ...]:
        """The share of correctly classified pictures."""
        return METRICS

    def check(self, dataset: ClassificationSet, architecture: VGGArchitecture, split: str) -> None:
        """Accept every split: each picture has a class and the network's size."""

    def batches(
        self,
        dataset: ClassificationSet,
        architecture: VGGArchitecture,  # noqa: ARG002 # the pictures have its size
        settings: Training,
        seed: int,
        device: torch.device,
        done: int = 0,
        rank: Rank = SINGLE,
    ) -> Batches:
        """Pictures (N, 3, size, size) and labels (N,), on the device."""
        options = self.data.augmentation.model_dump()

        def augmentation(pixels: Tensor, generator: torch.Generator) -> Tensor:
            return augment(pixels, **options, generator=generator, rank=rank)

        return CachedBatches(
            dataset,
            steps=settings.steps,
            batch_size=settings.batch_size,
            seed=seed,
            augmentation=augmentation,
            device=device,
            done=done,
            rank=rank,
        )

    def loss(
        self, architecture: VGGArchitecture, teacher: Teacher | None = None
    ) -> Callable[..., Tensor]:
        """Cross entropy."""
        return partial(
            classification_loss, mean=architecture.mean, std=architecture.std, teacher=teacher
        )

    def predictions(
        self,
        model: VGG,
        architecture: VGGArchitecture,
        dataset: ClassificationSet,
        *,
        advance: Callable[[int], None] = lambda _count: None,
    ) -> Tensor:
        """Probability of each class for each picture, (N, K) float32."""
        return class_scores(
            model,
            dataset.pixels,
            mean=architecture.mean,
            std=architecture.std,
            batch_size=self.evaluate.batch_size,
            advance=advance,
        )

    def measure(
        self, predictions: Tensor, dataset: ClassificationSet, metrics: tuple[str, ...]
    ) -> dict[str, float]:
        """The share of pictures whose class has the highest probability."""
        return {name: top1(predictions.argmax(1), dataset.labels) for name in metrics}

    def by_class(self, predictions: Tensor, dataset: ClassificationSet) -> dict[str, Any]:
        """The same share by class, and the ``confusion`` matrix."""
        return accuracy_by_class(predictions.argmax(1), dataset.labels, dataset.classes)

    def to_tensors(self, predictions: Tensor) -> dict[str, Tensor]:
        """``probabilities``, (N, K) float32."""
        return {"probabilities": predictions}

    def from_tensors(self, tensors: Mapping[str, Tensor], dataset: ClassificationSet) -> Tensor:
        """``probabilities``, (N, K) float32."""
        scores = tensors["probabilities"]
        fits = scores.shape == (len(dataset), len(dataset.classes))
        if not fits or scores.dtype != torch.float32 or not scores.isfinite().all():
            raise ValueError("not the probabilities of each class for each picture")
        return scores

    def joined(self, predictions: Sequence[Tensor]) -> Tensor:
        """The probabilities of all pictures."""
        return torch.stack([*predictions])

    def examples(
        self, dense: Tensor, slim: Tensor, dataset: ClassificationSet, folder: Path
    ) -> dict[str, Any]:
        """The slim network's most confident mistakes."""
        return classification_examples(dense, slim, dataset, folder)

    def evaluation_input(
        self,
        architecture: VGGArchitecture,
        dataset: ClassificationSet,  # noqa: ARG002 # its pictures have the network's size
    ) -> Tensor:
        """A picture of the network's size."""
        return example_input(architecture)
