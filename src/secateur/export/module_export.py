"""Exports of networks of any class: files with their own inputs and outputs."""

import inspect
import json
import os
import re
import tempfile
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import (
    keystr,
    tree_flatten,
    tree_flatten_with_path,
    tree_leaves,
    tree_unflatten,
)
from torchvision.models.detection.fcos import FCOS
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.retinanet import RetinaNet
from torchvision.models.detection.ssd import SSD

from secateur.errors import ExportError, ModelError, first_line
from secateur.export.folding import fold_batch_norm
from secateur.export.module_verification import Signature, Tensors, verify_module
from secateur.export.nms import onnx_translations
from secateur.export.onnx_format import finish_onnx
from secateur.export.openvino_format import finish_openvino
from secateur.export.staging import staged
from secateur.files.arguments import checked
from secateur.files.atomic_write import write_json
from secateur.models.copying import copy_model
from secateur.models.example_inputs import ExampleInputs, call_arguments, map_tensors
from secateur.runtimes.exported_file import RunNamed
from secateur.runtimes.onnx_file import write_onnx
from secateur.runtimes.onnx_runtime import load_onnx
from secateur.runtimes.openvino_runtime import load_openvino

# By suffix: what makes the file of a traced ONNX file, and what loads it.
_FORMATS: dict[str, tuple[Callable[[Path, Path, str], None], Callable[[Path], RunNamed]]] = {
    ".onnx": (finish_onnx, load_onnx),
    ".xml": (finish_openvino, load_openvino),
}


@dataclass(frozen=True, slots=True)
class ModuleExport:
    """What was written and how it was verified.

    Attributes:
        file: its name.
        bytes: of the file, and of its weights in a second file.
        inputs: shape of each input, by name; None for any number.
        outputs: names, in order.
        checked_on: which inputs, in words.
        difference: the largest from the network's outputs, as a share of an output's largest
            magnitude.
    """

    file: str
    bytes: int
    inputs: dict[str, list[int | None]]
    outputs: list[str]
    checked_on: str
    difference: float


@checked
def export_model(
    model: nn.Module,
    example_inputs: ExampleInputs,
    path: str | os.PathLike[str],
    *,
    dynamic_batch: bool = False,
) -> ModuleExport:
    """Write a network of any class as ONNX or OpenVINO, and verify the file before it is put there.

    The file takes the tensors that the network takes and gives those that it gives, in single
    precision and in evaluation mode, with batch norms folded. Inputs are named after the arguments
    of ``forward``; outputs after the keys of a dict or the fields of a named tuple, otherwise
    ``output``, or ``output_0`` and so on. Arguments other than tensors have the values of the
    example.

    It is verified on the example and on random inputs in the range of the example's values. No
    output may differ from the network's by more than a thousandth of its largest magnitude; of
    integers and truth values, 998 of 1,000 must be equal.

    Args:
        model: not changed.
        example_inputs: a tensor, a tuple of arguments, or a mapping of them by name.
        path: of the file to write, ``.onnx`` or ``.xml``, with a ``.bin`` next to it. What was
            found is written to ``path.json``.
        dynamic_batch: take any number of samples: the first dimension of every input in which it is
            that of the first input. Otherwise all shapes are those of the example.

    Raises:
        ExportError: the network cannot be written, or verification failed; no file is left.
        MissingExtraError: the format needs a package that is not installed.
        RunError: the file cannot be written.
    """
    path = Path(path)
    _check(model, path)
    finish, load = _FORMATS[path.suffix]
    network = copy_model(model).cpu().float().eval()
    example_inputs = map_tensors(_single, example_inputs)
    flat = Flat(network, example_inputs)
    tensors = tuple(x for x in tree_leaves(call_arguments(example_inputs)) if isinstance(x, Tensor))
    batched = [dynamic_batch and x.dim() > 0 and len(x) == len(tensors[0]) for x in tensors]
    inputs = _distinct(_input_names(model, example_inputs), ())
    with staged(path) as draft, tempfile.TemporaryDirectory() as folder, torch.no_grad():
        try:
            outputs = _distinct(_output_names(flat, tensors), inputs)
            signature = Signature(tensors, batched, inputs, outputs)
            traced = Path(folder, "traced.onnx")
            write_onnx(
                traced,
                Flat(fold_batch_norm(network), example_inputs),
                outputs,
                # Dynamic dimensions must differ from 1, or the trace would fix them.
                signature.with_samples(2),
                tuple({0: torch.export.Dim.DYNAMIC} if b else {} for b in batched),
                onnx_translations(),
                inputs,
            )
            shapes = {
                key: [None if free else len(x), *x.shape[1:]] if x.dim() else []
                for key, x, free in zip(inputs, tensors, batched, strict=True)
            }
            finish(traced, draft, json.dumps({"inputs": shapes, "outputs": outputs}))
            checked_on, found = verify_module(flat, load(draft), signature)
        except (ExportError, ModelError) as error:
            raise ExportError(f"{path}: not written: {error}") from error
        size = sum(file.stat().st_size for file in draft.parent.iterdir())
    result = ModuleExport(path.name, size, shapes, outputs, checked_on, found)
    write_json(path.with_name(f"{path.name}.json"), asdict(result))
    return result


