"""The protocol between a run and its task: detection or classification."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from secateur.config.data import Data, DetectionData
from secateur.config.evaluate import Evaluate
from secateur.config.train import Training
from secateur.distributed.rank import SINGLE, Rank
from secateur.tasks.classification.classifier import Classifier
from secateur.tasks.detection.detector import Detector
from secateur.tasks.distillation import Teacher
from secateur.training.loop import Batches


class Task(Protocol):
    """All that a run needs to train and measure one kind of network.

    A dataset is what ``data.source.read_split`` gives for the task's kind of data.
    """

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that ``measure`` can give; each states its protocol."""

    def check(self, dataset: Any, architecture: Any, split: str) -> None:
        """Refuse a split on which a network cannot be measured.

        Raises:
            DataError: the split has no object, or a picture that is too small.
        """

    def batches(
        self,
        dataset: Any,
        architecture: Any,
        settings: Training,
        seed: int,
        device: torch.device,
        done: int = 0,
        rank: Rank = SINGLE,
    ) -> Batches:
        """Augmented batches, one for each step of ``settings``; they depend on the seed alone.

        Args:
            dataset: the training split.
            architecture: of the network.
            settings: steps and batch size.
            seed: of the order of pictures and of the augmentation.
            device: where batches that are made in memory are given.
            done: number of batches to skip.
            rank: whose part of each batch is given.
        """

    def loss(self, architecture: Any, teacher: Teacher | None = None) -> Callable[..., Tensor]:
        """The loss as a function of a network and the content of a batch.

        Args:
            architecture: of the network.
            teacher: whose predictions the network also learns; None for none.
        """

    def predictions(
        self, model: Any, architecture: Any, dataset: Any, *, advance: Callable[[int], None] = ...
    ) -> Any:
        """The network's predictions for all pictures, on the CPU.

        Args:
            model: runs on its device, where it stays.
            architecture: of the network.
            dataset: the pictures.
            advance: called with the number of pictures of each batch when it is done.
        """

    def measure(self, predictions: Any, dataset: Any, metrics: tuple[str, ...]) -> dict[str, float]:
        """The named metrics, in percent."""

    def by_class(self, predictions: Any, dataset: Any) -> dict[str, Any]:
        """Accuracy by class, as the content of a ``run.records.ByClassRecord``."""

    def to_tensors(self, predictions: Any) -> dict[str, Tensor]:
        """The predictions as tensors of a file."""

    def from_tensors(self, tensors: Mapping[str, Tensor], dataset: Any) -> Any:
        """Invert ``to_tensors``; KeyError or ValueError if they do not fit the dataset."""

    def joined(self, predictions: Sequence[Any]) -> Any:
        """The predictions for a dataset, from those for each of its pictures in order."""

    def examples(self, dense: Any, slim: Any, dataset: Any, folder: Path) -> dict[str, Any]:
        """Choose pictures that compare two networks, and copy them.

        Args:
            dense: predictions of the dense network.
            slim: predictions of the slim network.
            dataset: the pictures.
            folder: where copies are written.

        Returns:
            The content of a ``run.records.ExamplesRecord``'s ``examples``.

        Raises:
            DataError: a picture can no longer be read.
        """

    def evaluation_input(self, architecture: Any, dataset: Any) -> Tensor:
        """An input of the shape of evaluation, (1, 3, H, W)."""


def task_of(data: Data, evaluate: Evaluate) -> Task:
    """Give the task of a recipe's kind of data."""
    if isinstance(data, DetectionData):
        return Detector(data, evaluate)
    return Classifier(data, evaluate)
