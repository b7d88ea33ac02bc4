"""The predictor: a network of any format that finds objects or classifies pictures."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection.ssd import SSD
from torchvision.transforms.v2.functional import resize

from secateur.config.evaluate import Evaluate
from secateur.data.detection_set import AnnotatedPicture
from secateur.errors import DataError, ModelError
from secateur.files.arguments import checked
from secateur.inference.torch_network import TorchNetwork
from secateur.runtimes.exported_file import ExportedFile
from secateur.runtimes.header import ExportHeader
from secateur.runtimes.table import open_file
from secateur.tasks.classification.prediction import class_scores
from secateur.tasks.detection.detections import Detections, rescale_detections
from secateur.tasks.detection.outputs import RawOutputs
from secateur.tasks.detection.postprocessing import postprocess
from secateur.tasks.detection.prediction import (
    check_size,
    detect,
    detect_on_disk,
    postprocess_settings,
    set_thresholds,
)


@dataclass(frozen=True, slots=True)
class Predictor:
    """A network that is ready to run; the same for every format and runtime.

    Attributes:
        path: of its file, named in errors.
        header: its task, its classes and the pictures it takes.
        run: maps pictures (N, 3, H, W) uint8 to what ``detect`` or ``classify`` returns.
    """

    path: Path
    header: ExportHeader
    run: Callable[[Tensor], Any]

    @checked
    def detect(self, pictures: Tensor) -> list[Detections]:
        """Find the objects of each picture of a batch.

        Args:
            pictures: (N, 3, H, W) uint8, of a size that the network takes.

        Raises:
            ModelError: the network is a classifier.
        """
        self._check_task("detector", "finds no boxes")
        found: list[Detections] = self.run(pictures)
        return found

    @checked
    def classify(self, pictures: Tensor) -> Tensor:
        """Return the probability of each class for each picture, (N, K).

        Args:
            pictures: (N, 3, S, S) uint8, of the network's size.

        Raises:
            ModelError: the network is a detector.
        """
        self._check_task("classifier", "gives no class probabilities")
        scores: Tensor = self.run(pictures)
        return scores

    @checked
    def detect_picture(self, pixels: Tensor, name: str = "the picture") -> Detections:
        """Find the objects of one picture in memory; boxes are in its own pixels.

        Args:
            pixels: (3, H, W) uint8.
            name: of the picture, for errors.

        Raises:
            ModelError: the network is a classifier.
            DataError: the network does not take pictures of this size.
        """
        batch = pixels[None]
        if self.header.resize:
            batch = resize(batch, [self.header.size, self.header.size], antialias=True)
        else:
            self._check_size(pixels.shape[1], pixels.shape[2], name)
        return rescale_detections(self.detect(batch)[0], batch.shape[-2:], pixels.shape[-2:])

    @checked
    def detect_files(
        self,
        pictures: Sequence[AnnotatedPicture],
        batch_size: int,
        *,
        advance: Callable[[int], None] = lambda _count: None,
    ) -> list[Detections]:
        """Find the objects of pictures on disk; boxes are in each picture's own pixels.

        Args:
            pictures: on disk; their annotations are not used.
            batch_size: pictures per batch.
            advance: called with the number of pictures done since the last call.

        Raises:
            ModelError: the network is a classifier.
            DataError: a picture cannot be read, or the network does not take its size.
        """
        size = self.header.size if self.header.resize else None
        if size is None:
            for picture in pictures:
                self._check_size(picture.height, picture.width, str(picture.path))
        return detect_on_disk(self.detect, pictures, size, batch_size, advance=advance)

    def _check_task(self, wanted: str, lacks: str) -> None:
        if self.header.task != wanted:
            raise ModelError(f"{self.path}: is a {self.header.task} and {lacks}; give a {wanted}")

    def _check_size(self, height: int, width: int, name: str) -> None:
        check_size(height, width, self.header.least_side, name)
        if self.header.shape not in (None, (height, width)):
            own_height, own_width = self.header.shape
            raise DataError(
                f"{name}: is {width} by {height} pixels, but {self.path} takes {own_width} by "
                f"{own_height} only; export it without --shape"
            )


@checked
def open_predictor(
    path: str | os.PathLike[str],
    runtime: str | None = None,
    *,
    settings: Evaluate | None = None,
    threads: int | None = None,
) -> Predictor:
    """Open a network file of any format.

    Args:
        path: ``.safetensors``, or an exported file such as ``.onnx`` or ``.xml``.
        runtime: a name from ``RUNTIMES``; None for the default of the format.
        settings: score threshold and NMS, of a network file or a raw export; other exported files
            contain theirs.
        threads: CPU threads of an exported file; None for one per core.

    Raises:
        ModelError: the file is missing, unreadable or not a network, or the runtime does not read
            its format.
        MissingExtraError: the runtime is not installed.
    """
    path = Path(path)
    return predictor_of(path, load_file(path, runtime, threads), settings or Evaluate())


def load_file(
    path: Path, runtime: str | None = None, threads: int | None = None
) -> TorchNetwork | ExportedFile:
    """Load a network file of any format; arguments and errors as for ``open_predictor``."""
    loaded = open_file(path, runtime, threads)
    if isinstance(loaded, ExportedFile):
        return loaded
    return TorchNetwork.from_file(str(path), loaded)


def predictor_of(
    path: Path,
    loaded: TorchNetwork | ExportedFile,
    settings: Evaluate,
    *,
    device: torch.device | None = None,
) -> Predictor:
    """Make a predictor of a loaded network.

    Args:
        path: of its file, named in errors.
        loaded: the network. The thresholds of an SSD in torch are set to those of ``settings``.
        settings: score threshold, NMS and batch size.
        device: where a network in torch runs; None for the accelerator, if there is one.
    """
    header = loaded.header
    if isinstance(loaded, TorchNetwork):
        return Predictor(path, header, _torch_run(loaded, settings, device or best_device()))
    run = _detector_run if header.task == "detector" else _classifier_run
    return Predictor(path, header, partial(run, loaded, settings))


def _torch_run(
    network: TorchNetwork, settings: Evaluate, device: torch.device
) -> Callable[[Tensor], Any]:
    model = network.model.to(device)
    if isinstance(model, SSD):
        set_thresholds(model, settings)
        return lambda pictures: detect(model, pictures.to(device))
    return partial(
        class_scores,
        model,
        mean=network.mean,
        std=network.std,
        batch_size=settings.batch_size,
    )


def _in_batches(file: ExportedFile, pictures: Tensor) -> list[list[Tensor]]:
    """Outputs for each batch of the size that the file takes."""
    batches = torch.split(pictures, file.header.batch or len(pictures))
    return [
        [torch.from_numpy(output) for output in file.run(batch.contiguous().numpy())]
        for batch in batches
    ]


def _detector_run(file: ExportedFile, settings: Evaluate, pictures: Tensor) -> list[Detections]:
    found = []
    for outputs in _in_batches(file, pictures):
        if file.header.outputs == "raw":
            size = (pictures.shape[2], pictures.shape[3])
            found += postprocess(RawOutputs(*outputs), size, postprocess_settings(settings))
            continue
        for boxes, labels, scores in zip(*outputs, strict=True):
            objects = labels > 0  # the remaining rows are padding
            found.append(Detections(boxes[objects], labels[objects], scores[objects]))
    return found


def _classifier_run(file: ExportedFile, _settings: Evaluate, pictures: Tensor) -> Tensor:
    scores = torch.cat([outputs[0] for outputs in _in_batches(file, pictures)])
    return scores.softmax(1) if file.header.outputs == "raw" else scores


def best_device() -> torch.device:
    """The accelerator, if there is one."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return accelerator or torch.device("cpu")
