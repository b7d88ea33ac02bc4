"""A module written as an ONNX file, with standard operators only."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from secateur.errors import ExportError
from secateur.files.optional import quiet, require

# The oldest opset with every operator used here; runtimes of the last three years read it.
OPSET = 18


def write_onnx(
    path: Path,
    module: nn.Module,
    outputs: Sequence[str],
    example: torch.Tensor,
    dynamic: Mapping[int, Any] = MappingProxyType({}),
    translations: Mapping[Any, Any] = MappingProxyType({}),
) -> None:
    """Trace a module and write it; its one input is called ``pictures``.

    Args:
        path: of the file.
        module: what to trace; it is put in evaluation mode.
        outputs: names of its outputs.
        example: an input; its dynamic dimensions must be 2 or more.
        dynamic: the input's dynamic dimensions, each with ``torch.export.Dim.DYNAMIC`` or a name.
        translations: ONNX functions for custom operators.

    Raises:
        ExportError: torch cannot trace the module.
        MissingExtraError: onnx or onnxscript is not installed.
    """
    require("onnx")
    with warnings.catch_warnings(), quiet("onnx_ir"):
        # torch warns about its own internals, which the user cannot change.
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                module.eval(),
                (example,),
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=["pictures"],
                output_names=list(outputs),
                dynamic_shapes=(dict(dynamic),) if dynamic else None,
                custom_translation_table=dict(translations),
            )
        except torch.onnx.errors.OnnxExporterError as error:
            reason = str(error).strip().splitlines()[-1][:200]
            raise ExportError(f"torch cannot write this network as ONNX: {reason}") from error
    assert program is not None  # noqa: S101 # always so with dynamo=True
    program.save(str(path), external_data=False)
