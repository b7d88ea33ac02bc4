"""The network alone, cut from an exported file that decodes and suppresses behind it."""

from pathlib import Path
from typing import Any

from secateur.export.graph import Detector
from secateur.files.optional import require
from secateur.runtimes.openvino_core import openvino_core

NAMES = Detector.outputs[-Detector.inner :]


def cut_onnx(path: Path) -> bytes | None:
    """Give the model up to the raw outputs; None where the file does not name them."""
    onnx = require("onnx")
    model = onnx.load(path)
    if not set(NAMES) <= {name for node in model.graph.node for name in node.output}:
        return None
    alone: bytes = (
        onnx.utils.Extractor(model).extract_model(["pictures"], NAMES).SerializeToString()
    )
    return alone


def cut_openvino(path: Path) -> Any | None:
    """Give OpenVINO's model up to the raw outputs; None where the file does not name them."""
    openvino = require("openvino")
    model = openvino_core().read_model(path)
    named = {
        name: output
        for operator in model.get_ordered_ops()
        for output in operator.outputs()
        for name in output.get_names()
    }
    if not set(NAMES) <= named.keys():
        return None
    return openvino.Model([named[name] for name in NAMES], model.get_parameters(), "network")
