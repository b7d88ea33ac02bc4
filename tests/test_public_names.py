"""The names that users import."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import secateur

STUB = Path(secateur.__file__).with_suffix(".pyi")


def test_stub_lists_each_name_once_in_order() -> None:
    imports = ast.parse(STUB.read_text("utf-8")).body[1:-1]
    assert all(isinstance(node, ast.ImportFrom) for node in imports)
    names = [alias.asname for node in imports for alias in getattr(node, "names", ())]
    modules = [getattr(node, "module", None) for node in imports]
    assert len(names) == len(set(names)) > 30
    assert modules == sorted(set(modules)), "one import for each module, in order"
    assert set(names) == set(secateur.__all__)
    assert {*names, "__version__"} <= set(dir(secateur))


@pytest.mark.parametrize("name", secateur.__all__)
def test_public_name_is_there_and_described(name: str) -> None:
    found = getattr(secateur, name)
    own = found.__doc__ if inspect.isclass(found) or inspect.isfunction(found) else None
    assert len((own or "").split()) >= 3
    assert not own.startswith(f"{name}("), "a description, not the signature of a dataclass"


def test_no_public_name_is_a_room() -> None:
    """Importing a room sets an attribute of its name, which would hide a public name."""
    rooms = {path.stem for path in STUB.parent.iterdir() if path.is_dir() or path.suffix == ".py"}
    assert rooms >= {"export", "run", "errors"}
    assert not rooms & set(secateur.__all__)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'compres'"):
        secateur.compres  # noqa: B018


def test_version() -> None:
    assert secateur.__version__.count(".") == 2


@pytest.mark.parametrize("module", ["secateur", "secateur.cli.main"])
def test_import_does_not_wait_for_torch(module: str) -> None:
    code = f"import {module}, sys; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
