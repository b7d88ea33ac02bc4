"""Channel groups: all that must be removed together for each channel of a network.

Torch's own tracer (``torch.export``) reads the network, then *labels flow* through its graph.
Every parameter has a label for each index of each dimension; every activation is an integer
tensor of labels of its own shape (expanded, so it takes next to no memory). A convolution
unites its input's labels with those of its weight's dimension 1 and gives out those of
dimension 0. Element-wise operators unite the labels of their operands. Operators that only move
values (view, permute, cat, …) are run literally on the labels, and so need no rules of their
own. What mixes channels in a way we do not know fixes them, and is named.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import torch
from torch import Tensor, fx, nn

from secateur.errors import PruningError
from secateur.pruning.example_inputs import ExampleInputs, call_arguments

aten = torch.ops.aten

Role = Literal["producer", "consumer", "follower"]

# The label of a value that belongs to no channel.
NONE = 0


@dataclass(frozen=True, slots=True)
class Member:
    """What one parameter or buffer loses with a group's channels.

    Attributes:
        name: the tensor's path in the model, ``backbone.features.0.weight``.
        dim: the dimension that shrinks.
        role: ``producer``, a filter that makes the channel (F_i); ``consumer``, the slice that
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
        name: the first producer's module path.
        channels: how many there are.
        members: all that a channel's removal takes away.
        fixed: why the group cannot be pruned, or None.
    """

    name: str
    channels: int
    members: tuple[Member, ...]
    fixed: str | None = None

    def of_role(self, role: Role) -> tuple[Member, ...]:
        """Give the members with that role."""
        return tuple(member for member in self.members if member.role == role)

    @property
    def producers(self) -> tuple[str, ...]:
        """Module paths of the layers whose filters make these channels."""
        return tuple(_module(member.name) for member in self.of_role("producer"))

    @property
    def consumers(self) -> tuple[str, ...]:
        """Module paths of the layers that read these channels."""
        return tuple(_module(member.name) for member in self.of_role("consumer"))


@dataclass(frozen=True, slots=True)
class ChannelGraph:
    """The channel groups of one network, in the order in which the network runs.

    Attributes:
        groups: by name; together they hold every channel of every convolution and linear layer.
        shapes: of every parameter and buffer, by path.
        positions: of every convolution and linear weight, how many output positions use it; a
            layer's MACs are its weight's elements × positions.
        parameters: the paths among ``shapes`` that are parameters.
    """

    groups: dict[str, ChannelGroup]
    shapes: dict[str, tuple[int, ...]]
    positions: dict[str, int]
    parameters: frozenset[str]

    def prunable(self) -> dict[str, ChannelGroup]:
        """Give the groups that are not fixed."""
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


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode, and every module back as it was."""
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode


def channel_groups(model: nn.Module, example_inputs: ExampleInputs) -> ChannelGraph:
    """Find the channel groups of a network.

    Args:
        model: any module that ``torch.export`` can trace; it is left as it was.
        example_inputs: of any values: a tensor, a tuple of arguments, or a mapping of them by
            name.

    Raises:
        PruningError: the network cannot be traced.
    """
    args, kwargs = call_arguments(example_inputs)
    with evaluating(model), torch.no_grad():
        try:
            program = torch.export.export(model, args, kwargs, strict=False)
        except Exception as error:
            reason = str(error).strip().partition("\n")[0]
            raise PruningError(
                f"{type(model).__name__} cannot be traced by torch.export ({reason}); "
                "make its forward pass free of data-dependent control flow"
            ) from error
    return _Flow(program).run()


def _module(parameter: str) -> str:
    return parameter.rpartition(".")[0]


