"""A traced graph written as ONNX, with standard operators only."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from secateur.errors import ExportError
from secateur.files.optional import quiet, require
from secateur.runtimes.description import KEY, Description

# The oldest with all that is used here; runtimes of the last three years read it.
OPSET = 18


def write_onnx(
    path: Path,
    graph: nn.Module,
    outputs: Sequence[str],
    example: torch.Tensor,
    free: Mapping[int, Any] = MappingProxyType({}),
    translations: Mapping[Any, Any] = MappingProxyType({}),
) -> None:
    """Trace a module and write it; its one input is called ``pictures``.

    Args:
        path: of the file.
        graph: the module; it is put in evaluation mode.
        outputs: names of what it gives.
        example: an input; a free dimension of it must be 2 or more.
        free: dimensions of the input that may differ from run to run, each with
            ``torch.export.Dim.DYNAMIC`` or a name.
        translations: how operators of our own are written.

    Raises:
        ExportError: torch cannot trace it.
        MissingExtraError: onnx or onnxscript is not installed.
    """
    require("onnx")
    with warnings.catch_warnings(), quiet("onnx_ir"):
        # Of torch's own making, about its own parts; none is for the user to mend.
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                graph.eval(),
                (example,),
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=["pictures"],
                output_names=list(outputs),
                dynamic_shapes=(dict(free),) if free else None,
                custom_translation_table=dict(translations),
            )
        except torch.onnx.errors.OnnxExporterError as error:
            reason = str(error).strip().splitlines()[-1][:200]
            raise ExportError(f"torch cannot write this network as ONNX: {reason}") from error
    assert program is not None  # noqa: S101 # it is one wherever dynamo=True
    program.save(str(path), external_data=False)


def finish_onnx(source: Path, path: Path, description: Description, inner: int) -> None:
    """Write a copy of a file as it is handed over.

    Args:
        source: the file.
        path: of the copy.
        description: goes into its metadata.
        inner: how many of the last outputs become mere names inside.
    """
    onnx = require("onnx")
    model = onnx.load(source)
    onnx.helper.set_model_props(model, {KEY: description.model_dump_json()})
    model.producer_name = "secateur"
    outputs = model.graph.output
    while inner:
        model.graph.value_info.append(outputs.pop())
        inner -= 1
    for node in model.graph.node:
        # torch notes there where in its source each comes from, paths of this machine included.
        del node.metadata_props[:]
        node.doc_string = ""
    onnx.save(model, path)
