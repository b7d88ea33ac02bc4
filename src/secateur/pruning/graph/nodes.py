"""What an operator of an exported graph was called with, and by which module."""

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import fx, nn

if TYPE_CHECKING:
    from secateur.pruning.graph.flow import Flow


def module_of(flow: "Flow", node: fx.Node) -> tuple[str, nn.Module | None]:
    """Return the path and the module whose forward pass called an operator."""
    stack = node.meta.get("nn_module_stack") or {"": ("", None)}
    path = cast(str, list(stack.values())[-1][0])
    try:
        return path, flow.model.get_submodule(path)
    except AttributeError:
        return path, None


def argument(node: fx.Node, name: str, default: Any) -> Any:
    """Return the value of an operator's argument, passed by position or by name."""
    schema = cast(torch._ops.OpOverload, node.target)._schema
    position = next((i for i, a in enumerate(schema.arguments) if a.name == name), len(node.args))
    return node.args[position] if position < len(node.args) else node.kwargs.get(name, default)
