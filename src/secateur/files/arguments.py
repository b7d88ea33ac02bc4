"""Arguments of public functions: one of a wrong type is refused in one line that says what to give.

Types are read from annotations. What they do not say, such as a range, the function checks itself.
"""

import functools
import inspect
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import fields
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from secateur.errors import WrongTypeError

P = ParamSpec("P")
R = TypeVar("R")

# What to give for a type, where its name is not enough.
_WORDS = {
    "bool": "True or False",
    "float": "a number",
    "int": "a whole number",
    "str": "a string",
    "PathLike": "a path",
    "Module": "a torch.nn.Module",
    "Tensor": "a tensor",
    "Optimizer": "an optimizer of torch.optim",
    "ChannelGraph": "the graph that channel_groups returned",
}
# What to give for a list of a type that only one function returns.
_OF = {"Blocks": "what prunable_blocks returned"}
# What to give instead of a result that holds it.
_PARTS = {
    "Choice": "its kept",
    "NetworkFile": "its model",
    "PhaseResult": "its kept",
    "Removed": "its model",
    "Result": "its model",
    "Threshold": "its value",
    "TorchNetwork": "its model",
    "ExportedProgram": "the module that was exported",
}
# What to give instead of a module that wraps another one, and so has other names of tensors, or
# that has no layers in Python.
_WRAPPED = {
    "AveragedModel": "its module",
    "DataParallel": "its module",
    "DistributedDataParallel": "its module",
    "FullyShardedDataParallel": "a copy that is not sharded",
    "OptimizedModule": "the module that was compiled",
    "ScriptModule": "the module that was scripted",
    "_FabricModule": "its module",
}


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Check the types of a function's arguments before each call; a decorator.

    Raises:
        WrongTypeError: one is of a type that its annotation does not name.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError:  # an argument is missing or unknown; Python's own message says which
            return function(*args, **kwargs)
        hints = _hints(function)
        for name, value in given.items():
            if name in hints:
                _check(function.__qualname__, name, value, hints[name])
        return function(*args, **kwargs)

    return call


def check_fields(instance: Any) -> None:
    """Check the types of a dataclass's fields.

    Raises:
        WrongTypeError: one is of a type that its annotation does not name.
    """
    kind: Any = type(instance)
    hints = _hints(kind)
    for field in fields(instance):
        _check(kind.__name__, field.name, getattr(instance, field.name), hints[field.name])


@functools.cache
def _hints(owner: Hashable) -> dict[str, Any]:
    return get_type_hints(owner)


def _check(owner: str, name: str, value: Any, hint: Any) -> None:
    if getattr(hint, "__name__", "") == "Module":
        for kind in type(value).__mro__:
            if cure := _WRAPPED.get(kind.__name__):
                raise WrongTypeError(
                    f"{owner}: {name} is {_with_article(kind.__name__)}; give {cure}"
                )
    misfit = _misfit(name, value, hint)
    if misfit is not None:
        place, found, wanted = misfit
        cure = _PARTS.get(type(found).__name__, "") if place == name else ""
        raise WrongTypeError(f"{owner}: {place} is {_described(found)}; give {cure or wanted}")


def _misfit(name: str, value: Any, hint: Any) -> tuple[str, Any, str] | None:
    """The name of the first part that does not fit, its value, and what to give for it."""
    origin, parts = get_origin(hint) or hint, get_args(hint)
    if origin in (Union, UnionType):
        misfits = [_misfit(name, value, part) for part in parts]
        if None in misfits:
            return None
        # If it is of one of the kinds, what is wrong is inside it.
        inner = [each for each in misfits if each is not None and each[0] != name]
        return inner[0] if inner else (name, value, _wanted(hint))
    if not _is_of(value, origin, parts):
        return name, value, _wanted(hint)
    elements: list[tuple[str, Any, Any]] = []
    if isinstance(value, Mapping) and parts:
        elements = [(f"a key of {name}", key, parts[0]) for key in value]
        elements += [(f"{name}[{key!r}]", each, parts[1]) for key, each in value.items()]
    elif origin is tuple and parts and Ellipsis not in parts:
        if len(parts) != len(value):
            return name, value, _wanted(hint)
        pairs = zip(value, parts, strict=True)
        elements = [(f"{name}[{i}]", *pair) for i, pair in enumerate(pairs)]
    elif _is_iterable(origin) and isinstance(value, Collection) and parts:
        # What is no collection may be iterable only once.
        elements = [(f"{name}[{i}]", each, parts[0]) for i, each in enumerate(value)]
    return next((misfit for each in elements if (misfit := _misfit(*each)) is not None), None)


def _is_of(value: Any, origin: Any, parts: tuple[Any, ...]) -> bool:
    """Whether a value is of a type, whatever is in it."""
    if origin is Literal:
        return any(type(value) is type(part) and value == part for part in parts)
    if origin in (float, int):
        number = Real if origin is float else Integral
        return isinstance(value, number) and not isinstance(value, bool)
    if origin is Callable:
        return callable(value)
    if origin is Any or not isinstance(origin, type):
        return True  # Any, a type variable
    if getattr(origin, "_is_protocol", False):
        return all(hasattr(value, name) for name in dir(origin) if not name.startswith("_"))
    if _is_iterable(origin) and isinstance(value, str | bytes | Mapping):
        return False  # its characters or its keys are hardly ever meant
    return isinstance(value, origin)


def _is_iterable(origin: Any) -> bool:
    """Whether a type is one of elements of one kind."""
    return (
        isinstance(origin, type)
        and issubclass(origin, Iterable)
        and not issubclass(origin, str | Mapping)
    )


def _wanted(hint: Any) -> str:
    """What to give for a type."""
    origin, parts = get_origin(hint) or hint, get_args(hint)
    if origin in (Union, UnionType):
        words = list(dict.fromkeys(map(_wanted, parts)))
        if "a path" in words and "a string" in words:
            words.remove("a string")
        return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))
    if origin is Literal:
        return " or ".join(map(repr, parts))
    if origin is Callable:
        return "a function"
    if origin is NoneType:
        return "None"
    name = str(getattr(origin, "__name__", origin))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not parts or parts[1] is Any:
            return "a mapping"
        return f"a mapping of {_several(parts[0])} to {_several(parts[1])}"
    if name in ("Sequence", "Iterable", "list", "tuple"):
        if parts and getattr(parts[0], "__name__", "") in _OF:
            return _OF[parts[0].__name__]
        if name == "tuple" and Ellipsis not in parts and parts:
            return f"a tuple of {len(parts)}"
        kind = "a tuple" if name == "tuple" else "a list"
        return kind if not parts or parts[0] is Any else f"{kind} of {_several(parts[0])}"
    return _WORDS.get(name) or _with_article(name)


def _several(hint: Any) -> str:
    """The plural of what to give for a type."""
    origin, parts = get_origin(hint) or hint, get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(map(_several, parts))
    _, _, noun = _wanted(hint).partition(" ")
    first, of, rest = noun.partition(" of ")
    return f"{first}s{of}{rest}"


def _described(value: Any) -> str:
    if value is None or isinstance(value, bool | int | float | str):
        text = repr(value)
        return text if len(text) <= 60 else f"{text[:57]}…"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if inspect.isroutine(value):
        return f"the function {value.__name__}"
    return _with_article(type(value).__name__)


def _with_article(name: str) -> str:
    return f"{'an' if name[0] in 'AEIOaeio' else 'a'} {name}"
