"""The reconstruction of a slim network, layer by layer, from pictures without labels."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from secateur.files.arguments import checked
from secateur.models.example_inputs import ExampleInputs, call_arguments
from secateur.models.modes import evaluating
from secateur.models.raw_parts import raw_parts
from secateur.pruning.graph.groups import ChannelGraph, check_graph, layer_name, model_tensors
from secateur.pruning.reconstruction.least_squares import (
    ListedRows,
    Rows,
    SummedRows,
    best_solution,
    in_double,
)
from secateur.pruning.reconstruction.order import solving_order
from secateur.pruning.reconstruction.patches import (
    Layer,
    as_matrix,
    groups_of,
    in_groups,
    input_rows,
    output_channels,
    output_rows,
    output_sizes,
    set_matrix,
)
from secateur.pruning.reconstruction.watching import watched
from secateur.pruning.removal import check_slim, kept_positions

# Inputs of a layer up to which products of inputs are summed; above, rows are kept as they are.
MOST_SUMMED = 6144
# Rows of a layer: output positions, drawn at random from all pictures.
ROWS_PER_INPUT, LEAST_ROWS, MOST_ROWS = 32, 4096, 32768
# One row in this many is held out: the last pictures of each batch.
HELD_OUT = 4


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """What a reconstruction did.

    Attributes:
        errors: by layer, the squared error of its outputs before and after, on held-out pictures,
            as a share of their variance in the uncut network. A layer that could not improve has
            two equal numbers.
        skipped: why each other layer that reads a cut map was left as it was.
    """

    errors: dict[str, tuple[float, float]]
    skipped: dict[str, str]


@checked
@torch.no_grad()
def reconstruct(
    uncut: nn.Module,
    slim: nn.Module,
    graph: ChannelGraph,
    kept: Mapping[str, Tensor],
    inputs: Sequence[ExampleInputs],
) -> Reconstruction:
    """Solve every layer that reads a cut map, so that it gives what it gave before the removal.

    In the order the network runs, each layer gets the weights and the bias with which its outputs
    on the slim network's own inputs are nearest, by least squares, to those of the uncut network
    for the filters that are kept (He, Zhang and Sun, "Channel Pruning for Accelerating Very Deep
    Neural Networks", ICCV 2017, section 3.1, there for one layer at a time). Weights are damped
    towards those they have, and a layer changes only where that helps on held-out pictures. A
    layer without a bias moves the mean of the batch norm that follows it.

    The uncut network runs once. The slim one runs once for each layer on its longest path, up to
    that layer. Memory holds some outputs of all layers and the equations of those solved together.

    Args:
        uncut: the network before the removal, left as it is.
        slim: the network after it, on the same device; changed in place.
        graph: the channel groups of the uncut network.
        kept: the kept channels of each group that loses some.
        inputs: batches of what both networks are called with; a hundred pictures are enough.

    Raises:
        PruningError: the graph is of another network, or the slim network of another removal.
    """
    check_graph(graph, model_tensors(uncut))
    check_slim(slim, graph, kept)
    layers, skipped = _readers(slim, graph, kept)
    if not layers or not inputs:
        return Reconstruction({}, skipped)
    with evaluating(uncut), evaluating(slim):
        # Where proposals are drawn, two networks would look at different regions.
        slim, _ = raw_parts(slim, inputs[0])
        raws = [raw_parts(uncut, each) for each in inputs]
        uncut, inputs = raws[0][0], [each for _, each in raws]
        levels = solving_order(slim, layers, inputs[0])
        reached = {path: layers[path] for level in levels for path in level}
        skipped |= dict.fromkeys(layers.keys() - reached.keys(), "no call of its module")
        targets = _targets(uncut, reached, kept_positions(graph, kept), inputs)
        errors = {}
        for level in levels:
            for paths in _in_memory(level, layers):
                equations = _equations(
                    slim, {path: layers[path] for path in paths}, targets, inputs
                )
                for path, each in equations.items():
                    error = _solve(slim, layers[path], targets.pop(path).norm, each)
                    if all(map(math.isfinite, error)):
                        errors[path] = error
                    else:
                        skipped[path] = "its outputs are not finite"
    return Reconstruction(errors, skipped)


@dataclass(frozen=True, slots=True)
class _Call:
    """One call of a layer in the uncut network.

    Attributes:
        sizes: of the output's dimensions other than batch and channels.
        positions: of the outputs that are compared, (P,).
        outputs: the kept channels there, (B × P, C).
    """

    sizes: torch.Size
    positions: Tensor
    outputs: Tensor


@dataclass(slots=True)
class _Target:
    """What a layer of the slim network should give.

    Attributes:
        calls: of each batch.
        norm: path of the batch norm that alone reads the output; None where there is none.
    """

    calls: list[list[_Call]] = field(default_factory=list)
    norm: str | None = None


@dataclass(frozen=True, slots=True)
class _Equations:
    """What a layer is solved with, and rows that only judge the solution."""

    rows: Rows
    held_out: list[tuple[Tensor, Tensor]] = field(default_factory=list)


class _AllSeen(BaseException):
    """Ends a forward pass of which nothing more is needed; no ``except Exception`` stops it."""


def _readers(
    slim: nn.Module, graph: ChannelGraph, kept: Mapping[str, Tensor]
) -> tuple[dict[str, Layer], dict[str, str]]:
    """The layers that read a cut map, by path; and those that cannot be solved, with the reason."""
    cut = [graph.groups[name] for name in kept if len(kept[name]) < graph.groups[name].channels]
    depthwise = {
        path: module
        for path, module in slim.named_modules()
        if isinstance(module, _ConvNd) and module.groups == module.in_channels > 1
    }
    readers = {layer_name(member.name) for group in cut for member in group.of_role("consumer")}
    # A depthwise convolution reads the channels of the group it is in.
    readers |= {
        name for each in cut for m in each.members if (name := layer_name(m.name)) in depthwise
    }
    modules = dict(slim.named_modules())
    layers: dict[str, Layer] = {}
    skipped: dict[str, str] = {}
    for path in sorted(readers):
        module = modules.get(path)
        if not isinstance(module, _ConvNd | nn.Linear):
            skipped[path] = "neither a convolution nor a linear layer"
        elif "weight" not in module._parameters:
            skipped[path] = "its weight is computed from others"
        elif not module.weight.is_floating_point():
            skipped[path] = "its weight is not of real numbers"
        elif isinstance(module, _ConvTransposeNd) and module.groups > 1 and path not in depthwise:
            skipped[path] = "a transposed convolution in groups"
        else:
            layers[path] = module
    return layers, skipped


def _targets(
    uncut: nn.Module,
    layers: Mapping[str, Layer],
    kept: Mapping[str, Mapping[int, Tensor]],
    inputs: Sequence[ExampleInputs],
) -> dict[str, _Target]:
    """Run the uncut network once, and note what layers give at some positions."""
    targets = {path: _Target() for path in layers}
    modules = dict(uncut.named_modules())
    norms = {
        path: module
        for path, module in modules.items()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    }
    last: dict[str, tuple[Tensor, int]] = {}
    feeders: dict[str, set[str | None]] = {path: set() for path in norms}
    generator = torch.Generator().manual_seed(0)

    def on_norm(path: str, given: Tensor) -> None:
        # The output itself, which no in-place operator has changed since.
        found = (p for p, (out, version) in last.items() if out is given)
        feeders[path].add(next((p for p in found if last[p][1] == given._version), None))

    def on_layer(path: str, output: Tensor) -> None:
        last[path] = output, output._version
        layer = layers[path]
        sizes = output_sizes(layer, output)
        pictures = output.numel() // (sizes.numel() * output_channels(modules[path]))
        share = math.ceil(_rows_wanted(layer) / (len(inputs) * max(1, pictures)))
        positions = torch.randperm(sizes.numel(), generator=generator)[:share].to(output.device)
        rows = output_rows(layer, output, positions)
        channels = kept.get(f"{path}.weight", {}).get(_output_dim(layer))
        if channels is not None:
            rows = rows[:, channels.to(rows.device)]
        targets[path].calls[-1].append(_Call(sizes, positions, rows))

    with watched(uncut, layers, after=on_layer), watched(uncut, norms, before=on_norm):
        for each in inputs:
            last.clear()
            for target in targets.values():
                target.calls.append([])
            args, kwargs = call_arguments(each)
            uncut(*args, **kwargs)
    for norm, feeding in feeders.items():
        if len(feeding) == 1 and (path := next(iter(feeding))) is not None:
            targets[path].norm = norm if targets[path].norm is None else ""
    return targets


def _equations(
    slim: nn.Module,
    layers: Mapping[str, Layer],
    targets: Mapping[str, _Target],
    inputs: Sequence[ExampleInputs],
) -> dict[str, _Equations]:
    """Run the slim network up to the last of some layers, and collect what they read."""
    equations = {}
    for path, layer in layers.items():
        count = sum(len(call.outputs) for calls in targets[path].calls for call in calls)
        few = as_matrix(layer).shape[1] <= min(MOST_SUMMED, count * (HELD_OUT - 1) // HELD_OUT)
        equations[path] = _Equations(SummedRows() if few else ListedRows())
    for number, each in enumerate(inputs):
        waiting = {path: list(targets[path].calls[number]) for path in layers}

        def on_layer(path: str, given: Tensor) -> None:
            if not waiting[path]:  # noqa: B023 # used in this round only
                return  # the uncut network called it less often
            call = waiting[path].pop(0)  # noqa: B023
            x = input_rows(layers[path], given, call.sizes, call.positions)
            y = in_groups(call.outputs, groups_of(layers[path]))
            first = x.shape[1] - x.shape[1] // HELD_OUT
            equations[path].rows.add(x[:, :first], y[:, :first])
            equations[path].held_out.append((x[:, first:], y[:, first:]))
            if not any(waiting.values()):  # noqa: B023
                raise _AllSeen

        with watched(slim, layers, before=on_layer):
            args, kwargs = call_arguments(each)
            with suppress(_AllSeen):
                slim(*args, **kwargs)
    return equations


def _solve(
    slim: nn.Module, layer: Layer, norm: str | None, equations: _Equations
) -> tuple[float, float]:
    """Change a layer in place; give its relative error before and after."""
    weight = in_double(as_matrix(layer))
    groups, _, outputs = weight.shape
    bias = weight.new_zeros(groups, 1, outputs)
    if layer.bias is not None:
        bias = in_double(layer.bias.detach()).view(bias.shape)
    movable = layer.bias is not None or bool(norm)
    now = weight, bias
    (weight, bias), before, after = best_solution(
        equations.rows, now, equations.held_out, bias=movable
    )
    set_matrix(layer, weight)
    if layer.bias is not None:
        layer.bias.copy_(bias.flatten())
    elif norm:
        cast(Tensor, slim.get_submodule(norm).running_mean).sub_(
            bias.flatten().to(layer.weight.device)
        )
    wanted = in_double(torch.cat([y for _, y in equations.held_out], 1))
    scale = (wanted - wanted.mean(1, keepdim=True)).square().sum().clamp_min(1e-30)
    return float(before.sum() / scale), float(after.sum() / scale)


def _output_dim(layer: Layer) -> int:
    """The dimension of the weight that has the output channels."""
    return int(isinstance(layer, _ConvTransposeNd) and layer.groups == 1)


def _rows_wanted(layer: Layer) -> int:
    """How many rows determine a layer's weights well, as far as memory allows."""
    inputs = as_matrix(layer).shape[1]
    if inputs > MOST_SUMMED:
        return MOST_SUMMED
    return min(max(LEAST_ROWS, ROWS_PER_INPUT * inputs), MOST_ROWS)


def _in_memory(level: Sequence[str], layers: Mapping[str, Layer]) -> Iterator[list[str]]:
    """Split layers that may be solved together, so that their equations fit in memory."""
    part: list[str] = []
    numbers = 0
    for path in level:
        groups, inputs, _ = as_matrix(layers[path]).shape
        size = groups * min(inputs, MOST_SUMMED) ** 2
        if part and numbers + size > MOST_SUMMED**2:
            yield part
            part, numbers = [], 0
        part.append(path)
        numbers += size
    if part:
        yield part
