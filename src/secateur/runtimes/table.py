"""RUNTIMES: what can run a network, by name.

To add a runtime, write a module with an opener and a compiler and add a line here. Recipes and the
command line's help read this table, so the functions are named by "module:function" and imported
on first use.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from secateur.errors import ModelError

if TYPE_CHECKING:  # these import torch
    from torch import Tensor, nn

    from secateur.models.network_file import NetworkFile
    from secateur.runtimes.exported_file import ExportedFile


@dataclass(frozen=True, slots=True)
class Runtime:
    """A program that runs networks.

    Attributes:
        description: one line for help texts.
        package: the Python package that must be installed.
        suffixes: of the files it reads.
        opener: maps a path and a number of threads to an ``ExportedFile`` (torch: ``NetworkFile``).
        compiler: maps a module, an example input and a number of threads to a function that runs
            the module once, in single precision.
    """

    description: str
    package: str
    suffixes: tuple[str, ...]
    opener: str
    compiler: str


# The first runtime that reads a file's suffix is the default for that file.
RUNTIMES: dict[str, Runtime] = {
    "torch": Runtime(
        "PyTorch, with this package's network files",
        "torch",
        (".safetensors",),
        "secateur.runtimes.torch_runtime:open_torch",
        "secateur.runtimes.torch_runtime:compile_torch",
    ),
    "onnxruntime": Runtime(
        "ONNX Runtime, with .onnx files",
        "onnxruntime",
        (".onnx",),
        "secateur.runtimes.onnx_runtime:open_onnx",
        "secateur.runtimes.onnx_runtime:compile_onnx",
    ),
    "openvino": Runtime(
        "OpenVINO, with .xml and .onnx files",
        "openvino",
        (".xml", ".onnx"),
        "secateur.runtimes.openvino_runtime:open_openvino",
        "secateur.runtimes.openvino_runtime:compile_openvino",
    ),
}


def readers(suffix: str) -> tuple[str, ...]:
    """Names of the runtimes that read files with a suffix, the default first.

    torch is returned for an unknown suffix: its error says what the file is.
    """
    return tuple(name for name, each in RUNTIMES.items() if suffix in each.suffixes) or ("torch",)


def open_file(
    path: Path, runtime: str | None = None, threads: int | None = None
) -> "NetworkFile | ExportedFile":
    """Load a network file of any format.

    Args:
        path: ``.safetensors``, or an exported file.
        runtime: a name from RUNTIMES; None for the format's default.
        threads: CPU threads of an exported file; None for one per core.

    Raises:
        ModelError: the file is missing, unreadable or not a network, or the runtime does not read
            its format.
        MissingExtraError: the runtime is not installed.
    """
    if not path.exists():
        raise ModelError(f"{path}: no such network file; correct the path")
    able = readers(path.suffix)
    runtime = runtime or able[0]
    if runtime not in able:
        raise ModelError(
            f"{path}: {runtime} does not read this format; use {' or '.join(able)}, or export the "
            "network to another format"
        )
    opener: Callable[[Path, int | None], NetworkFile | ExportedFile]
    opener = resolve_name(RUNTIMES[runtime].opener)
    try:
        return opener(path, threads)
    except ModelError as error:
        suffixes = {suffix for each in RUNTIMES.values() for suffix in each.suffixes}
        if path.suffix in suffixes:
            raise
        others = " or ".join(sorted(suffixes - {".safetensors"}))
        raise ModelError(f"{error}, or an {others} file that it exported") from None


def compile_module(
    module: "nn.Module", example: "Tensor", runtime: str, threads: int | None = None
) -> Callable[[], object]:
    """Return a function that runs a module once, in single precision.

    Args:
        module: takes one tensor; torch changes its memory format to channels-last.
        example: the input of every run.
        runtime: a name from RUNTIMES.
        threads: CPU threads; None for one per core. torch sets them for the whole process.

    Raises:
        ExportError: the module cannot be written in a format that the runtime reads.
        MissingExtraError: the runtime is not installed.
    """
    compiler: Callable[[nn.Module, Tensor, int | None], Callable[[], object]]
    compiler = resolve_name(RUNTIMES[runtime].compiler)
    return compiler(module, example, threads)
