"""Training and evaluation mode of a network's modules."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from secateur.errors import ModelError, first_line


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode; restore the mode of every module at the end."""
    with training(model, mode=False):
        yield


@contextmanager
def training(model: nn.Module, *, mode: bool = True) -> Iterator[None]:
    """Put a model in training mode; restore the mode of every module at the end.

    Raises:
        ModelError: it has no modes.
    """
    before = {module: module.training for module in model.modules()}
    try:
        model.train(mode)
    except NotImplementedError as error:  # the module of an exported program
        raise ModelError(
            f"{type(model).__name__} has no modes of training and evaluation "
            f"({first_line(error)}); give the module that was exported"
        ) from None
    try:
        yield
    finally:
        for module, was in before.items():
            module.training = was


@contextmanager
def attributes_restored(model: nn.Module) -> Iterator[None]:
    """Restore every attribute of every module at the end.

    A forward pass may store its last features, a cached grid or a counter in a module, and a hook
    may do so from outside. While a network is traced, these would be tensors without values.
    Containers among the attributes get their content back, and remain the same objects.
    """
    kept = [(module, dict(vars(module))) for module in model.modules()]
    contents = [
        (value, value.copy())
        for _, attributes in kept
        for value in attributes.values()
        if isinstance(value, dict | list | set)
    ]
    try:
        yield
    finally:
        for module, attributes in kept:
            vars(module).clear()
            vars(module).update(attributes)
        for container, content in contents:
            container.clear()
            if isinstance(container, list):
                container.extend(content)
            else:
                container.update(content)
