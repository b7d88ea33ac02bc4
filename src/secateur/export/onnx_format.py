"""The format ``onnx``, in single and half precision, or quantised by ONNX Runtime."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from secateur.export.graph import Graph, export_graph
from secateur.export.nms import onnx_translations
from secateur.files.optional import require
from secateur.inference.torch_network import TorchNetwork
from secateur.runtimes.header import KEY, ExportHeader
from secateur.runtimes.onnx_file import write_onnx

# Normalisation, decoding and NMS keep single precision: they cost little, and 256 values are too
# few for the corner of a box.
_QUANTISED = ("Conv", "Gemm", "MatMul", "MaxPool")


def write_onnx_file(
    network: TorchNetwork, path: Path, header: ExportHeader, pictures: Sequence[Tensor] = ()
) -> None:
    """Write an ONNX file; see ``table.write_file``."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "traced.onnx")
        graph = trace_as_onnx(network, file, header, half=header.precision == "fp16")
        if header.precision == "int8":
            file = _quantise(file, [pixels.numpy() for pixels in pictures])
        finish_onnx(file, path, header.model_dump_json(), graph.inner)


def trace_as_onnx(network: TorchNetwork, path: Path, header: ExportHeader, *, half: bool) -> Graph:
    """Write what an exported file computes as ONNX, without a header.

    Args:
        network: not changed.
        path: of the file.
        header: says what the file computes, and for which pictures.
        half: compute in half precision.

    Returns:
        What was traced.

    Raises:
        ExportError: torch cannot trace it.
    """
    graph = export_graph(network, header, half)
    example, dynamic = _example(header)
    write_onnx(path, graph, graph.outputs, example, dynamic, onnx_translations())
    return graph


def _example(header: ExportHeader) -> tuple[Tensor, dict[int, Any]]:
    """Pictures to trace with, and their dynamic dimensions."""
    dynamic: dict[int, Any] = {} if header.batch else {0: torch.export.Dim.DYNAMIC}
    height, width = header.shape or (0, 0)
    if header.shape is None:
        # Dynamic dimensions must differ from each other and from 1, or the trace would fix them.
        height = max(header.size, header.least_side)
        width = height + 40
        dynamic |= {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    return torch.zeros(header.batch or 2, 3, height, width, dtype=torch.uint8), dynamic


def finish_onnx(source: Path, path: Path, header: str, inner: int = 0) -> None:
    """Add the header and write the file; the last ``inner`` outputs become inner tensors."""
    onnx = require("onnx")
    model = onnx.load(source)
    onnx.helper.set_model_props(model, {KEY: header})
    model.producer_name = "secateur"
    for _ in range(inner):
        model.graph.value_info.append(model.graph.output.pop())
    for node in model.graph.node:
        # torch stores source lines here, with paths of this machine.
        del node.metadata_props[:]
        node.doc_string = ""
    onnx.save(model, path)


def _quantise(source: Path, pictures: Sequence[NDArray[np.uint8]]) -> Path:
    """Quantise an ONNX file statically with ONNX Runtime's quantiser.

    Weights have one scale per filter, activations one per tensor, from the minimum and maximum
    over the calibration pictures, (N, 3, H, W) each.

    Returns:
        The quantised file, in the folder of ``source``.
    """
    quantization = require("onnxruntime.quantization")
    shape_inference = require("onnxruntime.quantization.shape_inference")
    batches: Iterator[dict[str, NDArray[np.uint8]]] = iter([{"pictures": p} for p in pictures])

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            return next(batches, None)

    prepared, quantised = source.with_name("prepared.onnx"), source.with_name("int8.onnx")
    # The quantiser needs shapes only: batch norms are already folded.
    shape_inference.quant_pre_process(
        str(source), str(prepared), skip_optimization=True, skip_symbolic_shape=True
    )
    quantization.quantize_static(
        prepared,
        quantised,
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        op_types_to_quantize=list(_QUANTISED),
    )
    return quantised
