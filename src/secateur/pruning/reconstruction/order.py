"""The order in which layers can be solved: each after those whose outputs reach it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from secateur.models.example_inputs import ExampleInputs, call_arguments
from secateur.models.modes import evaluating


def solving_order(
    model: nn.Module, layers: Mapping[str, nn.Module], inputs: ExampleInputs
) -> list[list[str]]:
    """Sort layers into levels: no output of a level reaches another layer of that level.

    One forward pass is recorded by autograd, without its values; a layer depends on those that are
    found on the way back from its input.

    Args:
        model: is called.
        layers: by path; those that are not called are in no level.
        inputs: what the model is called with.
    """
    tokens: dict[Any, str] = {}
    found: dict[Any, frozenset[str]] = {}
    before: dict[str, set[str]] = {}
    kept: list[Tensor] = []

    def reaching(node: Any) -> frozenset[str]:
        """The layers nearest to a node of the recorded graph, on the way back."""
        waiting = [node]
        while waiting:
            each = waiting[-1]
            parents = [parent for parent, _ in each.next_functions if parent is not None]
            missing = [parent for parent in parents if parent not in found]
            if each in found or not missing:
                waiting.pop()
                if each not in found:
                    own = frozenset([tokens[each]]) if each in tokens else frozenset()
                    found[each] = own or frozenset().union(*(found[p] for p in parents))
            else:
                waiting += missing
        return found[node]

    def on_input(path: str) -> Any:
        def hook(_module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
            ancestors = before.setdefault(path, set())
            first = [*given, *named.values()][0]
            if first.grad_fn is not None:
                ancestors |= reaching(first.grad_fn)

        return hook

    def on_output(path: str) -> Any:
        def hook(_module: nn.Module, _given: Any, output: Tensor) -> Tensor:
            token = torch.zeros((), dtype=output.dtype, device=output.device, requires_grad=True)
            marked = output + token
            kept.append(marked)  # a node lives as long as its tensor
            tokens[marked.grad_fn] = path
            return marked

        return hook

    handles = [
        layer.register_forward_pre_hook(on_input(path), with_kwargs=True)
        for path, layer in layers.items()
    ]
    handles += [layer.register_forward_hook(on_output(path)) for path, layer in layers.items()]
    nothing = torch.autograd.graph.saved_tensors_hooks(lambda _tensor: None, lambda _none: _none)
    try:
        args, kwargs = call_arguments(inputs)
        with evaluating(model), torch.enable_grad(), nothing:
            model(*args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()
    level: dict[str, int] = {}
    for path, ancestors in before.items():  # in the order of their first calls
        level[path] = 1 + max((level[each] for each in ancestors if each in level), default=-1)
    return [[path for path in level if level[path] == n] for n in sorted(set(level.values()))]
