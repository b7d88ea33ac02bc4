"""Example inputs: the arguments that a network is traced, counted and verified with."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_map

# A tensor is the only argument; a tuple holds positional arguments, a mapping keyword arguments.
# Arguments may hold lists and dicts of tensors: for a network that takes one list, ([a, b],).
ExampleInputs = Tensor | tuple[Any, ...] | Mapping[str, Any]


def call_arguments(example_inputs: ExampleInputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Give the positional and the keyword arguments of the call."""
    if isinstance(example_inputs, Mapping):
        return (), dict(example_inputs)
    if isinstance(example_inputs, tuple):
        return example_inputs, {}
    return (example_inputs,), {}


def map_tensors(change: Callable[[Tensor], Tensor], example_inputs: Any) -> Any:
    """Apply a function to every tensor of the inputs."""
    return tree_map(lambda x: change(x) if isinstance(x, Tensor) else x, example_inputs)
