"""Sizes that depend on data: those of ``nonzero``, boolean indexing, ``unique`` or NMS.

A trace holds symbols for them. Labels need numbers, and which ones does not matter: what depends
on data is fixed where it begins and where it says which positions are taken.
"""

from typing import Any, cast

import torch
from torch import Tensor, fx
from torch.fx.experimental.symbolic_shapes import free_symbols
from torch.utils._pytree import tree_map

from secateur.pruning.graph.operators import VIEWS

# Stands for every such size. One would broadcast.
_SIZE = 2
# The sizes of their results say all that a size among their arguments says.
_SHAPING = {*VIEWS, torch.ops.aten.expand.default, torch.ops.aten.flatten.using_ints}
# The key in a node's ``meta`` that says that its result depends on data in an unknown way.
BY_DATA = "secateur_by_data"

_Symbolic = torch.SymInt | torch.SymFloat | torch.SymBool


def put_numbers(graph: fx.Graph) -> None:
    """Replace every size that depends on data by a number, and mark the operators that use one.

    Args:
        graph: changed in place.
    """
    numbers: dict[fx.Node, Any] = {}
    for node in graph.nodes:
        value = node.meta.get("val")
        if node.meta.get("unbacked_bindings"):
            node.meta[BY_DATA] = True
        if any(each in numbers for each in node.all_input_nodes):
            tensor_nodes = [each for each in node.all_input_nodes if each not in numbers]
            if tensor_nodes and node.op == "call_function" and not _keeps_apart(node.target):
                node.meta[BY_DATA] = True
            node.args, node.kwargs = fx.node.map_arg(
                (node.args, node.kwargs), lambda each: numbers.get(each, each)
            )
        if isinstance(value, _Symbolic):
            numbers[node] = _number(value)
        node.meta["val"] = tree_map(_numbered, value)
    for node in numbers:
        if not node.meta.get(BY_DATA) and not node.users:
            graph.erase_node(node)


def _keeps_apart(target: Any) -> bool:
    """Whether an operator treats all channels alike, whatever number it is given."""
    pointwise = torch.Tag.pointwise in getattr(target, "tags", ())
    # A power of zero depends on its sign.
    return target in _SHAPING or (pointwise and target is not torch.ops.aten.pow.Tensor_Scalar)


def _numbered(value: Any) -> Any:
    if isinstance(value, _Symbolic):
        return _number(value)
    if not isinstance(value, Tensor) or not free_symbols(value):
        return value
    sizes = [int(_number(size)) for size in value.shape]
    return torch.empty(sizes, dtype=value.dtype, device="meta")


def _number(value: Any) -> Any:
    """The value of an expression when every symbol in it has the value of ``_SIZE``."""
    if not isinstance(value, _Symbolic):
        return value
    expression = cast(Any, value).node.expr
    number = expression.subs(dict.fromkeys(expression.free_symbols, _SIZE))
    if isinstance(value, torch.SymBool):
        return bool(number)
    return int(number) if isinstance(value, torch.SymInt) else float(number)
