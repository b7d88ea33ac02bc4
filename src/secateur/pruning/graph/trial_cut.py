"""A trial cut: does the network run with fewer channels?

Some counts stand in a network's code, as in ``x.view(b, 32, h, w)``, and a trace does not tell
them from those that are read off a tensor. So the network is run with some channels of each group
taken out, on tensors that have a shape and no values, which takes next to no time. Groups without
which it does not run are fixed.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from secateur.errors import first_line
from secateur.models.copying import copy_model
from secateur.models.example_inputs import ExampleInputs, call_arguments, map_tensors
from secateur.pruning.graph.groups import ChannelGraph, ChannelGroup
from secateur.pruning.removal import cut_in_place


def fix_breaking(
    model: nn.Module, graph: ChannelGraph, example_inputs: ExampleInputs
) -> ChannelGraph:
    """Give the graph with those groups fixed that the network does not run without.

    It must run in training too, which may take other ways, as through an auxiliary head.

    Args:
        model: left as it was.
        graph: the model's channel groups.
        example_inputs: what to call it with.
    """
    trial = _Trial(model, graph, example_inputs)
    groups = can_be_cut(graph)
    broken = trial.broken(groups, training=False)
    left = [group for group in groups if group.name not in broken]
    broken |= trial.broken(left, training=True)
    return with_fixed(graph, broken)


def can_be_cut(graph: ChannelGraph) -> list[ChannelGroup]:
    """Give the groups of which a trial may take a channel."""
    return [group for group in graph.prunable().values() if group.channels > group.least]


def trial_selection(graph: ChannelGraph) -> dict[str, Tensor]:
    """Keep nearly all channels of every group that can be pruned.

    Groups lose unlike numbers, so that none fits another's. Of groups that have more than two, two
    or more stay, for one would be copied wherever others are many.
    """
    return {
        group.name: torch.arange(group.channels - 1 - i % 5 % max(1, group.channels - 2))
        for i, group in enumerate(graph.prunable().values())
    }


def search(
    groups: Sequence[ChannelGroup], breaks: Callable[[Sequence[ChannelGroup]], str | None]
) -> dict[str, str]:
    """Halve groups until those are alone whose cut breaks the network, and give each one's reason.

    Args:
        groups: those to try.
        breaks: why the network breaks without some channels of all the groups it is given; or None.
    """
    reason = breaks(groups) if groups else None
    if reason is None:
        return {}
    if len(groups) == 1:
        return {groups[0].name: reason}
    half = len(groups) // 2
    found = search(groups[:half], breaks) | search(groups[half:], breaks)
    # Where each half runs, it is the two together that break it.
    return found or dict.fromkeys([group.name for group in groups], reason)


def with_fixed(graph: ChannelGraph, reasons: dict[str, str]) -> ChannelGraph:
    """Give the graph with more groups fixed, for reasons by the groups' names."""
    groups = {
        name: dataclasses.replace(group, fixed=reasons.get(name, group.fixed))
        for name, group in graph.groups.items()
    }
    return dataclasses.replace(graph, groups=groups)


class _Trial:
    """Runs of a network and of cuts of it, in shapes alone."""

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
        """Give the groups without whose channels the network does not run, and why."""
        # The meta device is the quicker by far, but knows no tensors that forward itself holds.
        for self.on_meta in (True, False):
            # A batch norm of one value a channel cannot train.
            for self.copies in (2, 1) if training else (1,):
                try:
                    wanted = self.run([], training)
                except Exception:  # noqa: S112 # a forward pass may raise anything
                    continue
                return search(groups, partial(self.breaks, wanted=wanted, training=training))
        return {}  # it needs more than the example inputs to train

    def breaks(
        self, groups: Sequence[ChannelGroup], *, wanted: list[torch.Size], training: bool
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

    def run(self, groups: Sequence[ChannelGroup], training: bool) -> list[torch.Size]:
        """Give the shapes of the outputs with the last channels of each group taken out."""
        mode = torch.device("meta") if self.on_meta else FakeTensorMode(allow_non_fake_inputs=True)

        def hollow(tensor: Tensor) -> Tensor:
            if isinstance(mode, FakeTensorMode):
                return mode.from_tensor(tensor)
            empty = tensor.detach().to("meta")
            return nn.Parameter(empty, False) if isinstance(tensor, nn.Parameter) else empty

        tensors = (*self.model.parameters(), *self.model.buffers())
        slim = copy_model(self.model, {id(tensor): hollow(tensor) for tensor in tensors})
        cut_in_place(slim, self.graph, {g.name: self.left[g.name] for g in groups})
        inputs = map_tensors(hollow, self.inputs)
        slim.train(training)
        with mode, torch.no_grad():
            args, kwargs = call_arguments(map_tensors(self.copied, inputs))
            outputs = slim(*args, **kwargs)
        leaves = torch.utils._pytree.tree_leaves(outputs)
        return [leaf.shape for leaf in leaves if isinstance(leaf, Tensor)]
