"""A network file of any format, opened to find objects or to tell classes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models.detection.ssd import SSD
from torchvision.transforms.v2.functional import resize

from secateur.config.evaluate import Evaluate
from secateur.data.detection_set import AnnotatedPicture
from secateur.errors import DataError, ModelError
from secateur.models.network_file import NetworkFile, load_network
from secateur.runtimes.description import Description
from secateur.runtimes.onnx_runtime import open_onnx
from secateur.runtimes.openvino_runtime import open_openvino
from secateur.runtimes.session import Session
from secateur.runtimes.table import Runtime
from secateur.tasks.classification.classification import scores_on
from secateur.tasks.detection.average_precision import Detections
from secateur.tasks.detection.detection import (
    check_size,
    detect,
    find_in_batches,
    scaled,
    set_thresholds,
)
from secateur.tasks.detection.postprocessing import postprocess
from secateur.tasks.device import best_device


@dataclass(frozen=True, slots=True)
class OpenNetwork:
    """A network that is ready to run; the same for every format.

    Attributes:
        path: of its file, named in errors.
        description: what it is, and which pictures it takes.
        find: of a detector; maps pictures (N, 3, H, W) uint8 to the objects of each.
        scores: of a classifier; maps pictures (N, 3, S, S) uint8 to the probability of each
            class, (N, K).
    """

    path: Path
    description: Description
    find: Callable[[Tensor], list[Detections]] | None = None
    scores: Callable[[Tensor], Tensor] | None = None


def open_network(
    path: Path,
    runtime: Runtime | None = None,
    *,
    settings: Evaluate | None = None,
    threads: int | None = None,
) -> OpenNetwork:
    """Open a network file of secateur's own format, ONNX or OpenVINO.

    Args:
        path: ``.safetensors``, ``.onnx`` or ``.xml``.
        runtime: what runs it; None for torch, ONNX Runtime and OpenVINO, each with its own
            format. OpenVINO reads ONNX as well.
        settings: scores and NMS of a network that has none inside, as an exported file has.
        threads: processor threads of an exported file; None for one a core.

    Raises:
        ModelError: the file is missing, unreadable or foreign.
        MissingExtraError: the runtime is not installed.
    """
    return made_ready(path, load_any(path, runtime, threads), settings or Evaluate())


def load_any(
    path: Path, runtime: Runtime | None = None, threads: int | None = None
) -> NetworkFile | Session:
    """Load a network file of any format; arguments and errors as for ``open_network``."""
    if path.suffix not in (".onnx", ".xml"):
        return load_network(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such network file; give the path of an .onnx or .xml file")
    runtime = runtime or ("onnxruntime" if path.suffix == ".onnx" else "openvino")
    if runtime == "openvino":
        return open_openvino(path, threads)
    if runtime == "torch" or path.suffix == ".xml":
        readers = "OpenVINO does" if path.suffix == ".xml" else "onnxruntime and openvino do"
        raise ModelError(f"{path}: {runtime} does not read this format; {readers}")
    return open_onnx(path, threads)


def description_of(loaded: NetworkFile | Session) -> Description:
    """Say what a loaded file is."""
    if isinstance(loaded, Session):
        return loaded.description
    return Description.of(loaded.architecture, provenance=loaded.provenance)


def made_ready(path: Path, loaded: NetworkFile | Session, settings: Evaluate) -> OpenNetwork:
    """Open what ``load_any`` loaded; arguments and errors as for ``open_network``."""
    if isinstance(loaded, Session):
        return open_session(path, loaded, settings)
    architecture = loaded.architecture
    return open_model(
        path,
        loaded.model,
        description_of(loaded),
        architecture.mean,
        architecture.std,
        settings,
    )


def find_all(
    network: OpenNetwork,
    pictures: Sequence[AnnotatedPicture],
    batch_size: int,
    *,
    advance: Callable[[int], None] = lambda _count: None,
) -> list[Detections]:
    """Find the objects of pictures on disk; boxes are in their own pixels.

    Raises:
        ModelError: the network is a classifier.
        DataError: a picture cannot be read, or is not of a size that the network takes.
    """
    if network.find is None:
        raise ModelError(f"{network.path}: is a classifier and finds no boxes; give a detector")
    description = network.description
    if description.resize:
        size = description.size
    else:
        size = None
        for picture in pictures:
            _check_sides(network, (picture.height, picture.width), str(picture.path))
    return find_in_batches(network.find, pictures, size, batch_size, advance=advance)


def find_in_picture(network: OpenNetwork, pixels: Tensor, name: str = "the picture") -> Detections:
    """Find the objects of a picture in memory; boxes are in its own pixels.

    Args:
        network: a detector.
        pixels: (3, H, W) uint8.
        name: of the picture, for messages.

    Raises:
        ModelError: the network is a classifier.
        DataError: the picture is not of a size that the network takes.
    """
    if network.find is None:
        raise ModelError(f"{network.path}: is a classifier and finds no boxes; give a detector")
    description = network.description
    given = pixels[None]
    if description.resize:
        given = resize(given, [description.size, description.size], antialias=True)
    else:
        _check_sides(network, (pixels.shape[1], pixels.shape[2]), name)
    return scaled(network.find(given)[0], given.shape[-2:], pixels.shape[-2:])


def _check_sides(network: OpenNetwork, sides: tuple[int, int], name: str) -> None:
    """Refuse a picture of a height and width that the network does not take."""
    description = network.description
    check_size(*sides, description.least_side, name)
    if description.shape not in (None, sides):
        height, width = description.shape
        raise DataError(
            f"{name}: is {sides[1]} by {sides[0]} pixels, and {network.path} takes {width} by "
            f"{height} only; export it without --shape"
        )


def class_probabilities(network: OpenNetwork, pixels: Tensor) -> Tensor:
    """Give the probability of each class for each picture, (N, K).

    Args:
        network: a classifier.
        pixels: (N, 3, S, S) uint8, of the network's size.

    Raises:
        ModelError: the network is a detector.
    """
    if network.scores is None:
        raise ModelError(f"{network.path}: is a detector; give a classifier")
    return network.scores(pixels)


def open_model(
    path: Path,
    model: nn.Module,
    description: Description,
    mean: Sequence[float],
    std: Sequence[float],
    settings: Evaluate,
    *,
    device: torch.device | None = None,
) -> OpenNetwork:
    """Open a torch network.

    Args:
        path: of its file, named in errors.
        model: a torchvision SSD, whose thresholds are set to those of ``settings``, or a
            classifier.
        description: what it is.
        mean: of a classifier's input channels, 0 to 1.
        std: likewise.
        settings: scores, NMS and batch size.
        device: what runs it, and where a detector's predictions lie; None for the accelerator if
            there is one.
    """
    device = device or best_device()
    if isinstance(model, SSD):
        set_thresholds(model, settings)
        ssd: SSD = model.to(device)
        return OpenNetwork(
            path, description, find=lambda pictures: detect(ssd, pictures.to(device))
        )

    scores = partial(
        scores_on, device, model.to(device), mean=mean, std=std, batch_size=settings.batch_size
    )
    return OpenNetwork(path, description, scores=scores)


def open_session(path: Path, session: Session, settings: Evaluate) -> OpenNetwork:
    """Open a loaded export; what a raw one leaves out is done here.

    Args:
        path: of the file, named in errors.
        session: the file.
        settings: scores and NMS where the file has none inside.
    """
    description = session.description

    def in_batches(pictures: Tensor) -> list[list[Tensor]]:
        """What the file gives for each batch of the size that it takes."""
        batches = torch.split(pictures, description.batch or len(pictures))
        return [
            [torch.from_numpy(output) for output in session.run(batch.contiguous().numpy())]
            for batch in batches
        ]

    def find(pictures: Tensor) -> list[Detections]:
        found = []
        for batch in in_batches(pictures):
            if description.outputs == "raw":
                logits, offsets, boxes = batch
                found += postprocess(
                    logits,
                    offsets,
                    boxes,
                    (pictures.shape[2], pictures.shape[3]),
                    score_thresh=settings.score,
                    nms_thresh=settings.nms,
                    candidates=settings.candidates,
                    detections=settings.boxes,
                )
                continue
            for boxes, labels, scores in zip(*batch, strict=True):
                objects = labels > 0
                found.append(Detections(boxes[objects], labels[objects], scores[objects]))
        return found

    def class_scores_of(pictures: Tensor) -> Tensor:
        scores = torch.cat([batch[0] for batch in in_batches(pictures)])
        return scores.softmax(1) if description.outputs == "raw" else scores

    if description.task == "detector":
        return OpenNetwork(path, description, find=find)
    return OpenNetwork(path, description, scores=class_scores_of)
