"""What can be exported: our own network files, and torchvision's trained networks."""

from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from torch import nn
from torchvision.models import get_model, get_model_weights, list_models
from torchvision.models.detection.ssd import SSD

from secateur.errors import ModelError
from secateur.models.cost import count_macs
from secateur.models.folding import fold_batch_norm
from secateur.models.network import Architecture, raw_network
from secateur.models.network_file import load_network, read_state, torchvision_weights
from secateur.runtimes.description import Description

TORCHVISION = "torchvision:"


@dataclass(frozen=True, slots=True)
class Source:
    """A network to export.

    Attributes:
        name: as the user named it, for messages.
        model: a torchvision SSD or a classifier, in evaluation mode, on the CPU.
        description: what it is.
        mean: of the input's channels, 0 to 1.
        std: likewise.
        architecture: None for a network that is not ours.
    """

    name: str
    model: nn.Module
    description: Description
    mean: tuple[float, ...]
    std: tuple[float, ...]
    architecture: Architecture | None = None


def load_source(name: str) -> Source:
    """Load a network file, or ``torchvision:`` and the name of trained weights.

    The batch norms of a network of ours are folded into its convolutions.

    Raises:
        ModelError: the file is missing or no network; torchvision has no such weights, or they
            are not an SSD's.
    """
    if name.startswith(TORCHVISION):
        return torchvision_source(name)
    file = load_network(Path(name))
    description = Description.of(file.architecture, provenance=file.provenance)
    model, architecture = fold_batch_norm(file.model, file.architecture)
    return Source(name, model, description, architecture.mean, architecture.std, architecture)


def torchvision_source(name: str) -> Source:
    """Load one of torchvision's trained SSDs, such as ``SSD300_VGG16_Weights.COCO_V1``."""
    weights = torchvision_weights(name)
    builders = list_models(module=torchvision.models.detection)
    builder = next((b for b in builders if isinstance(weights, get_model_weights(b))), None)
    classes = weights.meta["categories"]
    if builder is None:
        raise ModelError(f"{name}: are not the weights of an SSD; name those of an SSD")
    model = get_model(builder, weights=None, weights_backbone=None, num_classes=len(classes))
    if not isinstance(model, SSD):
        raise ModelError(f"{name}: are not the weights of an SSD; name those of an SSD")
    model.load_state_dict(read_state(name))
    return ssd_source(name, model.eval(), tuple(classes[1:]))


def ssd_source(name: str, model: SSD, classes: tuple[str, ...]) -> Source:
    """Take a torchvision SSD of whatever backbone.

    Args:
        name: for messages, and the file's provenance.
        model: in evaluation mode.
        classes: names, without the background.

    Raises:
        ModelError: it has another number of classes, or takes pictures of any shape but a square.
    """
    transform = model.transform
    sides = transform.fixed_size
    if sides is None or sides[0] != sides[1]:
        raise ModelError(f"{name}: takes pictures that are not resized to a square; none else is")
    known = model.head.classification_head.num_columns - 1
    if known != len(classes):
        raise ModelError(
            f"{name}: tells {known} classes apart, and {len(classes)} are named; name each, "
            "without the background"
        )
    description = Description(
        task="detector",
        outputs="objects",
        classes=classes,
        size=sides[0],
        resize=True,
        provenance={"source": name},
    )
    return Source(name, model, description, transform.image_mean, transform.image_std)


def source_macs(source: Source) -> int:
    """Count the MACs for one picture of the nominal size."""
    size = source.description.size
    return count_macs(raw_network(source.model), torch.zeros(1, 3, size, size))
