"""A trial cut: does the network run with fewer channels?

Some counts stand in a network's code, as in ``x.view(b, 32, h, w)``, and a trace does not tell
them from those that are read off a tensor. So the network is run with some channels of each group
taken out, on tensors that have a shape and no values, which takes next to no time. Groups without
which it does not run are fixed.
"""

import copy
import dataclasses

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from secateur.pruning.example_inputs import ExampleInputs, call_arguments, map_tensors
from secateur.pruning.groups import ChannelGraph, ChannelGroup
from secateur.pruning.removal import cut_in_place


def fix_what_breaks(
    model: nn.Module, graph: ChannelGraph, example_inputs: ExampleInputs, *, untraced: bool
) -> ChannelGraph:
    """Give the graph with those groups fixed that the network does not run without.

    Args:
        model: left as it was.
        graph: the model's channel groups.
        example_inputs: what to call it with.
        untraced: whether some layers were not run, as an auxiliary head that only training runs;
            then the network must run in training too.
    """
    trial = _Trial(model, graph, example_inputs)
    groups = [group for group in graph.prunable().values() if group.channels > 1]
    broken = trial.broken(groups, training=False)
    if untraced:
        left = [group for group in groups if group.name not in broken]
        broken |= trial.broken(left, training=True)
    fixed = {
        name: dataclasses.replace(group, fixed=broken.get(name, group.fixed))
        for name, group in graph.groups.items()
    }
    return dataclasses.replace(graph, groups=fixed)


class _Trial:
    """Runs of a network and of cuts of it, in shapes alone."""

    def __init__(
        self, model: nn.Module, graph: ChannelGraph, example_inputs: ExampleInputs
    ) -> None:
        self.model = model
        self.graph = graph
        self.inputs = example_inputs
        # Groups lose unlike numbers, so that none fits another's; two channels or more stay, for
        # one would be copied wherever others are many.
        self.left = {
            group.name: torch.arange(group.channels - 1 - i % 5 % max(1, group.channels - 2))
            for i, group in enumerate(graph.prunable().values())
        }
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
                return self.search(groups, wanted, training)
        return {}  # it needs more than the example inputs to train

    def search(
        self, groups: list[ChannelGroup], wanted: list[torch.Size], training: bool
    ) -> dict[str, str]:
        """Halve the groups until those that break it are alone."""
        if not groups:
            return {}
        mode = " in training" if training else ""
        try:
            if self.run(groups, training) == wanted:
                return {}
            reason = f"without some of these channels outputs{mode} have other shapes"
        except Exception as error:  # a forward pass may raise anything
            cause = str(error).strip().partition("\n")[0] or type(error).__name__
            reason = f"the forward pass{mode} counts on all of these channels ({cause})"
        if len(groups) == 1:
            return {groups[0].name: reason}
        half = len(groups) // 2
        found: dict[str, str] = {}
        for part in (groups[:half], groups[half:]):
            found |= self.search(part, wanted, training)
        # Where each half runs, it is the two together that break it.
        return found or dict.fromkeys([group.name for group in groups], reason)

    def copied(self, tensor: Tensor) -> Tensor:
        return torch.cat([tensor] * self.copies) if tensor.dim() else tensor

    def run(self, groups: list[ChannelGroup], training: bool) -> list[torch.Size]:
        """Give the shapes of the outputs with the last channels of each group taken out."""
        mode = torch.device("meta") if self.on_meta else FakeTensorMode(allow_non_fake_inputs=True)

        def hollow(tensor: Tensor) -> Tensor:
            if isinstance(mode, FakeTensorMode):
                return mode.from_tensor(tensor)
            empty = tensor.detach().to("meta")
            return nn.Parameter(empty, False) if isinstance(tensor, nn.Parameter) else empty

        tensors = (*self.model.parameters(), *self.model.buffers())
        # What is in a deep copy's memory is not copied: the model's values never are.
        slim = copy.deepcopy(self.model, {id(tensor): hollow(tensor) for tensor in tensors})
        cut_in_place(slim, self.graph, {g.name: self.left[g.name] for g in groups})
        inputs = map_tensors(hollow, self.inputs)
        slim.train(training)
        with mode, torch.no_grad():
            args, kwargs = call_arguments(map_tensors(self.copied, inputs))
            outputs = slim(*args, **kwargs)
        leaves = torch.utils._pytree.tree_leaves(outputs)
        return [leaf.shape for leaf in leaves if isinstance(leaf, Tensor)]
