"""A torch module run by any runtime on one input, to be timed."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from secateur.runtimes.onnx_file import write_onnx
from secateur.runtimes.onnx_runtime import onnx_session
from secateur.runtimes.openvino_core import openvino_core
from secateur.runtimes.openvino_runtime import compile_openvino
from secateur.runtimes.table import Runtime


def compile_module(
    module: nn.Module, example: Tensor, runtime: Runtime, threads: int | None = None
) -> Callable[[], None]:
    """Give a function that runs a module once, in single precision.

    Args:
        module: takes one tensor; with torch it is changed to channels-last.
        example: the input of every run.
        runtime: what runs it.
        threads: processor threads; None for one a core. With torch they are the process's.

    Raises:
        ExportError: the module cannot be written for the runtime.
        MissingExtraError: the runtime is not installed.
    """
    if runtime == "torch":
        return _torch(module, example, threads)
    array = example.numpy()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "module.onnx")
        write_onnx(path, module, ("output",), example)
        if runtime == "onnxruntime":
            session = onnx_session(str(path), threads)
            return lambda: session.run(None, {"pictures": array})
        model = openvino_core().read_model(path)
    compiled = compile_openvino(model, threads, single=True)
    return lambda: compiled(array)


def _torch(module: nn.Module, example: Tensor, threads: int | None) -> Callable[[], None]:
    if threads is not None:
        torch.set_num_threads(threads)
    module = module.eval().to(memory_format=torch.channels_last)
    pictures = example.contiguous(memory_format=torch.channels_last)

    def run() -> None:
        with torch.inference_mode():
            module(pictures)

    return run
