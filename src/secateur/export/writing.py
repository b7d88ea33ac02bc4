"""A network written in the format and precision that are wanted."""

import copy
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.ssd import SSD

from secateur.export.graph import Classifier, Detector, Graph, RawClassifier, RawDetector
from secateur.export.int8 import quantise_onnx, quantise_openvino
from secateur.export.openvino_file import read_onnx_as_openvino, write_openvino
from secateur.export.source import Source
from secateur.export.suppression import onnx_translations
from secateur.export.target import Target
from secateur.models.network_file import save_network
from secateur.runtimes.description import Description
from secateur.runtimes.onnx_file import finish_onnx, write_onnx

# Pictures that 8 bits are calibrated on.
CALIBRATION = 100


def write_file(
    source: Source,
    path: Path,
    target: Target,
    description: Description,
    batches: Sequence[Tensor] = (),
) -> None:
    """Write a network as it is wanted, and check nothing.

    Args:
        source: the network.
        path: of the file; an OpenVINO file's weights go beside it.
        target: its format and precision.
        description: goes into its metadata; says which pictures it takes and what it gives.
        batches: pictures, (1, 3, H, W) uint8 each, to calibrate 8 bits on.

    Raises:
        ExportError: torch cannot trace the network.
        MissingExtraError: the format needs a package that is not installed.
    """
    model = copy.deepcopy(source.model).cpu()  # wherever it was tried
    half = target.precision == "fp16"
    if target.format == "torch":
        save_network(
            path,
            model.half() if half else model,
            source.architecture,
            description.provenance,
        )
        return
    with tempfile.TemporaryDirectory() as folder:
        single, eight = Path(folder, "single.onnx"), Path(folder, "eight.onnx")
        # OpenVINO halves the weights itself, and computes in what the processor does best.
        graph = _graph(source, model, description, half and target.format == "onnx")
        example, free = _example(description)
        write_onnx(single, graph, graph.outputs, example, free, onnx_translations())
        calibration = [pixels.numpy() for pixels in batches[:CALIBRATION]]
        if target.format == "openvino":
            network = read_onnx_as_openvino(single)
            if target.precision == "int8":
                network = quantise_openvino(network, calibration)
            write_openvino(path, network, description, graph.inner)
            return
        if target.precision == "int8":
            quantise_onnx(single, eight, calibration)
            single = eight
        finish_onnx(single, path, description, graph.inner)


def _graph(source: Source, model: nn.Module, description: Description, half: bool) -> Graph:
    raw = description.outputs == "raw"
    if isinstance(model, SSD):
        return (RawDetector if raw else Detector)(model, description.shape, half)
    return (RawClassifier if raw else Classifier)(model, source.mean, source.std, half)


def _example(description: Description) -> tuple[Tensor, dict[int, Any]]:
    """Pictures to trace with, and which of their dimensions are free."""
    free = torch.export.Dim.DYNAMIC
    dims: dict[int, Any] = {} if description.batch else {0: free}
    # What is free must differ, and must not be 1, or the trace would take it for fixed or equal.
    height, width = description.shape or (0, 0)
    if description.shape is None:
        height = max(description.size, description.least_side)
        width = height + 40
        dims |= {2: free, 3: free}
    return torch.zeros(description.batch or 2, 3, height, width, dtype=torch.uint8), dims
