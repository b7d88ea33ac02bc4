"""ONNX files run by ONNX Runtime."""

from pathlib import Path
from typing import Any

from secateur.errors import ModelError
from secateur.files.file_kind import file_kind
from secateur.files.optional import require
from secateur.runtimes.description import KEY, Description
from secateur.runtimes.session import Arrays, Pictures, Session, foreign


def open_onnx(path: Path, threads: int | None = None) -> Session:
    """Open an ONNX file that ``secateur export`` wrote.

    Args:
        path: of the file.
        threads: processor threads; None for one a core.

    Raises:
        ModelError: the file is unreadable, or not of ours.
        MissingExtraError: ONNX Runtime is not installed.
    """
    session = onnx_session(str(path), threads, path)
    metadata: dict[str, str] = session.get_modelmeta().custom_metadata_map
    description = Description.parse(metadata.get(KEY))
    if description is None:
        raise foreign(path, "an ONNX file")

    def run(pictures: Pictures) -> Arrays:
        outputs: Arrays = session.run(None, {"pictures": pictures})
        return outputs

    return Session(description, run)


def onnx_session(model: str | bytes, threads: int | None, path: Path | None = None) -> Any:
    """Load a model into ONNX Runtime.

    Args:
        model: a file's path, or its content.
        threads: processor threads; None for one a core.
        path: named in errors.

    Raises:
        ModelError: it cannot be loaded.
    """
    runtime = require("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors only; they are raised as well
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of a module that ONNX Runtime does not name
        reason = str(error).splitlines()[0][:200]
        kind = f"; it is {file_kind(path)}" if path else ""
        raise ModelError(
            f"{path or 'the network'}: ONNX Runtime cannot load it ({reason}){kind}; give a whole "
            "file that secateur export wrote"
        ) from None
