"""A network in torch together with its header: what is exported, measured and run."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
import torchvision
from torch import nn
from torchvision.models import get_model, get_model_weights, list_models
from torchvision.models.detection.ssd import SSD

from secateur.errors import ModelError
from secateur.files.arguments import checked
from secateur.models.architecture import Architecture
from secateur.models.cost import count_macs
from secateur.models.network import raw_network
from secateur.models.network_file import NetworkFile, load_network
from secateur.models.weights import read_state, torchvision_weights
from secateur.runtimes.header import ExportHeader

TORCHVISION = "torchvision:"


@dataclass(frozen=True, slots=True)
class TorchNetwork:
    """A detector or classifier in torch.

    Attributes:
        name: the path or name that the user gave; named in errors.
        model: a torchvision SSD or a classifier, in evaluation mode, on the CPU.
        header: its task, its classes and the pictures it takes.
        mean: of the input channels, 0 to 1.
        std: of the input channels, 0 to 1.
        architecture: None if secateur did not build the network.
    """

    name: str
    model: nn.Module
    header: ExportHeader
    mean: tuple[float, ...]
    std: tuple[float, ...]
    architecture: Architecture | None = None

    @classmethod
    @checked
    def load(cls, name: str | os.PathLike[str]) -> Self:
        """Load a network file, or ``torchvision:`` and the name of an SSD's trained weights.

        Raises:
            ModelError: the file is missing or not a network; torchvision has no such weights, or
                they are not an SSD's.
        """
        name = os.fspath(name)
        if name.startswith(TORCHVISION):
            return cls._from_torchvision(name)
        return cls.from_file(name, load_network(Path(name)))

    @classmethod
    def from_file(cls, name: str, file: NetworkFile) -> Self:
        """Take the network of a loaded network file."""
        architecture = file.architecture
        header = ExportHeader.of(architecture, file.provenance)
        return cls(name, file.model, header, architecture.mean, architecture.std, architecture)

    @classmethod
    @checked
    def from_ssd(cls, name: str, model: SSD, classes: tuple[str, ...]) -> Self:
        """Take a torchvision SSD with any backbone.

        Args:
            name: for errors and the exported file's provenance.
            model: in evaluation mode.
            classes: names, without the background.

        Raises:
            ModelError: the number of classes differs, or the input is not resized to a square.
        """
        sides = model.transform.fixed_size
        if sides is None or sides[0] != sides[1]:
            raise ModelError(
                f"{name}: does not resize its input to a square; give an SSD that does"
            )
        known = model.head.classification_head.num_columns - 1
        if known != len(classes):
            raise ModelError(
                f"{name}: has {known} classes, but {len(classes)} are named; name every class "
                "except the background"
            )
        header = ExportHeader(
            task="detector",
            outputs="objects",
            classes=classes,
            size=sides[0],
            resize=True,
            provenance={"source": name},
        )
        return cls(name, model, header, model.transform.image_mean, model.transform.image_std)

    @classmethod
    def _from_torchvision(cls, name: str) -> Self:
        weights = torchvision_weights(name)
        builders = list_models(module=torchvision.models.detection)
        builder = next((b for b in builders if isinstance(weights, get_model_weights(b))), None)
        model, classes = None, weights.meta["categories"]
        if builder is not None:
            model = get_model(
                builder, weights=None, weights_backbone=None, num_classes=len(classes)
            )
        if not isinstance(model, SSD):
            raise ModelError(f"{name}: not the weights of an SSD; name those of an SSD")
        model.load_state_dict(read_state(name))
        return cls.from_ssd(name, model.eval(), tuple(classes[1:]))

    def macs(self) -> int:
        """Count the multiply-adds for one picture of the nominal size."""
        return count_macs(
            raw_network(self.model), torch.zeros(1, 3, self.header.size, self.header.size)
        )
