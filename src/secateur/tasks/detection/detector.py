"""A detector as a run's task."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection.ssd import SSD

from secateur.config.data import DetectionData
from secateur.config.evaluate import Evaluate
from secateur.config.train import Training
from secateur.data.detection_set import DetectionSet
from secateur.data.loaders import training_batches
from secateur.data.source import training_transform
from secateur.distributed.rank import SINGLE, Rank
from secateur.errors import DataError
from secateur.models.network import example_input
from secateur.models.ssd import SSDArchitecture
from secateur.tasks.detection.average_precision import Detections
from secateur.tasks.detection.detection import (
    METRICS,
    accuracy_by_class,
    check_sizes,
    find_objects,
    joined_detections,
    measure_accuracy,
    parted_detections,
    ssd_loss,
)
from secateur.tasks.detection.examples import detection_examples
from secateur.tasks.distillation import Teacher
from secateur.training.loop import Batches


@dataclass(frozen=True, slots=True)
class Detector:
    """Finds objects; see ``tasks.task.Task`` for what a task does."""

    data: DetectionData
    evaluate: Evaluate

    @property
    def metrics(self) -> tuple[str, ...]:
        """Average precision by every protocol."""
        return METRICS

    def check(self, dataset: DetectionSet, architecture: SSDArchitecture, split: str) -> None:
        """Refuse pictures without an object that counts, or too small for the network."""
        if all(picture.difficult.all() for picture in dataset.pictures):
            cure = "set data.test: null" if split == "test" else "raise data.validation"
            raise DataError(
                f"{self.data.root}: no object is marked in the pictures for {split}, so nothing "
                f"can be measured by them; mark some, or {cure}"
            )
        check_sizes(dataset.pictures, architecture)

    def batches(
        self,
        dataset: DetectionSet,
        architecture: SSDArchitecture,
        settings: Training,
        seed: int,
        device: torch.device,  # noqa: ARG002 # batches are loaded by processes of their own
        done: int = 0,
        rank: Rank = SINGLE,
    ) -> Batches:
        """Pictures (N, 3, size, size) uint8, boxes (N, M, 4) and labels (N, M)."""
        return training_batches(
            dataset.pictures,
            training_transform(self.data, architecture.size),
            steps=settings.steps,
            batch_size=settings.batch_size,
            seed=seed,
            workers=self.data.workers,
            done=done,
            rank=rank,
        )

    def loss(
        self,
        architecture: SSDArchitecture,  # noqa: ARG002 # the network holds what is needed of it
        teacher: Teacher | None = None,
    ) -> Callable[..., Tensor]:
        """The multibox loss."""
        return partial(ssd_loss, teacher=teacher)

    def predictions(
        self,
        model: SSD,
        architecture: SSDArchitecture,
        dataset: DetectionSet,
        *,
        device: torch.device | None = None,
        advance: Callable[[int], None] = lambda _count: None,
    ) -> list[Detections]:
        """The objects found in each picture."""
        return find_objects(
            model, architecture, dataset.pictures, self.evaluate, device=device, advance=advance
        )

    def measure(
        self, predictions: list[Detections], dataset: DetectionSet, metrics: tuple[str, ...]
    ) -> dict[str, float]:
        """Average precision, over all classes."""
        return measure_accuracy(predictions, dataset, metrics)

    def by_class(self, predictions: list[Detections], dataset: DetectionSet) -> dict[str, Any]:
        """Average precision, and ``curves`` of precision and recall."""
        return accuracy_by_class(predictions, dataset)

    def to_tensors(self, predictions: list[Detections]) -> dict[str, Tensor]:
        """All detections one after the other, and the picture of each."""
        return joined_detections(predictions)

    def from_tensors(
        self, tensors: Mapping[str, Tensor], dataset: DetectionSet
    ) -> list[Detections]:
        """The detections of each picture."""
        return parted_detections(tensors, len(dataset), len(dataset.classes))

    def joined(self, predictions: Sequence[Detections]) -> list[Detections]:
        """The detections of all pictures."""
        return list(predictions)

    def examples(
        self, dense: list[Detections], slim: list[Detections], dataset: DetectionSet, folder: Path
    ) -> dict[str, Any]:
        """Pictures that slim does best, typically and worst on, or falls behind dense."""
        return detection_examples(dense, slim, dataset, self.data.root, folder)

    def evaluation_input(self, architecture: SSDArchitecture, dataset: DetectionSet) -> Tensor:
        """A picture of native size where pictures are not resized."""
        if architecture.resize:
            return example_input(architecture)
        return torch.zeros(1, 3, dataset.pictures[0].height, dataset.pictures[0].width)
