"""The channel graph: channel groups, and the tensors that shrink with them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Role = Literal["producer", "consumer", "follower"]


@dataclass(frozen=True, slots=True)
class Member:
    """The part of one parameter or buffer that is removed with a group's channels.

    Attributes:
        name: the tensor's path in the model, ``backbone.features.0.weight``.
        dim: the dimension that shrinks.
        role: ``producer``, a filter that produces the channel (F_i); ``consumer``, the slice that
            reads it (G_i); ``follower``, a bias, norm or scale entry.
        index: (channels, block) int64, the positions each channel holds in that dimension; a
            block is over 1 where a flattened map or a repeated use gives a channel several.
    """

    name: str
    dim: int
    role: Role
    index: Tensor


@dataclass(frozen=True, slots=True)
class ChannelGroup:
    """One set of channels, each removable as a whole.

    Attributes:
        name: the first producer's, as in ``layer_name``; a tensor's path if no layer produces the
            channels. A mark (``'``) is appended while another group has that name.
        channels: how many there are.
        members: the tensors that a channel is removed from.
        fixed: why the group cannot be pruned, or None.
        counts: norms that have no entries but count their channels: each one's module path, and
            how much it counts for a channel of this group.
        least: how many must be kept: two where one would turn a grouped convolution into a
            depthwise one, whose channel counts could not be read off its weight.
        statistics: whether a layer norm, or a mean or maximum over channels, depends on how many
            there are. Removed channels are omitted from such statistics.
    """

    name: str
    channels: int
    members: tuple[Member, ...]
    fixed: str | None = None
    counts: tuple[tuple[str, int], ...] = ()
    least: int = 1
    statistics: bool = False

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
    """

    groups: dict[str, ChannelGroup]
    shapes: dict[str, tuple[int, ...]]
    positions: dict[str, int]
    parameters: frozenset[str]

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

        A MAC is one multiply-add of a convolution or linear layer for one picture.
        """
        sizes = {name: list(shape) for name, shape in self.shapes.items()}
        for name, channels in (kept or {}).items():
            group = self.groups[name]
            for member in group.members:
                lost = (group.channels - channels) * member.index.shape[1]
                sizes[member.name][member.dim] -= lost
        params = sum(math.prod(sizes[name]) for name in self.parameters)
        macs = sum(math.prod(sizes[name]) * count for name, count in self.positions.items())
        return params, macs


def layer_name(weight: str) -> str:
    """Name a layer by its weight: the module's path, or the parameter's where it has no module."""
    return weight.removesuffix(".weight")


def module_path(parameter: str) -> str:
    """Return the path of the module that holds a parameter."""
    return parameter.rpartition(".")[0]
