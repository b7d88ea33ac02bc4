"""An ONNX file turned into OpenVINO's own format."""

from pathlib import Path
from typing import Any

from secateur.files.optional import require
from secateur.runtimes.description import KEY, Description
from secateur.runtimes.openvino_core import openvino_core


def read_onnx_as_openvino(path: Path) -> Any:
    """Read an ONNX file as OpenVINO's own model."""
    # Not convert_model, which would tell OpenVINO's makers of its use.
    return openvino_core().read_model(path)


def write_openvino(path: Path, model: Any, description: Description, inner: int) -> None:
    """Write a model as an ``.xml`` and, beside it, its weights as a ``.bin``.

    Args:
        path: of the ``.xml``.
        model: of OpenVINO.
        description: goes into its metadata; with fp16, weights are kept in half precision, and
            the processor computes in whatever it does best.
        inner: how many of the last outputs become mere names inside.
    """
    for result in model.get_results()[len(model.get_results()) - inner :]:
        model.remove_result(result)
    model.set_rt_info(description.model_dump_json(), KEY)
    require("openvino").save_model(model, path, compress_to_fp16=description.precision == "fp16")