class Flat(nn.Module):
    """A network that takes a tuple of tensors and gives a tuple of tensors.

    Args:
        network: called with them in place of the tensors among the example's arguments.
        example_inputs: its other arguments.
    """

    def __init__(self, network: nn.Module, example_inputs: ExampleInputs) -> None:
        super().__init__()
        self.network = network
        leaves, self.structure = tree_flatten(call_arguments(example_inputs))
        self.leaves = [Tensor if isinstance(leaf, Tensor) else leaf for leaf in leaves]

    def outputs(self, tensors: Sequence[Tensor]) -> Any:
        """Run the network; its outputs have its own structure."""
        given = iter(tensors)
        leaves = [next(given) if leaf is Tensor else leaf for leaf in self.leaves]
        args, kwargs = tree_unflatten(leaves, self.structure)
        return self.network(*args, **kwargs)

    def forward(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Run the network; values other than tensors are left out."""
        return tuple(x for x in tree_leaves(self.outputs(tensors)) if isinstance(x, Tensor))


def _check(model: nn.Module, path: Path) -> None:
    if path.suffix not in _FORMATS:
        cure = (
            "use secateur.save" if path.suffix == ".safetensors" else "rename it to .onnx or .xml"
        )
        raise ExportError(f"{path}: an exported file ends in {' or '.join(_FORMATS)}; {cure}")
    name = type(model).__name__
    if isinstance(model, SSD):
        raise ExportError(
            f"{path}: {name} is a whole detector; give secateur.TorchNetwork.from_ssd(name, model, "
            "classes) to secateur.export_network"
        )
    if isinstance(model, RetinaNet | FCOS | GeneralizedRCNN):
        raise ExportError(
            f"{path}: {name} finds a number of objects that depends on the picture, which cannot "
            "be traced; give a module that returns the outputs of its backbone and heads"
        )


def _input_names(model: nn.Module, example_inputs: ExampleInputs) -> list[str]:
    args, kwargs = call_arguments(example_inputs)
    try:
        named = {**inspect.signature(model.forward).bind_partial(*args).arguments, **kwargs}
    except (TypeError, ValueError):  # the network refuses them itself, or is not written in Python
        named = {"input": args, **kwargs}
    return _names(named, "input")


def _output_names(flat: Flat, tensors: Tensors) -> list[str]:
    """Name the outputs; run the network to learn of them."""
    name = type(flat.network).__name__
    try:
        outputs = flat.outputs(tensors)
    except Exception as error:
        raise ExportError(
            f"{name} does not run on the example inputs ({first_line(error)}); give inputs that "
            "its forward pass takes"
        ) from error
    names = _names(outputs, "output")
    plain = Tensor | bool | int | float | str | None
    other = next((leaf for leaf in tree_leaves(outputs) if not isinstance(leaf, plain)), None)
    if other is not None or not names:
        kind = "no tensor" if other is None else f"a {type(other).__name__}"
        raise ExportError(f"{name} gives {kind}; return tensors, in tuples, lists or dicts")
    return names


def _names(tree: Any, default: str) -> list[str]:
    """Name the tensors of nested containers by their keys, or by ``default`` and a number."""
    names = []
    for path, leaf in tree_flatten_with_path(tree)[0]:
        if isinstance(leaf, Tensor):
            name = re.sub(r"\W+", "_", keystr(path)).strip("_")
            names.append(name if re.match(r"[^\W\d]", name) else f"{default}_{name}".rstrip("_"))
    return names


def _distinct(names: Iterable[str], taken: Collection[str]) -> list[str]:
    """Add a number to each name that is taken or was already given."""
    given: list[str] = []
    for name in names:
        others = (f"{name}_{number}" for number in count(2))
        free = (each for each in chain([name], others) if each not in taken and each not in given)
        given.append(next(free))
    return given


def _single(x: Tensor) -> Tensor:
    x = x.detach().cpu()
    return x.float() if x.is_floating_point() else x
