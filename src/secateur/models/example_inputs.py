"""Example inputs: what a network is called with to be traced, counted and compared."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_map

# A tensor is the one argument; a tuple, the arguments in their order; a mapping, those by name.
# Any of them may hold lists and dicts of tensors: a network that takes one list gets ([a, b],).
ExampleInputs = Tensor | tuple[Any, ...] | Mapping[str, Any]


def call_arguments(example_inputs: ExampleInputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Give the positional and the named arguments of the call."""
    if isinstance(example_inputs, Mapping):
        return (), dict(example_inputs)
    if isinstance(example_inputs, tuple):
        return example_inputs, {}
    return (example_inputs,), {}


def map_tensors(change: Callable[[Tensor], Tensor], example_inputs: Any) -> Any:
    """Give the same inputs with every tensor in them changed."""
    return tree_map(lambda x: change(x) if isinstance(x, Tensor) else x, example_inputs)
