"""OpenVINO files, ONNX files and modules run by OpenVINO."""

import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
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


def open_openvino(path: Path, threads: int | None = None) -> ExportedFile:
    """Open an OpenVINO or ONNX file that ``secateur export`` wrote.

    Args:
        path: of the ``.xml``, with its ``.bin`` in the same folder, or of the ``.onnx``.
        threads: CPU threads; None for one per core.

    Raises:
        ModelError: the file is unreadable, or secateur did not write it.
        MissingExtraError: OpenVINO is not installed.
    """
    core = openvino_core()
    weights = path.with_suffix(".bin")
    if path.suffix == ".xml" and not weights.is_file():
        raise ModelError(
            f"{weights}: no such file; it holds the weights of {path.name}, so keep the two "
            "in one folder"
        )
    try:
        model = core.read_model(path)
    except RuntimeError as error:
        reason = str(error).splitlines()[0][:200]
        raise ModelError(
            f"{path}: OpenVINO cannot read it ({reason}); it is {file_kind(path)}; give a complete "
            "file that secateur export wrote"
        ) from None
    # OpenVINO puts the metadata of an ONNX file one level deeper.
    keys = [key for key in ([KEY], ["framework", KEY]) if model.has_rt_info(key)]
    entry = str(model.get_rt_info(keys[0]).value) if keys else None
    header = ExportHeader.parse(entry)
    if header is None:
        kind = "an ONNX file" if path.suffix == ".onnx" else "an OpenVINO file"
        raise not_exported(path, kind, entry)
    single = header.precision != "fp16"

    def load_network() -> Run | None:
        named = {
            name: output
            for operator in model.get_ordered_ops()
            for output in operator.outputs()
            for name in output.get_names()
        }
        if not set(RAW_OUTPUTS) <= named.keys():
            return None
        outputs = [named[name] for name in RAW_OUTPUTS]
        part = require("openvino").Model(outputs, model.get_parameters(), "network")
        run: Run = _runner(compile_model(part, threads, single=single))
        return run

    return ExportedFile(header, _runner(compile_model(model, threads, single=single)), load_network)


def load_openvino(path: Path) -> RunNamed:
    """Load any OpenVINO file."""
    run: RunNamed = _runner(compile_model(openvino_core().read_model(path), None, single=True))
    return run


def compile_openvino(
    module: nn.Module, example: Tensor, threads: int | None = None
) -> Callable[[], object]:
    """Return a function that runs a module once; see ``table.compile_module``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "module.onnx")
        write_onnx(path, module, ("output",), example)
        compiled = compile_model(openvino_core().read_model(path), threads, single=True)
    array = example.numpy()
    return lambda: compiled(array)


def compile_model(model: Any, threads: int | None, *, single: bool) -> Any:
    """Compile an OpenVINO model for the CPU, for lowest latency.

    Args:
        model: an ``openvino.Model``.
        threads: CPU threads; None for one per core.
        single: compute in single precision; otherwise OpenVINO chooses, and takes bfloat16 on
            CPUs that have it.
    """
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if single:
        settings["INFERENCE_PRECISION_HINT"] = "f32"
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    return openvino_core().compile_model(model, "CPU", settings)


def openvino_core() -> Any:
    """Return the process's one OpenVINO ``Core``, which is never destroyed.

    A core that compiles for the CPU replaces the thread's signal stack and restores the old one
    when it is destroyed. If two cores are destroyed in the order of their creation, the restored
    stack no longer exists (OpenVINO 2026.4), and the next signal kills the process.

    Raises:
        MissingExtraError: OpenVINO is not installed.
    """
    return _core(require("openvino"))


@cache
def _core(openvino: Any) -> Any:
    return openvino.Core()


def _runner(compiled: Any) -> Any:
    """Return a function of pictures, or of arrays by name."""
    outputs = list(compiled.outputs)

    def run(inputs: Pictures | Mapping[str, NDArray[Any]]) -> Arrays:
        found = compiled(inputs)
        return [found[output] for output in outputs]

    return run
