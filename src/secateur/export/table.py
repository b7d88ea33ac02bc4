"""EXPORTS: the formats that a network can be exported to, by name.

To add a format, write a module with a writer and add a line here; for its verification, add a
runtime that reads it to ``secateur.runtimes.table``. The command line's help reads this table, so
writers are named by "module:function" and imported on first use.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # these import torch
    from torch import Tensor

    from secateur.inference.torch_network import TorchNetwork
    from secateur.runtimes.header import ExportHeader


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How much an export's predictions may differ from its network's.

    Attributes:
        pixels: for each side of a box.
        score: for a confidence or a class probability.
        share: smallest share of the objects that must have a counterpart, 0 to 1.
    """

    pixels: float
    score: float
    share: float


# How each precision is verified: by counterparts within a tolerance, or, if None, by accuracy on
# annotated pictures.
PRECISIONS: dict[str, Tolerance | None] = {
    "fp32": Tolerance(pixels=0.5, score=1e-3, share=0.998),
    "fp16": Tolerance(pixels=2.0, score=2e-2, share=0.99),
    "int8": None,
}


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """A file format.

    Attributes:
        description: one line for help texts and docs.
        suffix: of the file.
        writer: maps a ``TorchNetwork``, a path, an ``ExportHeader`` and calibration pictures to
            the file.
        precisions: those it can have, each with its verification.
        traced: whether the file contains the traced computation, with decoding and NMS if wanted,
            for the header's shape and batch; otherwise it contains the weights alone.
    """

    description: str
    suffix: str
    writer: str
    precisions: Mapping[str, Tolerance | None]
    traced: bool = True


EXPORTS: dict[str, ExportFormat] = {
    "onnx": ExportFormat(
        "for ONNX Runtime, OpenVINO, TensorRT and others; standard operators of opset 18 only",
        ".onnx",
        "secateur.export.onnx_format:write_onnx_file",
        PRECISIONS,
    ),
    "openvino": ExportFormat(
        "for OpenVINO; a .bin file with the weights is written next to the .xml",
        ".xml",
        "secateur.export.openvino_format:write_openvino_file",
        PRECISIONS,
    ),
    "torch": ExportFormat(
        "a network file of this package, with batch norms folded into the convolutions",
        ".safetensors",
        "secateur.export.torch_format:write_torch_file",
        {name: PRECISIONS[name] for name in ("fp32", "fp16")},
        traced=False,
    ),
}


def write_file(
    network: "TorchNetwork",
    path: Path,
    file_format: str,
    header: "ExportHeader",
    pictures: "Sequence[Tensor]" = (),
) -> None:
    """Write a network in a format, without verification.

    Args:
        network: not changed.
        path: of the file.
        file_format: a name from EXPORTS.
        header: says what the file contains; it is stored in it.
        pictures: (1, 3, H, W) uint8 each, to calibrate int8 on.

    Raises:
        ExportError: torch cannot trace the network.
        MissingExtraError: the format needs a package that is not installed.
    """
    writer: Callable[[TorchNetwork, Path, ExportHeader, Sequence[Tensor]], None]
    writer = resolve_name(EXPORTS[file_format].writer)
    writer(network, path, header, pictures)
