"""Types of arguments, by hand: which fit, and what is said of those that do not."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy
import pytest

from secateur.errors import SecateurError, WrongTypeError
from secateur.files.arguments import check_fields, checked


class Speaker(Protocol):
    """Its methods are looked for in what a caller gives."""

    def say(self) -> None: ...


class Loud:
    def say(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Anything:
    """One field of each kind."""

    path: str | os.PathLike[str] = ""
    number: float | None = None
    count: int = 1
    flag: bool = True
    names: str | Sequence[str] = ()
    table: Mapping[str, int] | None = None
    weights: Iterable[float] = ()
    pair: tuple[int, int] | None = None
    nested: Sequence[str | Sequence[str]] = ()
    mode: Literal["a", "b"] = "a"
    step: int | Mapping[str, int] | Literal["auto"] = 1
    call: Callable[[int], int] = abs
    free: Any = None
    speaker: Speaker | None = None

    def __post_init__(self) -> None:
        check_fields(self)


def test_what_fits() -> None:
    for given in (
        *({"path": "x"}, {"path": Path("x")}, {"number": 1}, {"number": 0.5}, {"number": None}),
        *({"number": numpy.float32(1)}, {"count": numpy.int64(3)}, {"flag": False}),
        *({"names": "a"}, {"names": ["a"]}, {"names": ("a", "b")}, {"table": {"a": 1}}),
        *({"weights": (x for x in "ab")}, {"weights": {1.0}}, {"pair": (1, 2)}),
        *({"nested": ["a", ["b"]]}, {"mode": "b"}, {"step": "auto"}, {"step": {"a": 2}}),
        *({"call": print}, {"free": object}, {"speaker": Loud()}),
    ):
        (name,) = given
        assert getattr(Anything(**given), name) is given[name]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"path": 3}, "path is 3; give a path"),
        ({"number": "0.5"}, "number is '0.5'; give a number or None"),
        ({"number": True}, "number is True; give a number or None"),
        ({"count": 1.0}, "count is 1.0; give a whole number"),
        ({"count": False}, "count is False; give a whole number"),
        ({"flag": 1}, "flag is 1; give True or False"),
        ({"names": [1]}, "names[0] is 1; give a string"),
        ({"names": {"a": 1}}, "names is a dict; give a string or a list of strings"),
        ({"table": {"a": "b"}}, "table['a'] is 'b'; give a whole number"),
        ({"table": {1: 1}}, "a key of table is 1; give a string"),
        ({"table": ["a"]}, "table is a list; give a mapping of strings to whole numbers or None"),
        ({"weights": 1.0}, "weights is 1.0; give a list of numbers"),
        ({"weights": [1.0, "a"]}, "weights[1] is 'a'; give a number"),
        ({"weights": "ab"}, "weights is 'ab'; give a list of numbers"),
        ({"pair": (1,)}, "pair is a tuple; give a tuple of 2 or None"),
        ({"pair": (1, "a")}, "pair[1] is 'a'; give a whole number"),
        ({"nested": "ab"}, "nested is 'ab'; give a list of strings or lists of strings"),
        ({"mode": "c"}, "mode is 'c'; give 'a' or 'b'"),
        ({"step": "c"}, "step is 'c'; give a whole number, a mapping of strings to whole numbers "
         "or 'auto'"),
        ({"call": 3}, "call is 3; give a function"),
        ({"speaker": "me"}, "speaker is 'me'; give a Speaker or None"),
        ({"path": int}, "path is the class int; give a path"),
        ({"path": print}, "path is the function print; give a path"),
        ({"path": Loud()}, "path is a Loud; give a path"),
        ({"count": "x" * 90}, f"count is '{'x' * 56}…; give a whole number"),
    ],
)  # fmt: skip
def test_what_does_not_fit(given: dict[str, Any], words: str) -> None:
    with pytest.raises(WrongTypeError) as raised:
        Anything(**given)
    assert str(raised.value) == f"Anything: {words}"
    assert isinstance(raised.value, TypeError)
    assert isinstance(raised.value, SecateurError)


def test_a_function_checks_each_call() -> None:
    @checked
    def twice(text: str, *, times: int = 2) -> str:
        """Repeat a text."""
        return text * times

    assert (twice("a"), twice("a", times=3), twice(text="b")) == ("aa", "aaa", "bb")
    assert twice.__doc__ == "Repeat a text."
    with pytest.raises(WrongTypeError, match=r"twice: times is 'a'; give a whole number"):
        twice("a", times="a")  # type: ignore[arg-type]
    # Python's own messages of what is missing or unknown are as good.
    with pytest.raises(TypeError, match=r"twice\(\) got an unexpected keyword argument 'time'"):
        twice("a", time=3)  # type: ignore[call-arg]
    with pytest.raises(
        TypeError, match=r"twice\(\) missing 1 required positional argument: 'text'"
    ):
        twice()  # type: ignore[call-arg]
