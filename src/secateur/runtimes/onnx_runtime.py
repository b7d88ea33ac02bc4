"""ONNX files and modules run by ONNX Runtime."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from secateur.errors import ModelError
from secateur.files.file_kind import file_kind
from secateur.files.optional import require
from secateur.runtimes.exported_file import (
    Arrays,
    ExportedFile,
    Pictures,
    Run,
    RunNamed,
    not_exported,
)
from secateur.runtimes.header import KEY, RAW_OUTPUTS, ExportHeader
from secateur.runtimes.onnx_file import write_onnx


def open_onnx(path: Path, threads: int | None = None) -> ExportedFile:
    """Open an ONNX file that ``secateur export`` wrote.

    Args:
        path: of the file.
        threads: CPU threads; None for one per core.

    Raises:
        ModelError: the file is unreadable, or secateur did not write it.
        MissingExtraError: ONNX Runtime is not installed.
    """
    session = _session(str(path), threads, path)
    metadata: dict[str, str] = session.get_modelmeta().custom_metadata_map
    header = ExportHeader.parse(metadata.get(KEY))
    if header is None:
        raise not_exported(path, "an ONNX file", metadata.get(KEY))

    def load_network() -> Run | None:
        onnx = require("onnx")
        model = onnx.load(path)
        if not set(RAW_OUTPUTS) <= {name for node in model.graph.node for name in node.output}:
            return None
        part = onnx.utils.Extractor(model).extract_model(["pictures"], RAW_OUTPUTS)
        return _runner(_session(part.SerializeToString(), threads, path))

    return ExportedFile(header, _runner(session), load_network)


def load_onnx(path: Path) -> RunNamed:
    """Load any ONNX file; errors as for ``open_onnx``."""
    session = _session(str(path), None, path)
    return lambda inputs: session.run(None, dict(inputs))


def compile_onnx(
    module: nn.Module, example: Tensor, threads: int | None = None
) -> Callable[[], object]:
    """Return a function that runs a module once; see ``table.compile_module``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "module.onnx")
        write_onnx(path, module, ("output",), example)
        run = _runner(_session(str(path), threads, path))
    array = example.numpy()
    return lambda: run(array)


def _runner(session: Any) -> Run:
    def run(pictures: Pictures) -> Arrays:
        outputs: Arrays = session.run(None, {"pictures": pictures})
        return outputs

    return run


def _session(model: str | bytes, threads: int | None, path: Path) -> Any:
    """Load a model, given as a path or as bytes; errors name ``path``."""
    runtime = require("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors only; they are raised as well
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its class is not public
        reason = str(error).splitlines()[0][:200]
        raise ModelError(
            f"{path}: ONNX Runtime cannot load it ({reason}); it is {file_kind(path)}; give a "
            "complete file that secateur export wrote"
        ) from None