@dataclass
class _Flow:
    """One walk over an exported graph; labels are united in a disjoint-set forest."""

    program: torch.export.ExportedProgram
    parent: list[int] = field(default_factory=lambda: [NONE])
    reasons: dict[int, str] = field(default_factory=dict)
    labels: dict[tuple[str, int], Tensor] = field(default_factory=dict)
    roles: dict[tuple[str, int], Role] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    uncut: dict[str, str] = field(default_factory=dict)
    hollow: set[fx.Node] = field(default_factory=set)
    sources: dict[fx.Node, str] = field(default_factory=dict)
    flow: dict[fx.Node, Any] = field(default_factory=dict)

    # ---- the forest ------------------------------------------------------------------------

    def fresh(self, count: int) -> Tensor:
        start = len(self.parent)
        self.parent.extend(range(start, start + count))
        return torch.arange(start, start + count)

    def find(self, label: int) -> int:
        while self.parent[label] != label:
            self.parent[label] = self.parent[self.parent[label]]
            label = self.parent[label]
        return label

    def unite(self, a: Tensor, b: Tensor) -> None:
        """Unite labels position by position; the label of no channel unites with nothing."""
        shape = (a + b).shape
        lists = [labels.expand(shape).flatten().tolist() for labels in (a, b)]
        for pair in set(zip(*lists, strict=True)):
            if NONE not in pair:
                x, y = sorted(self.find(label) for label in pair)
                self.parent[y] = x
                if y in self.reasons:
                    self.reasons.setdefault(x, self.reasons.pop(y))

    def read_by(self, channels: Tensor, entries: Tensor) -> None:
        """Unite channels with the entries of a parameter that read them.

        An entry that reads what belongs to no channel can go with none.
        """
        self.unite(channels, entries)
        self.fix(entries[channels == NONE], "no layer known to us makes these channels")

    def fix(self, labels: Tensor, reason: str) -> None:
        for label in set(_compact(labels).flatten().tolist()):
            if label != NONE:
                self.reasons.setdefault(self.find(label), reason)

    # ---- the walk --------------------------------------------------------------------------

    def run(self) -> ChannelGraph:
        signature = self.program.graph_signature
        names = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        state = {**self.program.constants, **self.program.state_dict}
        for node in self.program.graph.nodes:
            if node.op == "placeholder" and node.name in names:
                name = names[node.name]
                self.sources[node] = name
                self.tensors[name] = state[name]
                if node.name in signature.inputs_to_lifted_tensor_constants:
                    self.uncut[name] = f"{name} is a constant of the forward pass"
            elif node.op == "placeholder":
                value = node.meta.get("val")
                if isinstance(value, Tensor):
                    labels = torch.full((), int(self.fresh(1)[0])).expand(value.shape)
                    self.fix(labels, f"the network's input {node.name}")
                    self.flow[node] = labels
            elif node.op == "call_function":
                self.flow[node] = self.step(node)
            elif node.op == "get_attr":
                self.flow[node] = _blank(node.meta.get("val"))
            elif node.op == "output":
                for result in node.all_input_nodes:
                    for labels in _tensors(self.read(result)):
                        self.fix(labels, "the network's output")
        self.check()
        return self.groups()

    def check(self) -> None:
        """Fix what no cut of whole slices can take out."""
        owners: dict[int, str] = {}
        for name, tensor in self.tensors.items():
            if (owner := owners.setdefault(id(tensor), name)) != name:
                for shared in (owner, name):
                    self.uncut[shared] = f"{owner} and {name} are one tensor"
        for (name, _), labels in self.labels.items():
            if name in self.uncut:
                self.fix(labels, self.uncut[name])
        roots = torch.tensor([self.find(label) for label in range(len(self.parent))])
        for node, value in self.flow.items():
            for labels in _tensors(value):
                # Without a channel a tensor must still be a box: a channel is whole slices of it.
                if len(_varying(roots[_compact(labels)])) > 1:
                    self.fix(labels, f"{node.name}: its channels are mixed with positions")

    def read(self, node: fx.Node) -> Any:
        """Labels of a node's value; of a parameter, those of the one dimension it spans."""
        if node not in self.sources:
            return self.flow.get(node)
        name = self.sources[node]
        tensor = self.tensors[name]
        long = [dim for dim, size in enumerate(tensor.shape) if size > 1]
        if not long:
            return torch.tensor(NONE).expand(tensor.shape)
        labels = self.dimension(name, long[0], "follower")
        for dim in long[1:]:
            self.fix(self.dimension(name, dim, "follower"), f"{name} spans several dimensions")
        return labels.view([-1 if d == long[0] else 1 for d in range(tensor.dim())]).expand(
            tensor.shape
        )

    def dimension(self, name: str, dim: int, role: Role) -> Tensor:
        """Labels along one dimension of a parameter, (size,)."""
        key = (name, dim)
        if key not in self.labels:
            self.labels[key] = self.fresh(self.tensors[name].shape[dim])
        if role != "follower" or key not in self.roles:
            self.roles[key] = role
        return self.labels[key]

    def step(self, node: fx.Node) -> Any:
        target = cast(Any, node.target)
        if not any(n in self.sources or _tensors(self.flow.get(n)) for n in node.all_input_nodes):
            return _blank(node.meta.get("val"))  # made of numbers and shapes alone
        if _is_hollow(self, node):
            self.hollow.add(node)
        rule = _RULES.get(target)
        if rule is not None:
            return rule(self, node)
        if target in _MOVING or getattr(target, "__name__", "") == "getitem":
            return self.move(node)
        tags = target.tags if isinstance(target, torch._ops.OpOverload) else ()
        if torch.Tag.pointwise in tags or target in _UNTAGGED:
            return self.pointwise(node)
        return self.unknown(node, f"the operator {target} is not known to keep channels apart")

    def unknown(self, node: fx.Node, reason: str) -> Any:
        for source in node.all_input_nodes:
            for labels in _tensors(self.read(source)):
                self.fix(labels, reason)
        return _blank(node.meta.get("val"))

    def move(self, node: fx.Node) -> Any:
        """Run an operator that only moves values on the labels themselves."""
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), self.read)
        # Expanded labels lie otherwise in memory than the values, so that a view may need a copy.
        view = node.target in (aten.view.default, aten._unsafe_view.default)
        target = cast(Any, aten.reshape.default if view else node.target)
        try:
            result = target(*args, **kwargs)
        except (RuntimeError, TypeError):  # sizes that depend on data
            return self.unknown(node, f"{node.name} cannot be followed")
        if node.target in _AT_POSITIONS:
            # x[:, :8] takes other channels once some are gone; x[:, :, :8] does not.
            before = _sequence(self.read(node.all_input_nodes[0]))
            if any(not torch.equal(before, _sequence(part)) for part in _tensors(result)):
                return self.unknown(node, f"{node.name} takes channels by their positions")
        return result

    def pointwise(self, node: fx.Node) -> Any:
        value = node.meta["val"]
        if not isinstance(value, Tensor):
            return self.unknown(node, f"{node.name} gives several results")
        result = torch.tensor(NONE).expand(value.shape)
        for source in node.all_input_nodes:
            for operand in _tensors(self.read(source)):
                labels = operand.expand(value.shape)
                for foreign, own in ((labels, result), (result, labels)):
                    # What belongs to no channel but has an entry for each cannot be cut with them.
                    spans = [d for d in _varying(own) if foreign.stride(d) != 0]
                    if spans and bool((_compact(foreign) == NONE).any()):
                        self.fix(own, f"{node.name} meets values that belong to no channel")
                a, b = _compact_together(result, labels)
                self.unite(a, b)
                result = torch.where(a == NONE, b, a).expand(value.shape)
        return result

    def channels(self, labels: Tensor, dim: int) -> Tensor | None:
        """Labels along one dimension if they differ along no other, else None."""
        along = labels[tuple(slice(None) if d == dim else 0 for d in range(labels.dim()))]
        shape = [-1 if d == dim else 1 for d in range(labels.dim())]
        a, b = _compact_together(labels, along.view(shape).expand(labels.shape))
        return along if torch.equal(a, b) else None

    # ---- the groups ------------------------------------------------------------------------

    def groups(self) -> ChannelGraph:
        # Where each channel stands: label -> (tensor, dimension) -> positions.
        places: dict[int, dict[tuple[str, int], list[int]]] = defaultdict(dict)
        for key, labels in self.labels.items():
            for position, label in enumerate(labels.tolist()):
                places[self.find(label)].setdefault(key, []).append(position)
        # Channels that stand in the same tensors, as often, and are as free form one group.
        alike: dict[Any, list[int]] = defaultdict(list)
        for label, where in places.items():
            pattern = tuple((key, len(positions)) for key, positions in where.items())
            alike[pattern, self.reasons.get(label)].append(label)
        groups: dict[str, ChannelGroup] = {}
        for (pattern, fixed), channels in alike.items():
            members = tuple(
                Member(
                    name,
                    dim,
                    self.roles[name, dim],
                    torch.tensor([places[label][name, dim] for label in channels]),
                )
                for (name, dim), _ in pattern
            )
            first = next((m for m in members if m.role == "producer"), members[0])
            orphans = not any(m.role == "producer" for m in members)
            reason = "no layer known to us makes these channels" if orphans else None
            name = _module(first.name) if first.role == "producer" else first.name
            while name in groups:
                name += "'"
            groups[name] = ChannelGroup(name, len(channels), members, fixed or reason)
        return ChannelGraph(
            groups,
            {name: tuple(tensor.shape) for name, tensor in self.tensors.items()},
            self.positions,
            frozenset(
                # A tensor under two names is one.
                {
                    id(tensor): name
                    for name, tensor in self.tensors.items()
                    if isinstance(tensor, nn.Parameter)
                }.values()
            ),
        )


