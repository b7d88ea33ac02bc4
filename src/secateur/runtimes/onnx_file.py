"""A module written as an ONNX file, with standard operators only."""

import io
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from secateur.errors import ExportError, first_line
from secateur.files.optional import no_logs, require

# The oldest opset with every operator used here; runtimes of the last three years read it.
OPSET = 18

Dynamic = Mapping[int, Any]


def write_onnx(
    path: Path,
    module: nn.Module,
    outputs: Sequence[str],
    example: Tensor | tuple[Tensor, ...],
    dynamic: Dynamic | tuple[Dynamic, ...] = MappingProxyType({}),
    translations: Mapping[Any, Any] = MappingProxyType({}),
    inputs: Sequence[str] = ("pictures",),
) -> None:
    """Trace a module and write it.

    Args:
        path: of the file.
        module: what to trace; it is put in evaluation mode.
        outputs: names of its outputs.
        example: the argument of its forward pass, a tensor or a tuple of tensors; dynamic
            dimensions must be 2 or more.
        dynamic: the dynamic dimensions of each tensor of ``example``, each with
            ``torch.export.Dim.DYNAMIC`` or a name; empty if there are none.
        translations: ONNX functions for custom operators.
        inputs: names of the tensors of ``example``.

    Raises:
        ExportError: torch cannot trace the module.
        MissingExtraError: onnx or onnxscript is not installed.
    """
    require("onnx")
    # torch warns about its own internals, and prints programs that it cannot trace.
    with warnings.catch_warnings(), no_logs(), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                module.eval(),
                (example,),
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=(dynamic,) if dynamic else None,
                custom_translation_table=dict(translations),
            )
        except torch.onnx.errors.OnnxExporterError as error:
            reason = first_line(_origin(error))[:200]
            raise ExportError(f"torch cannot write this network as ONNX: {reason}") from error
    assert program is not None  # noqa: S101 # always so with dynamo=True
    # torch names inner values after operators, such as ``relu``, and does not look at these names.
    taken = {*inputs, *outputs}
    for node in program.model.graph:
        for value in node.outputs:
            if value.name in taken and not value.is_graph_output():
                value.name = f"inner.{value.name}"
    program.save(str(path), external_data=False)


def _origin(error: BaseException) -> BaseException:
    """Return the error that caused all others."""
    return error if error.__cause__ is None else _origin(error.__cause__)
