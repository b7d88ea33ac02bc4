"""A trial cut: does the network run with fewer channels?

Some channel counts are constants in a network's code, as in ``x.view(b, 32, h, w)``. A trace does
not distinguish them from counts that are read off a tensor. Therefore the network runs with some
channels of each group removed, on tensors without values, which takes almost no time. Groups whose
cut breaks it are fixed.
"""

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from secateur.errors import first_line
from secateur.models.copying import copy_model
from secateur.models.example_inputs import ExampleInputs, call_arguments, map_tensors
from secateur.pruning.graph.groups import ChannelGraph, ChannelGroup
from secateur.pruning.removal import cut_in_place

_BATCH_NORM = inspect.signature(functional.batch_norm)


def fix_breaking(
    model: nn.Module, graph: ChannelGraph, example_inputs: ExampleInputs
) -> ChannelGraph:
    """Fix the groups whose cut breaks the network.

    It must run in training mode too, which may take other paths, such as an auxiliary head.

    Args:
        model: left as it was.
        graph: the model's channel groups.
        example_inputs: the arguments of its forward pass.
    """
    trial = _Trial(model, graph, example_inputs)
    groups = can_be_cut(graph)
    broken = trial.broken(groups, training=False)
    left = [group for group in groups if group.name not in broken]
    broken |= trial.broken(left, training=True)
    return with_fixed(graph, broken)


def can_be_cut(graph: ChannelGraph) -> list[ChannelGroup]:
    """Return the groups from which a trial may remove a channel."""
    return [group for group in graph.prunable().values() if group.units > group.least]


def trial_selection(graph: ChannelGraph) -> dict[str, Tensor]:
    """Keep nearly all channels of every group that can be pruned.

    Groups lose different numbers, so that no two match by accident. Groups of more than two
    units keep at least two, because a single one would broadcast against any number.
    """
    return {
        group.name: group.channels_of(
            torch.arange(group.units - 1 - i % 5 % max(1, group.units - 2))
        )
        for i, group in enumerate(graph.prunable().values())
    }


def search(
    groups: Sequence[ChannelGroup], breaks: Callable[[Sequence[ChannelGroup]], str | None]
) -> dict[str, str]:
    """Bisect to the groups whose cut breaks the network, and return the reason for each.

    Args:
        groups: the candidates.
        breaks: returns why the network breaks when all the groups it is given are cut; or None.
    """
    reason = breaks(groups) if groups else None
    if reason is None:
        return {}
    if len(groups) == 1:
        return {groups[0].name: reason}
    half = len(groups) // 2
    found = search(groups[:half], breaks) | search(groups[half:], breaks)
    # If each half runs, the two together break it.
    return found or dict.fromkeys([group.name for group in groups], reason)


def with_fixed(graph: ChannelGraph, reasons: dict[str, str]) -> ChannelGraph:
    """Return the graph with more groups fixed: reasons by group name."""
    groups = {
        name: dataclasses.replace(group, fixed=reasons.get(name, group.fixed))
        for name, group in graph.groups.items()
    }
    return dataclasses.replace(graph, groups=groups)


class _Trial:
    """Runs of a network and of its cuts on tensors without values."""

    def __init__(
        self, model: nn.Module, graph: ChannelGraph, example_inputs: ExampleInputs
    ) -> None:
        self.model = model
        self.graph = graph
        self.inputs = example_inputs
        self.left = trial_selection(graph)
        self.on_meta = True
        self.copies = 1

    def broken(self, groups: list[ChannelGroup], *, training: bool) -> dict[str, str]:
        """Return the groups whose cut breaks the network, and why."""
        # The meta device is far faster, but does not work with tensors that forward itself holds.
        for self.on_meta in (True, False):
            # A batch norm cannot train on one value a channel.
            for self.copies in (2, 1) if training else (1,):
                try:
                    wanted = self.run([], training)
                except Exception:  # noqa: S112 # a forward pass may raise anything
                    continue
                return search(groups, partial(self.breaks, wanted=wanted, training=training))
        return {}  # it needs more than the example inputs to train

    def breaks(
        self, groups: Sequence[ChannelGroup], *, wanted: list[list[int | None]], training: bool
    ) -> str | None:
        """Say why the network breaks without some channels of these groups; None if it runs."""
        mode = " in training" if training else ""
        try:
            if self.run(groups, training) == wanted:
                return None
        except Exception as error:  # a forward pass may raise anything
            return f"the forward pass{mode} counts on all of these channels ({first_line(error)})"
        return f"without some of these channels outputs{mode} have other shapes"

    def copied(self, tensor: Tensor) -> Tensor:
        return torch.cat([tensor] * self.copies) if tensor.dim() else tensor

    def run(self, groups: Sequence[ChannelGroup], training: bool) -> list[list[int | None]]:
        """Return the shapes of the outputs with the last channels of each group removed.

        Sizes that depend on data are None.
        """
        # Symbols stand for sizes that depend on data.
        fake = partial(FakeTensorMode, allow_non_fake_inputs=True, shape_env=ShapeEnv())
        mode = torch.device("meta") if self.on_meta else fake()

        def hollow(tensor: Tensor) -> Tensor:
            if isinstance(mode, FakeTensorMode):
                return mode.from_tensor(tensor, static_shapes=True)
            empty = tensor.detach().to("meta")
            return nn.Parameter(empty, False) if isinstance(tensor, nn.Parameter) else empty

        tensors = (*self.model.parameters(), *self.model.buffers())
        slim = copy_model(self.model, {id(tensor): hollow(tensor) for tensor in tensors})
        cut_in_place(slim, self.graph, {g.name: self.left[g.name] for g in groups})
        inputs = map_tensors(hollow, self.inputs)
        slim.train(training)
        with mode, _ShapesOfNorms(), torch.no_grad():
            args, kwargs = call_arguments(map_tensors(self.copied, inputs))
            outputs = slim(*args, **kwargs)
        leaves = torch.utils._pytree.tree_leaves(outputs)
        shapes = [leaf.shape for leaf in leaves if isinstance(leaf, Tensor)]
        return [[n if isinstance(n, int) else None for n in shape] for shape in shapes]


class _ShapesOfNorms(TorchFunctionMode):
    """Checks the shapes of a batch norm without computing it, which takes most of a trial."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Replace batch norms; call any other function."""
        kwargs = kwargs or {}
        if func is not functional.batch_norm:
            return func(*args, **kwargs)
        x, *vectors = _BATCH_NORM.bind(*args, **kwargs).args[:5]
        sizes = {len(each) for each in vectors if isinstance(each, Tensor)}
        if not sizes <= {x.shape[1]}:
            raise RuntimeError(f"a batch norm of {max(sizes)} channels reads {x.shape[1]}")
        return torch.empty_like(x)
