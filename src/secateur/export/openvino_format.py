"""The format ``openvino``, in single and half precision, or quantised by NNCF."""

import io
import logging
import os
import tempfile
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from secateur.export.onnx_format import trace_as_onnx
from secateur.files.optional import quiet, require
from secateur.inference.torch_network import TorchNetwork
from secateur.runtimes.header import KEY, ExportHeader
from secateur.runtimes.openvino_runtime import openvino_core

_WEIGHTED = ("Convolution", "GroupConvolution", "MatMul")


def write_openvino_file(
    network: TorchNetwork, path: Path, header: ExportHeader, pictures: Sequence[Tensor] = ()
) -> None:
    """Write an ``.xml`` and, next to it, a ``.bin`` with the weights; see ``table.write_file``.

    With fp16, OpenVINO stores half-precision weights and chooses the precision of the arithmetic.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "traced.onnx")
        graph = trace_as_onnx(network, file, header, half=False)
        # Not openvino.convert_model, which sends usage statistics.
        model = openvino_core().read_model(file)
        if header.precision == "int8":
            model = _quantise(model, [pixels.numpy() for pixels in pictures])
        results = model.get_results()
        for result in results[len(results) - graph.inner :]:
            model.remove_result(result)
        save_openvino(model, path, header.model_dump_json(), half=header.precision == "fp16")


def finish_openvino(source: Path, path: Path, header: str) -> None:
    """Convert an ONNX file and add the header."""
    save_openvino(openvino_core().read_model(source), path, header, half=False)


def save_openvino(model: Any, path: Path, header: str, *, half: bool) -> None:
    """Add the header to an OpenVINO model and write both files, with weights in half precision."""
    model.set_rt_info(header, KEY)
    require("openvino").save_model(model, path, compress_to_fp16=half)


def _quantise(model: Any, pictures: Sequence[NDArray[np.uint8]]) -> Any:
    """Quantise an OpenVINO model statically with NNCF; scales as for ONNX."""
    os.environ.setdefault("NNCF_CI", "1")  # without it, NNCF sends usage statistics
    with quiet("torch.utils.cpp_extension"):  # it warns if there is no CUDA
        nncf = require("nncf")
    ranges = require("nncf.quantization.range_estimator").RangeEstimatorParametersSet
    nncf.set_log_level(logging.ERROR)
    # NNCF's progress bar would overwrite ours, and its warnings need no action.
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return nncf.quantize(
            model,
            nncf.Dataset(list(pictures)),
            subset_size=len(pictures),
            # The default averages the maxima over pictures. A detector's large activations come
            # from objects, which are rare, so the maximum over all pictures is taken.
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                activations_range_estimator_params=ranges.MINMAX
            ),
            ignored_scope=nncf.IgnoredScope(names=_after_the_layers(model), validate=False),
        )


def _after_the_layers(model: Any) -> list[str]:
    """Names of the operators on which no convolution or linear layer depends."""
    operators = model.get_ordered_ops()
    before: set[str] = set()
    for operator in reversed(operators):
        name = operator.get_friendly_name()
        if operator.get_type_name() in _WEIGHTED or name in before:
            before.add(name)
            before |= {
                value.get_source_output().get_node().get_friendly_name()
                for value in operator.inputs()
            }
    skipped = ("Constant", "Parameter", "Result")
    return [
        operator.get_friendly_name()
        for operator in operators
        if operator.get_friendly_name() not in before and operator.get_type_name() not in skipped
    ]
