"""The channel graph: channel groups, and the tensors that shrink with them."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from secateur.errors import PruningError

# A layer's weight, also as weight norm, spectral norm and recurrent layers name it.
_WEIGHT = re.compile(
    r"\.(weight(_v|_g|_orig|_ih(_l0(_reverse)?)?)?|parametrizations\.weight\.original\d?)$"
)

Role = Literal["producer", "consumer", "follower"]


@dataclass(frozen=True, slots=True)
class Member:
    """The part of one parameter or buffer that is removed with a group's channels.

    Attributes:
        name: the tensor's path in the model, ``backbone.features.0.weight``.
        dim: the dimension that shrinks.
        role: ``producer``, a filter that produces the channel (F_i); ``consumer``, the slice that
            reads it (G_i); ``follower``, a bias, norm or scale entry.
        index: (units, block) int64, the positions that each unit has in that dimension; several
            where a channel is a flattened map, or a unit has several channels.
    """

    name: str
    dim: int
    role: Role
    index: Tensor


@dataclass(frozen=True, slots=True)
class ChannelGroup:
    """One set of channels that can be removed, in units.

    A unit is what can only be removed together: nearly always one channel. With a grouped
    convolution or a group norm of g groups it is one channel of each group, or a whole group;
    before a pixel shuffle, the channels that become one map.

    Attributes:
        name: the first producer's, as in ``layer_name``; a tensor's path if no layer produces the
            channels. A mark (``'``) is appended while another group has that name.
        members: the tensors that a unit is removed from.
        unit_of: (channels,) int64, the unit of each channel. Channels are the filters of the layer
            that the group is named after, in its order.
        fixed: why the group cannot be pruned, or None.
        counts: norms that have no entries but count their channels: each one's module path, and
            how much it counts for a channel of this group.
        least: units that must be kept: two where one would turn a grouped convolution into a
            depthwise one, whose channel counts could not be read off its weight.
        statistics: whether a layer norm, or a mean or maximum over channels, depends on how many
            there are. Removed channels are omitted from such statistics.
    """

    name: str
    members: tuple[Member, ...]
    unit_of: Tensor
    fixed: str | None = None
    counts: tuple[tuple[str, int], ...] = ()
    least: int = 1
    statistics: bool = False

    @property
    def channels(self) -> int:
        """How many channels there are: filters of the layer that the group is named after."""
        return len(self.unit_of)

    @property
    def units(self) -> int:
        """How many units there are."""
        return len(self.members[0].index)

    @property
    def unit_size(self) -> int:
        """How many channels a unit has."""
        return self.channels // self.units

    def channels_of(self, units: Tensor) -> Tensor:
        """Return the channels of units, ascending."""
        return torch.isin(self.unit_of, units.cpu()).nonzero().flatten()

    def units_of(self, channels: Tensor) -> Tensor:
        """Return the units that channels make up, ascending.

        Raises:
            PruningError: a unit is not whole.
        """
        counts = torch.bincount(self.unit_of[channels.cpu()], minlength=self.units)
        if bool((part := (counts > 0) & (counts < self.unit_size)).any()):
            together = self.channels_of(part.nonzero()[0]).tolist()
            raise PruningError(
                f"{self.name}: channels {', '.join(map(str, together))} can only be removed "
                "together; keep all of them or none"
            )
        return counts.nonzero().flatten()

    def of_role(self, role: Role) -> tuple[Member, ...]:
        """Return the members with that role."""
        return tuple(member for member in self.members if member.role == role)

    @property
    def producers(self) -> tuple[str, ...]:
        """Names of the layers whose filters produce these channels."""
        return tuple(layer_name(member.name) for member in self.of_role("producer"))

    @property
    def consumers(self) -> tuple[str, ...]:
        """Names of the layers that read these channels."""
        return tuple(layer_name(member.name) for member in self.of_role("consumer"))


@dataclass(frozen=True, slots=True)
class ChannelGraph:
    """The channel groups of one network, in the order in which the network runs.

    Attributes:
        groups: by name; together they hold every channel of every convolution and linear layer.
        shapes: of every parameter and buffer, by path.
        positions: of every convolution and linear weight, how many positions use it: those of the
            output, or of a transposed convolution's input; a layer's MACs are its weight's
            elements × positions.
        parameters: the paths among ``shapes`` that are parameters.
        permutations: paths of buffers that name channels by their positions; those that are left
            are renumbered.
        directions: those whose length does not matter, because a weight norm sets it; they are not
            made sparse.
    """

    groups: dict[str, ChannelGroup]
    shapes: dict[str, tuple[int, ...]]
    positions: dict[str, int]
    parameters: frozenset[str]
    directions: frozenset[str] = frozenset()
    permutations: frozenset[str] = frozenset()

    def __str__(self) -> str:
        """One line a group: channels, layers, and why it is fixed."""
        return "\n".join(
            f"{name}: {group.channels} channels, "
            + (group.fixed or f"read by {', '.join(group.consumers) or 'nothing'}")
            for name, group in self.groups.items()
        )

    def prunable(self) -> dict[str, ChannelGroup]:
        """Return the groups that are not fixed."""
        return {name: group for name, group in self.groups.items() if group.fixed is None}

    def cost(self, kept: Mapping[str, int] | None = None) -> tuple[int, int]:
        """Parameters and MACs of the network with ``kept`` channels left in the groups named.

        Channels must make up whole units. A MAC is one multiply-add of a convolution or linear
        layer for one picture.
        """
        sizes = {name: list(shape) for name, shape in self.shapes.items()}
        for name, channels in (kept or {}).items():
            group = self.groups[name]
            for member in group.members:
                lost = (group.channels - channels) // group.unit_size * member.index.shape[1]
                sizes[member.name][member.dim] -= lost
        params = sum(math.prod(sizes[name]) for name in self.parameters)
        macs = sum(math.prod(sizes[name]) * count for name, count in self.positions.items())
        return params, macs


def check_graph(graph: ChannelGraph, tensors: Mapping[str, Tensor]) -> None:
    """Check that a graph is of the network with these tensors.

    Args:
        graph: channel groups.
        tensors: the network's parameters by path, and its buffers or not.

    Raises:
        PruningError: a parameter is missing, or a tensor has another shape.
    """
    for name, shape in graph.shapes.items():
        if name in tensors and tuple(tensors[name].shape) == shape:
            continue
        if name not in tensors and name not in graph.parameters:
            continue  # a buffer, or a constant of the forward pass
        if any(path.endswith(f".{name}") for path in tensors.keys() - graph.shapes.keys()):
            raise PruningError(
                "the graph is of a module inside this one; give the module itself, such as "
                "model.module of a DDP model"
            )
        theirs = f"is {tuple(tensors[name].shape)}" if name in tensors else "is missing"
        raise PruningError(
            f"the graph is of another network, or of this one before a removal: {name} {theirs} "
            f"here and {shape} there; call channel_groups on this network"
        )


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers of a network by path, each under every path it has."""
    return {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }


def layer_name(weight: str) -> str:
    """Name a layer by its weight: the module's path, or the parameter's where it has no module."""
    return _WEIGHT.sub("", weight)


def module_path(parameter: str) -> str:
    """Return the path of the module that holds a parameter."""
    return parameter.rpartition(".")[0]
