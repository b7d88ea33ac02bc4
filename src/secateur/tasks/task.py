"""What a kind of network is to a run: how it learns from pictures, and how it is measured."""

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
    """A run's steps know networks and pictures by this alone.

    A dataset is what ``data.source.read_split`` gives for the task's kind of data.
    """

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of all that ``measure`` can give; each says its protocol."""

    def check(self, dataset: Any, architecture: Any, split: str) -> None:
        """Refuse pictures by which no network of this kind can be measured.

        Raises:
            DataError: there are such; ``split`` is what they are called.
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
        """As many augmented batches as ``settings`` has steps; the same for the same seed.

        The first ``done`` of them are left out, and of each batch all but this rank's part.
        """

    def loss(self, architecture: Any, teacher: Teacher | None = None) -> Callable[..., Tensor]:
        """The loss of a network and what a batch holds; a teacher's predictions count beside labels."""

    def predictions(
        self,
        model: Any,
        architecture: Any,
        dataset: Any,
        *,
        device: torch.device | None = None,
        advance: Callable[[int], None] = ...,
    ) -> Any:
        """What the network says of every picture, which all below go by; it ends on the CPU."""

    def measure(self, predictions: Any, dataset: Any, metrics: tuple[str, ...]) -> dict[str, float]:
        """The metrics named, in percent."""

    def by_class(self, predictions: Any, dataset: Any) -> dict[str, Any]:
        """Accuracy by class in JSON's terms, under ``by_class``, and what else there is of it."""

    def to_tensors(self, predictions: Any) -> dict[str, Tensor]:
        """The predictions as they are kept in a file."""

    def from_tensors(self, tensors: Mapping[str, Tensor], dataset: Any) -> Any:
        """The predictions again; KeyError or ValueError if they are not the dataset's."""

    def joined(self, predictions: Sequence[Any]) -> Any:
        """The predictions about a set, from those about each of its pictures, in their order."""

    def examples(self, dense: Any, slim: Any, dataset: Any, folder: Path) -> dict[str, Any]:
        """Choose pictures that show what the networks do, and copy them.

        Args:
            dense: predictions of the network before.
            slim: predictions of the network after.
            dataset: what they are about.
            folder: where the copies go.

        Returns:
            ``kind``, and ``pictures`` with the name of each one's ``file`` and all there is to
            show of it, in JSON's terms.

        Raises:
            DataError: a picture can no longer be read.
        """

    def evaluation_input(self, architecture: Any, dataset: Any) -> Tensor:
        """A picture as evaluation meets it, (1, 3, H, W)."""


def task_of(data: Data, evaluate: Evaluate) -> Task:
    """Give the task that a recipe's pictures are for."""
    if isinstance(data, DetectionData):
        return Detector(data, evaluate)
    return Classifier(data, evaluate)
