"""Channel groups: everything that must be removed together with each channel of a network.

``torch.export`` traces the network, labels flow through its graph (``flow``), and a trial cut
shows that the network runs without some of the channels.
"""

import inspect
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from functools import partial
from io import StringIO

import torch
import torch.fx.config
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from secateur.errors import PruningError, first_line
from secateur.files.arguments import checked
from secateur.files.optional import no_logs
from secateur.models.example_inputs import ExampleInputs, call_arguments, map_tensors
from secateur.models.modes import attributes_restored, evaluating, training
from secateur.models.raw_parts import raw_parts
from secateur.pruning.graph.data_sizes import put_numbers
from secateur.pruning.graph.flow import Flow
from secateur.pruning.graph.groups import ChannelGraph
from secateur.pruning.graph.sizes import Export, fix_constant_sizes
from secateur.pruning.graph.trial_cut import fix_breaking


@checked
def channel_groups(model: nn.Module, example_inputs: ExampleInputs) -> ChannelGraph:
    """Find the channel groups of a network.

    Args:
        model: any module that ``torch.export`` can trace, or a detector of torchvision, in any
            mode, frozen or not; it is left as it was.
        example_inputs: of any values, on the model's device: a tensor, a tuple of arguments, or a
            mapping of them by name.

    Raises:
        PruningError: the inputs do not fit the network, it cannot be traced, or it runs no
            convolution or linear layer.
        ModelError: it has no modes of training and evaluation.
    """
    _check_inputs(model, example_inputs)
    with attributes_restored(model), _quiet():
        return _trace(*raw_parts(model, example_inputs))


def _trace(model: nn.Module, example_inputs: ExampleInputs) -> ChannelGraph:
    name = type(model).__name__
    args, kwargs = call_arguments(example_inputs)
    try:
        program = _export(model, example_inputs)
    except Exception as error:
        with evaluating(model), torch.no_grad():
            try:
                model(*args, **kwargs)
            except Exception as cause:
                raise PruningError(
                    f"{name} does not run on the example inputs ({first_line(cause)}); give "
                    "inputs that its forward pass takes"
                ) from cause
        if "data-dependent" in str(error):
            raise PruningError(
                f"{name} cannot be traced: its forward pass branches on a value or makes a Python "
                "number of one, as int(x) and len(x.nonzero()) == 0 do; give the part of the "
                "network before that"
            ) from error
        raise PruningError(
            f"{name} cannot be traced by torch.export ({first_line(error)}); its forward "
            "pass must be torch operators, without branches that depend on values"
        ) from error
    traces = [(program, _export), *_training_program(model, program, example_inputs)]
    flow = Flow(model)
    graph = flow.run(*(each for each, _ in traces))
    if flow.layers == 0:
        raise PruningError(
            f"{name} runs no convolution and no linear layer on the example inputs, so there is "
            "nothing to prune; give the network itself"
        )
    (end,) = program.graph.find_nodes(op="output")
    if not any(isinstance(node.meta.get("val"), Tensor) for node in end.all_input_nodes):
        raise PruningError(f"{name}.forward gives no tensor; return the network's outputs")
    graph = fix_breaking(model, graph, example_inputs)
    for each, export in traces:
        graph = fix_constant_sizes(flow, graph, each.graph, example_inputs, export)
    return graph


def _training_program(
    model: nn.Module, program: torch.export.ExportedProgram, example_inputs: ExampleInputs
) -> list[tuple[torch.export.ExportedProgram, Export]]:
    """Trace training mode too if some layers run only there, such as an auxiliary head.

    Returns:
        The trace, and the function that made it. Nothing, if there are no such layers, or if it
        needs more than the example inputs to train.
    """
    parameters = program.graph_signature.inputs_to_parameters
    nodes = program.graph.find_nodes(op="placeholder")
    if all(node.users for node in nodes if node.name in parameters):
        return []
    for copies in (1, 2):  # a batch norm cannot train on one value a channel
        export = partial(_export, copies=copies)
        try:
            return [(export(model, example_inputs), export)]
        except Exception:  # noqa: S112 # a forward pass may raise anything
            continue
    return []


def _repeated(x: Tensor, copies: int) -> Tensor:
    return torch.cat([x] * copies) if x.dim() else x


def _export(
    model: nn.Module, example_inputs: ExampleInputs, *, copies: int = 0
) -> torch.export.ExportedProgram:
    """Trace a network in evaluation mode; or in training, on copies of the inputs."""
    if copies:
        example_inputs = map_tensors(partial(_repeated, copies=copies), example_inputs)
    args, kwargs = call_arguments(example_inputs)
    mode = training(model, mode=copies > 0)
    # torch takes tensors that a forward pass stored off the modules, and leaves plain values: the
    # next run would meet one without the other.
    restored = attributes_restored(model)
    with restored, mode, torch.no_grad(), _no_stack_traces(), warnings.catch_warnings():
        # About tensors that a forward pass stores in modules; groups ignore them.
        warnings.filterwarnings("ignore", "The tensor attribute", UserWarning)
        # Where it fails, torch prints the graph.
        with redirect_stderr(printed := StringIO()):
            program = torch.export.export(model, args, kwargs, strict=False)
    sys.stderr.write(printed.getvalue())
    put_numbers(program.graph)
    return program


def _check_inputs(model: nn.Module, example_inputs: ExampleInputs) -> None:
    """Compare number, names and devices of inputs with the model's."""
    name = type(model).__name__
    args, kwargs = call_arguments(example_inputs)
    try:
        signature = inspect.signature(model.forward)
    except ValueError:  # not written in Python
        signature = None
    if signature is not None:
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise PruningError(
                f"the example inputs do not fit {name}.forward{signature} ({error}); give a "
                "tensor, a tuple of arguments, or a mapping of them by name"
            ) from error
    tensors = [*model.parameters(), *model.buffers()]
    if any(x.numel() == 0 for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)):
        raise PruningError("an example input is empty; give one picture or more")
    theirs = {str(tensor.device) for tensor in tensors}
    ours = {str(x.device) for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
    if theirs and not ours <= theirs:
        raise PruningError(
            f"{name} is on {', '.join(sorted(theirs))} and the example inputs are on "
            f"{', '.join(sorted(ours))}; move them to one device"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence torch's long log messages; the error raised here says it in one line."""
    with no_logs(), warnings.catch_warnings():
        # torchvision's NMS uses a name that torch has renamed.
        warnings.filterwarnings("ignore", "`create_unbacked_symint` is", FutureWarning)
        yield


@contextmanager
def _no_stack_traces() -> Iterator[None]:
    """Keep torch from recording each operator's stack trace, a fifth of the tracing time."""
    usual = getattr(torch.fx.config, "do_not_emit_stack_traces", False)  # unknown to older torch
    torch.fx.config.do_not_emit_stack_traces = True
    try:
        yield
    finally:
        torch.fx.config.do_not_emit_stack_traces = usual
