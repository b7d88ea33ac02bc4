"""Watching what modules read and give while a network runs."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def watched(
    model: nn.Module,
    paths: Iterable[str],
    *,
    before: Callable[[str, Tensor], None] | None = None,
    after: Callable[[str, Tensor], None] | None = None,
) -> Iterator[None]:
    """Call functions with a module's path, and its first input or its output, at each call."""

    def on_input(path: str) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
        def hook(_module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
            if before is not None:
                before(path, [*given, *named.values()][0])

        return hook

    def on_output(path: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(_module: nn.Module, _given: Any, output: Tensor) -> None:
            if after is not None:
                after(path, output)

        return hook

    handles = []
    for path in paths:
        module = model.get_submodule(path)
        if before is not None:
            handles.append(module.register_forward_pre_hook(on_input(path), with_kwargs=True))
        if after is not None:
            handles.append(module.register_forward_hook(on_output(path)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
