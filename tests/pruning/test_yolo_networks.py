"""YOLO detectors of ultralytics, fresh from their definitions, are compressed in full."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ultralytics", reason="it is an extra of the benchmark alone")
pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("definition", ["yolov8n.yaml", "yolo11n.yaml"])
def test_a_fresh_detector_is_compressed_saved_loaded_and_exported(
    definition: str, benchmark_module: Callable[[str], Any], tmp_path: Path
) -> None:
    found = benchmark_module("yolo").compress(definition, tmp_path)
    assert found["slim"]["macs"] <= 0.5 * found["dense"]["macs"]
    assert found["loaded_difference"] == 0
    assert found["onnx_difference"] < 1e-4