# ---- rules: what an operator does to channels ----------------------------------------------


def _convolve(flow: _Flow, node: fx.Node) -> Any:
    """Convolutions and linear layers read channels and make new ones."""
    x, weight = cast(Sequence[fx.Node], node.args[:2])
    bias = node.args[2] if len(node.args) > 2 else node.kwargs.get("bias")
    linear = node.target == aten.linear.default
    name = flow.sources.get(weight)
    shape = node.meta["val"].shape
    dim = len(shape) - 1 if linear else 1
    if name is None or (isinstance(bias, fx.Node) and bias not in flow.sources):
        return flow.unknown(node, f"{node.name}: its weights are computed")
    inner, outer = flow.tensors[name].shape[1], flow.tensors[name].shape[0]
    # A layer that is used twice works twice.
    positions = math.prod(shape[1:]) // outer
    flow.positions[name] = flow.positions.get(name, 0) + positions
    batched = linear or len(shape) == flow.tensors[name].dim()
    into = flow.channels(flow.read(x), dim) if batched else None
    if into is None:
        return flow.unknown(node, f"{node.name}: its channels are mixed with positions")
    groups = 1 if linear else _argument(node, "groups", 1)
    if groups == 1:
        out = flow.dimension(name, 0, "producer")
        flow.read_by(into, flow.dimension(name, 1, "consumer"))
    elif inner == 1:
        # Depthwise: each input channel has filters of its own, which go with it.
        out = flow.dimension(name, 0, "follower")
        flow.read_by(into.repeat_interleave(outer // groups), out)
    else:
        # Grouped: every group of the convolution loses the same channels, so that all stay equal.
        out = flow.dimension(name, 0, "producer")
        entries = flow.dimension(name, 1, "consumer").expand(groups, inner)
        flow.read_by(into.reshape(groups, inner), entries)
        rows = out.view(groups, -1)
        flow.unite(rows, rows[0])
    if isinstance(bias, fx.Node):
        flow.unite(out, flow.dimension(flow.sources[bias], 0, "follower"))
    return out.view([-1 if d == dim else 1 for d in range(len(shape))]).expand(shape)


def _normalise(flow: _Flow, node: fx.Node) -> Any:
    """Batch norm in evaluation mode has an entry a channel."""
    labels = flow.read(cast(fx.Node, node.args[0]))
    into = flow.channels(labels, 1)
    if into is None:
        return flow.unknown(node, f"{node.name}: its channels are mixed with positions")
    entries = [entry for entry in node.args[1:5] if isinstance(entry, fx.Node)]
    if any(entry not in flow.sources for entry in entries):
        return flow.unknown(node, f"{node.name}: its entries are computed")
    for entry in entries:
        flow.read_by(into, flow.dimension(flow.sources[entry], 0, "follower"))
    return labels


def _pool(flow: _Flow, node: fx.Node) -> Any:
    """Pooling and resizing work on each channel by itself."""
    labels = flow.read(cast(fx.Node, node.args[0]))
    into = flow.channels(labels, 1)
    if into is None:
        return flow.unknown(node, f"{node.name}: its channels are mixed with positions")
    values = node.meta["val"]
    one = into.view([-1 if d == 1 else 1 for d in range(labels.dim())])
    if isinstance(values, Tensor):
        return one.expand(values.shape)
    return [one.expand(value.shape) for value in values]


def _reduce(flow: _Flow, node: fx.Node) -> Any:
    """Reductions over positions keep channels apart; a sum or norm over channels loses nothing.

    As long as a masked channel is zero, a sum or a norm does not see it go. A mean, which divides
    by their number, does, and fixes them.
    """
    labels = flow.read(cast(fx.Node, node.args[0]))
    value = node.meta["val"]
    if not isinstance(value, Tensor):
        return flow.unknown(node, f"{node.name} gives several results")
    dims = _argument(node, "dim", None)
    dims = [dims] if isinstance(dims, int) else dims or range(labels.dim())
    dims = [d % labels.dim() for d in dims]
    ahead = labels[tuple(slice(0, 1) if d in dims else slice(None) for d in range(labels.dim()))]
    a, b = _compact_together(labels, ahead.expand(labels.shape))
    if torch.equal(a, b):
        return ahead.reshape(value.shape) if ahead.numel() == value.numel() else ahead
    is_sum = node.target in (aten.sum.dim_IntList, aten.sum.default)
    is_norm = node.target == aten.linalg_vector_norm.default
    blind = is_sum or (is_norm and _argument(node, "ord", 2) in (1, 2))
    # Two dimensions of different channels are none that a sum over one of them leaves whole.
    rest = [d for d in _varying(labels) if d not in dims]
    if not blind or node.args[0] not in flow.hollow or rest:
        return flow.unknown(node, f"{node.name} reduces over channels")
    return _blank(value)


_MOVING = {
    aten.view.default,
    aten.reshape.default,
    aten._unsafe_view.default,
    aten.permute.default,
    aten.transpose.int,
    aten.t.default,
    aten.flatten.using_ints,
    aten.unflatten.int,
    aten.squeeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.unsqueeze.default,
    aten.slice.Tensor,
    aten.select.int,
    aten.narrow.default,
    aten.cat.default,
    aten.stack.default,
    aten.split.Tensor,
    aten.split_with_sizes.default,
    aten.chunk.default,
    aten.unbind.int,
    aten.expand.default,
    aten.expand_as.default,
    aten.repeat.default,
    aten.flip.default,
    aten.roll.default,
    aten.movedim.int,
    aten.movedim.intlist,
    aten.pixel_shuffle.default,
    aten.pixel_unshuffle.default,
    aten.channel_shuffle.default,
    aten.alias.default,
    aten.detach.default,
}

_RULES: dict[Any, Any] = {
    **dict.fromkeys([aten.conv1d.default, aten.conv2d.default, aten.conv3d.default], _convolve),
    **dict.fromkeys([aten.conv2d.padding, aten.linear.default], _convolve),
    aten.batch_norm.default: _normalise,
    **dict.fromkeys(
        [
            aten.max_pool2d.default,
            aten.max_pool2d_with_indices.default,
            aten.avg_pool2d.default,
            aten.adaptive_avg_pool2d.default,
            aten.adaptive_max_pool2d.default,
            aten.upsample_nearest2d.vec,
            aten.upsample_bilinear2d.vec,
        ],
        _pool,
    ),
    **dict.fromkeys(
        [
            aten.mean.dim,
            aten.sum.dim_IntList,
            aten.sum.default,
            aten.amax.default,
            aten.amin.default,
            aten.linalg_vector_norm.default,
        ],
        _reduce,
    ),
    # These copy values or change their kind; what is drawn by chance is nothing in evaluation.
    **dict.fromkeys(
        [
            aten.dropout.default,
            aten.dropout_.default,
            aten.clone.default,
            aten.contiguous.default,
            aten._to_copy.default,
        ],
        lambda flow, node: flow.read(node.args[0]),
    ),
    aten._assert_tensor_metadata.default: lambda flow, node: None,  # noqa: ARG005
}

# Movers that count channels from one end, and so take others when some are gone.
_AT_POSITIONS = {
    aten.slice.Tensor,
    aten.select.int,
    aten.narrow.default,
    aten.split.Tensor,
    aten.split_with_sizes.default,
    aten.chunk.default,
    aten.unbind.int,
    aten.roll.default,
    aten.channel_shuffle.default,
}

# Element-wise operators that torch does not tag as such.
_UNTAGGED = {aten.hardswish.default, aten.hardswish_.default, aten.mish_.default}

# Element-wise operators that make zero of zero.
_KEEPS_ZERO = {
    aten.relu.default,
    aten.relu_.default,
    aten.leaky_relu.default,
    aten.leaky_relu_.default,
    aten.silu.default,
    aten.silu_.default,
    aten.gelu.default,
    aten.hardswish.default,
    aten.hardswish_.default,
    aten.tanh.default,
    aten.mul.Tensor,
}


def _is_hollow(flow: _Flow, node: fx.Node) -> bool:
    """Whether channels that are masked where they are made are zero in this value too."""
    rule = _RULES.get(node.target)
    if rule in (_convolve, _normalise):
        return True
    if node.target in _KEEPS_ZERO or rule is _pool:
        return any(source in flow.hollow for source in node.all_input_nodes)
    return False


def _argument(node: fx.Node, name: str, default: Any) -> Any:
    """The value of an operator's argument, however it was passed."""
    schema = cast(torch._ops.OpOverload, node.target)._schema
    position = next((i for i, a in enumerate(schema.arguments) if a.name == name), len(node.args))
    return node.args[position] if position < len(node.args) else node.kwargs.get(name, default)


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    parts = value if isinstance(value, list | tuple) else []
    return [part for part in parts if isinstance(part, Tensor)]


def _blank(value: Any) -> Any:
    """Labels of a value that belongs to no channel; not expanded, for its entries are its own."""
    if isinstance(value, Tensor):
        return torch.full(value.shape, NONE)
    if isinstance(value, list | tuple):
        return [_blank(part) for part in value]
    return None


def _varying(labels: Tensor) -> list[int]:
    """Dimensions along which labels differ."""
    small = _compact(labels)
    return [
        dim
        for dim in range(small.dim())
        if small.shape[dim] > 1 and not bool((small == small.narrow(dim, 0, 1)).all())
    ]


def _sequence(labels: Tensor) -> Tensor:
    """Labels along the dimensions along which they differ."""
    dims = _varying(labels)
    return labels[tuple(slice(None) if d in dims else 0 for d in range(labels.dim()))].flatten()


def _compact(labels: Tensor) -> Tensor:
    """Give one entry of every dimension along which the labels were expanded."""
    return labels[tuple(slice(0, 1) if s == 0 else slice(None) for s in labels.stride())]


def _compact_together(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Likewise of two tensors of one shape, where both were expanded."""
    both = tuple(
        slice(0, 1) if s == t == 0 else slice(None)
        for s, t in zip(a.stride(), b.stride(), strict=True)
    )
    return a[both], b[both]
