"""Detection as a task of a run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
from secateur.data.picture_cache import PictureCache
from secateur.data.transforms.augmentation import NativeCrops, SSDAugmentation, Transform
from secateur.distributed.rank import SINGLE, Rank
from secateur.errors import DataError
from secateur.models.modes import evaluating
from secateur.models.network import example_input
from secateur.models.ssd import SSDArchitecture, least_side
from secateur.tasks.detection.accuracy import METRICS, accuracy_by_class, measure_accuracy
from secateur.tasks.detection.detections import Detections, join_detections, split_detections
from secateur.tasks.detection.examples import detection_examples
from secateur.tasks.detection.loss import ssd_loss
from secateur.tasks.detection.prediction import (
    check_size,
    detect,
    detect_on_disk,
    set_thresholds,
)
from secateur.tasks.distillation import Teacher
from secateur.training.loop import Batches


@dataclass(frozen=True, slots=True)
class Detector:
    """Detects objects; ``tasks.task.Task`` documents the methods."""

    data: DetectionData
    evaluate: Evaluate
    cache: PictureCache = field(default_factory=PictureCache, compare=False, repr=False)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Average precision by each protocol."""
        return METRICS

    def check(self, dataset: DetectionSet, architecture: SSDArchitecture, split: str) -> None:
        """Refuse a split without an object that counts, or with a picture that is too small."""
        if all(picture.difficult.all() for picture in dataset.pictures):
            cure = "set data.test: null" if split == "test" else "raise data.validation"
            raise DataError(
                f"{self.data.root}: no object is annotated in the pictures for {split}, so no "
                f"metric can be computed; annotate some, or {cure}"
            )
        _check_sizes(dataset, architecture)

    def batches(
        self,
        dataset: DetectionSet,
        architecture: SSDArchitecture,
        settings: Training,
        seed: int,
        device: torch.device,  # noqa: ARG002 # batches are made on the CPU by worker processes
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
        architecture: SSDArchitecture,  # noqa: ARG002 # the network holds mean and std
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
        advance: Callable[[int], None] = lambda _count: None,
    ) -> list[Detections]:
        """The detections in each picture, in pixels of the picture."""
        _check_sizes(dataset, architecture)
        set_thresholds(model, self.evaluate)
        device = next(model.parameters()).device
        size = architecture.size if architecture.resize else None
        with evaluating(model):
            return detect_on_disk(
                lambda pixels: detect(model, pixels.to(device)),
                dataset.pictures,
                size,
                self.evaluate.batch_size,
                decode=self.cache.decode,
                advance=advance,
            )

    def measure(
        self, predictions: list[Detections], dataset: DetectionSet, metrics: tuple[str, ...]
    ) -> dict[str, float]:
        """Average precision over all classes."""
        return measure_accuracy(predictions, dataset, metrics)

    def by_class(self, predictions: list[Detections], dataset: DetectionSet) -> dict[str, Any]:
        """Average precision, and ``curves`` of precision and recall."""
        return accuracy_by_class(predictions, dataset)

    def to_tensors(self, predictions: list[Detections]) -> dict[str, Tensor]:
        """The detections of all pictures, concatenated, and the picture of each."""
        return join_detections(predictions)

    def from_tensors(
        self, tensors: Mapping[str, Tensor], dataset: DetectionSet
    ) -> list[Detections]:
        """The detections of each picture."""
        return split_detections(tensors, len(dataset), len(dataset.classes))

    def joined(self, predictions: Sequence[Detections]) -> list[Detections]:
        """The detections of all pictures."""
        return list(predictions)

    def examples(
        self, dense: list[Detections], slim: list[Detections], dataset: DetectionSet, folder: Path
    ) -> dict[str, Any]:
        """The pictures with slim's worst, best and typical detections and largest losses."""
        return detection_examples(dense, slim, dataset, self.data.root, folder)

    def evaluation_input(self, architecture: SSDArchitecture, dataset: DetectionSet) -> Tensor:
        """A picture of the network's size, or of native size."""
        if architecture.resize:
            return example_input(architecture)
        return torch.zeros(1, 3, dataset.pictures[0].height, dataset.pictures[0].width)


def training_transform(data: DetectionData, size: int) -> Transform:
    """Give the augmentation that a recipe names, for inputs of ``size`` × ``size`` pixels."""
    a = data.augmentation
    if data.resize:
        return SSDAugmentation(
            size, photometric=a.photometric, expand=a.expand, crop=a.crop, flip=a.flip
        )
    return NativeCrops(size, photometric=a.photometric, zoom=a.zoom, flip=a.flip)


def _check_sizes(dataset: DetectionSet, architecture: SSDArchitecture) -> None:
    if not architecture.resize:
        least = least_side(architecture.network, architecture.detection_layers)
        for picture in dataset.pictures:
            check_size(picture.height, picture.width, least, str(picture.path))
