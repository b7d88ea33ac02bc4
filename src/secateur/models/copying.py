"""Copies of networks, whatever their modules keep among their attributes."""

import copy
import sys
import weakref
from collections.abc import Mapping
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from secateur.errors import ModelError, first_line

Model = TypeVar("Model", bound=nn.Module)


def copy_model(model: Model, instead: Mapping[int, Tensor] | None = None) -> Model:
    """Make a deep copy of a network.

    ``copy.deepcopy`` refuses tensors with a gradient history, such as features that a forward pass
    stored in a module, or those of ``weight_norm``, ``spectral_norm`` and ``torch.nn.utils.prune``.
    They are copied without that history. It also refuses Python modules, locks, open files and
    other attributes: the copy shares them with the original. Weak references to a part of the
    network refer to that part of the copy.

    Args:
        model: not changed.
        instead: replacements for some tensors in the copy, by the ``id`` of the original.

    Raises:
        ModelError: a module's class refuses to be copied.
    """
    memo: dict[int, Any] = {
        id(value): value.detach()
        for module in model.modules()
        for value in tree_leaves(vars(module))
        if isinstance(value, Tensor) and not value.is_leaf
    }
    memo |= instead or {}
    copies = dict(memo)
    try:
        copied = copy.deepcopy(model, copies)
    except (MemoryError, RecursionError):
        raise
    except Exception:  # its class depends on the attribute
        copies = memo | _uncopied(model, memo)
        try:
            copied = copy.deepcopy(model, copies)
        except (TypeError, ValueError, AttributeError, NotImplementedError) as error:
            raise ModelError(
                f"{type(model).__name__} cannot be copied ({first_line(error)}); give its class a "
                "__deepcopy__ that works"
            ) from error
    for module in model.modules():
        for name, value in vars(module).items():
            if isinstance(value, weakref.ref) and (target := copies.get(id(value()))) is not None:
                vars(copies[id(module)])[name] = weakref.ref(target)
    return copied


def _uncopied(model: nn.Module, memo: Mapping[int, Any]) -> dict[int, Any]:
    """Find what ``copy.deepcopy`` refuses: what stands for it in the copy, by ``id``."""
    found: dict[int, Any] = {}
    seen: set[int] = set()
    # Attempts to copy an attribute share the network, which may be large.
    tensors = (leaf for module in model.modules() for leaf in tree_leaves(vars(module)))
    network = {id(x): x for x in (*model.modules(), *tensors) if isinstance(x, nn.Module | Tensor)}

    def visit(value: Any) -> bool:
        """Search a value; tell whether it holds a module or a tensor."""
        if id(value) in seen:
            return id(value) in network
        seen.add(id(value))
        if isinstance(value, nn.Module):
            visit(vars(value))
            return True
        if isinstance(value, Tensor):
            if not value.is_leaf:
                found.setdefault(id(value), value.detach())
            return True
        if isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, list | tuple | set | frozenset):
            return any(list(map(visit, value)))  # all are visited
        if _copies(value, {**network, **memo, **found}):
            return False
        own = type(value).__module__.partition(".")[0] not in sys.stdlib_module_names
        holds = own and hasattr(value, "__dict__") and visit(vars(value))
        if not (holds and _copies(value, {**network, **memo, **found})):
            found[id(value)] = value
        return holds

    visit(model)
    return found


def _copies(value: Any, memo: dict[int, Any]) -> bool:
    try:
        copy.deepcopy(value, memo)
    except Exception:  # what it says depends on the class
        return False
    return True
