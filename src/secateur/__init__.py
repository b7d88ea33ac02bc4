"""Secateur makes SSD object detectors and other convolutional networks small, by filter pruning.

The public names are the imports of ``__init__.pyi``. They are imported when first used, so that
``import secateur`` and the command line's help do not wait for torch.
"""

import ast
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any


def _public_names() -> dict[str, tuple[str, str]]:
    """Map each public name to its module and its name there."""
    stub = ast.parse(Path(__file__).with_suffix(".pyi").read_text("utf-8"))
    return {
        alias.asname or alias.name: (str(node.module), alias.name)
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


_NAMES = _public_names()
__all__ = sorted(_NAMES)  # noqa: PLE0605 # made from the stub


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("secateur")
    if name not in _NAMES:
        raise AttributeError(f"module 'secateur' has no attribute {name!r}")
    module, original = _NAMES[name]
    return getattr(import_module(module), original)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
