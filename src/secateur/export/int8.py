"""Static quantisation to 8 bits, calibrated on pictures.

Convolutions and linear layers, and what lies between them, compute in 8 bits. Normalisation,
decoding and NMS stay in single precision: they cost little, and a box's corner has more than 256
places.
"""

import io
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.files.optional import quiet, require

Pictures = Sequence[NDArray[np.uint8]]  # batches, (N, 3, H, W) each

_WEIGHTED_ONNX = ("Conv", "Gemm", "MatMul")
_WEIGHTED_OPENVINO = ("Convolution", "GroupConvolution", "MatMul")


def quantise_onnx(source: Path, path: Path, pictures: Pictures) -> None:
    """Write the 8-bit version of an ONNX file, by ONNX Runtime's own quantiser.

    Weights have a scale for each filter, activations one for each tensor, from the least and
    greatest values met.

    Args:
        source: the file in single precision.
        path: of the one to write, in a folder that may hold more for the time being.
        pictures: what to calibrate on.
    """
    quantization = require("onnxruntime.quantization")
    shape_inference = require("onnxruntime.quantization.shape_inference")
    batches: Iterator[dict[str, NDArray[np.uint8]]] = iter([{"pictures": p} for p in pictures])

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            return next(batches, None)

    # Shapes alone: norms are folded already, and the quantiser asks for it.
    prepared = path.with_name(f"prepared-{path.name}")
    shape_inference.quant_pre_process(
        str(source), str(prepared), skip_optimization=True, skip_symbolic_shape=True
    )
    quantization.quantize_static(
        prepared,
        path,
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        op_types_to_quantize=[*_WEIGHTED_ONNX, "MaxPool"],
    )


def quantise_openvino(model: Any, pictures: Pictures) -> Any:
    """Give the 8-bit version of an OpenVINO model, by NNCF; scales as for ONNX."""
    # Without this, NNCF tells its makers of each use.
    os.environ.setdefault("NNCF_CI", "1")
    with quiet("torch.utils.cpp_extension"):  # which misses CUDA aloud
        nncf = require("nncf")
    ranges = require("nncf.quantization.range_estimator").RangeEstimatorParametersSet
    nncf.set_log_level(logging.ERROR)
    # Its bar would be drawn over ours, and what it says is nothing to act on.
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return nncf.quantize(
            model,
            nncf.Dataset(list(pictures)),
            subset_size=len(pictures),
            # The greatest values met, and not their mean over pictures, which is the default:
            # objects are rare, and it is on them that a detector's activations are great.
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                activations_range_estimator_params=ranges.MINMAX
            ),
            ignored_scope=nncf.IgnoredScope(names=_behind_the_layers(model), validate=False),
        )


def _behind_the_layers(model: Any) -> list[str]:
    """Names of the operators that no convolution or linear layer depends on."""
    operators = model.get_ordered_ops()
    before: set[str] = set()
    for operator in reversed(operators):
        name = operator.get_friendly_name()
        if operator.get_type_name() in _WEIGHTED_OPENVINO or name in before:
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
