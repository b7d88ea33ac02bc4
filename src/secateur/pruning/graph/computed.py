"""Weights that are computed from parameters alone, as by weight norm and spectral norm.

They have channels in two dimensions, so their labels are kept for one dimension at a time.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, fx

from secateur.pruning.graph.labels import along, squeeze_out, varying
from secateur.pruning.graph.nodes import argument
from secateur.pruning.graph.operators import AT_POSITIONS, MOVING, STATISTICS, VIEWS

if TYPE_CHECKING:
    from secateur.pruning.graph.flow import Flow, Key

aten = torch.ops.aten


@dataclass(frozen=True, slots=True)
class Axis:
    """One dimension of channels of a value.

    Attributes:
        labels: of the value's shape; they vary along one dimension.
        key: the parameter and its dimension that produces or reads these channels.
    """

    labels: Tensor
    key: "Key"

    @property
    def dim(self) -> int:
        """The dimension along which the labels vary."""
        return varying(self.labels)[0]

    @property
    def entries(self) -> Tensor:
        """The labels along that dimension, (size,)."""
        return self.labels.movedim(self.dim, 0).reshape(self.labels.shape[self.dim], -1)[:, 0]


@dataclass(frozen=True, slots=True)
class Computed:
    """A value that is computed from parameters alone.

    Attributes:
        axes: its dimensions of channels.
        shape: before it is expanded: copies along a dimension are the same for all channels.
        zero: whether it is zero for channels that are masked in the parameters.
    """

    axes: tuple[Axis, ...]
    shape: torch.Size
    zero: bool = True

    def axis(self, dim: int) -> Axis | None:
        """Return the axis along a dimension, or None."""
        return next((axis for axis in self.axes if axis.dim == dim), None)


def axes_of(flow: "Flow", name: str) -> Computed:
    """Give the axes of a parameter: of a convolution's weight, those of filters and channels."""
    shape = flow.tensors[name].shape
    kernel = 2 if len(shape) > 2 and shape[0] > 1 else len(shape)
    dims = [d for d, size in enumerate(shape) if size > 1 and d < kernel]
    axes = tuple(Axis(along(flow.entries((name, d)), d, shape), (name, d)) for d in dims)
    return Computed(axes, shape, zero=bool(axes))


def compute(flow: "Flow", node: fx.Node) -> Computed | None:
    """Give the axes of an operator's result; None if its channels cannot be followed."""
    given = [flow.computed(n) for n in node.all_input_nodes]
    inputs = [each for each in given if each is not None]
    rule = rule_of(node)
    return rule(flow, node, inputs) if rule is not None and len(inputs) == len(given) else None


def _merge(flow: "Flow", node: fx.Node, inputs: list[Computed]) -> tuple[Axis, ...] | None:
    """Unite the axes of operands that are broadcast to one shape, dimension by dimension."""
    shape = node.meta["val"].shape
    axes: dict[int, Axis] = {}
    for value in inputs:
        size = value.shape
        for axis in value.axes:
            labels = axis.labels.expand(shape)
            wide = Axis(labels, axis.key)
            known = axes.setdefault(wide.dim, wide)
            flow.forest.unite(known.labels, labels)
        blind = {d + len(shape) - len(size) for d, n in enumerate(size) if n > 1}
        if any(d in blind and value.axis(d - len(shape) + len(size)) is None for d in axes):
            return None  # one of its dimensions has entries of channels that are not followed
    return tuple(axes.values())


def pointwise(flow: "Flow", node: fx.Node, inputs: list[Computed]) -> Computed | None:
    """Sums, products and other operators of one element at a time."""
    axes = _merge(flow, node, inputs)
    zero = [value.zero for value in inputs]
    stays_zero = (
        (node.target == aten.mul.Tensor and any(zero))
        or (node.target in (aten.div.Tensor, aten.neg.default) and zero[0])
        or (node.target in (aten.add.Tensor, aten.sub.Tensor) and len(zero) == 2 and all(zero))
    )
    return None if axes is None else Computed(axes, node.meta["val"].shape, stays_zero)


def move(_: "Flow", node: fx.Node, inputs: list[Computed]) -> Computed | None:
    """Views and permutations run on the labels themselves."""
    target = cast(Any, node.target)
    target = aten.reshape.default if target in VIEWS else target
    target = aten.reshape_as.default if target == aten.view_as.default else target
    values = {n: torch.empty(n.meta["val"].shape, device="meta") for n in node.all_input_nodes}
    axes = []
    for axis in inputs[0].axes:
        source = cast(fx.Node, node.args[0])
        values[source] = axis.labels.expand(source.meta["val"].shape)
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
        try:
            labels = target(*args, **kwargs)
        except (RuntimeError, TypeError):
            return None
        if not isinstance(labels, Tensor) or len(varying(labels := squeeze_out(labels))) != 1:
            return None
        axes.append(Axis(labels, axis.key))
        if target in AT_POSITIONS and not torch.equal(axes[-1].entries, axis.entries):
            return None
    return Computed(tuple(axes), node.meta["val"].shape, inputs[0].zero)


def keep(_: "Flow", node: fx.Node, inputs: list[Computed]) -> Computed:  # noqa: ARG001
    """Copies, casts, expanded values, and one of several results."""
    return inputs[0]


def reduce(flow: "Flow", node: fx.Node, inputs: list[Computed]) -> Computed | None:
    """Statistics over the dimensions of a weight omit what is removed."""
    value = node.meta["val"]
    value = value if isinstance(value, Tensor) else value[0]
    rank = len(inputs[0].shape)
    dims = argument(node, "dim", None)
    dims = {d % rank for d in ([dims] if isinstance(dims, int) else dims or range(rank))}
    exact = node.target in (aten.sum.dim_IntList, aten.sum.default, aten.linalg_vector_norm.default)
    axes = []
    for axis in inputs[0].axes:
        if axis.dim in dims:
            flow.omit(axis.labels, exact=exact and inputs[0].zero)
            continue
        kept = axis.dim if value.dim() == rank else axis.dim - sum(d < axis.dim for d in dims)
        axes.append(Axis(along(axis.entries, kept, value.shape), axis.key))
    return Computed(tuple(axes), value.shape, exact and inputs[0].zero)


def weight_norm(flow: "Flow", node: fx.Node, inputs: list[Computed]) -> Computed | None:
    """A direction, of any length, and the length of each filter, which is zero if it is masked."""
    direction = node.all_input_nodes[0]
    axes = _merge(flow, node, inputs)
    if axes is None or direction not in flow.sources:
        return None
    if inputs[1].axes:
        flow.directions.add(flow.sources[direction])
        (lengths,) = inputs[1].axes
        axes = tuple(Axis(a.labels, lengths.key) if a.dim == lengths.dim else a for a in axes)
    return Computed(axes, node.meta["val"].shape)


def multiply(flow: "Flow", node: fx.Node, inputs: list[Computed]) -> Computed | None:
    """Products of matrices and vectors: the channels that are summed over are the same."""
    shapes = [value.shape for value in inputs]
    if len(inputs) != 2 or any(len(shape) > 2 for shape in shapes):
        return None
    a, b = inputs
    last, first = len(shapes[0]) - 1, max(0, len(shapes[1]) - 2)
    left, right = a.axis(last), b.axis(first)
    if (left is None) != (right is None):
        return None
    if left is not None and right is not None:
        flow.forest.unite(left.entries, right.entries)
        flow.omit(left.labels, exact=a.zero or b.zero)
    shape = node.meta["val"].shape
    axes = []
    if last == 1 and (rows := a.axis(0)) is not None:
        axes.append(Axis(along(rows.entries, 0, shape), rows.key))
    if len(shapes[1]) == 2 and (columns := b.axis(1)) is not None:
        dim = len(shape) - 1
        axes.append(Axis(along(columns.entries, dim, shape), columns.key))
    return Computed(tuple(axes), shape, a.zero and b.zero)


def standardise(flow: "Flow", node: fx.Node, inputs: list[Computed]) -> Computed | None:
    """A batch norm in training standardises the rows of a weight."""
    if not argument(node, "training", None):
        return None
    for axis in inputs[0].axes:
        if axis.dim != 1:
            flow.omit(axis.labels)
        for value in inputs[1:] if axis.dim == 1 else ():
            for each in value.axes:
                flow.forest.unite(axis.entries, each.entries)
    return Computed(inputs[0].axes, inputs[0].shape, zero=False)


Rule = Callable[["Flow", fx.Node, list[Computed]], Computed | None]


def rule_of(node: fx.Node) -> Rule | None:
    """Return the rule for an operator on parameters alone, or None if it has none."""
    target = cast(Any, node.target)
    if target in _RULES:
        return _RULES[target]
    if target in MOVING:
        return move
    tags = target.tags if isinstance(target, torch._ops.OpOverload) else ()
    return pointwise if torch.Tag.pointwise in tags else None


_RULES: dict[Any, Rule] = {
    operator.getitem: keep,
    aten._weight_norm.default: weight_norm,
    aten.batch_norm.default: standardise,
    **dict.fromkeys((aten.mv.default, aten.mm.default, aten.matmul.default, aten.dot.default,
                     aten.vdot.default), multiply),
    **dict.fromkeys(STATISTICS, reduce),
    **dict.fromkeys((aten.view_as.default, aten.reshape_as.default), move),
    **dict.fromkeys((aten.clone.default, aten.contiguous.default, aten.detach.default,
                     aten._to_copy.default, aten.to.dtype, aten.alias.default, aten.expand.default,
                     aten.expand_as.default), keep),
}  # fmt: skip
