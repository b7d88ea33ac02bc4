"""Packages that only some commands need, and the error if one is not installed."""

import importlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from secateur.errors import MissingExtraError

# By package, the extra of pyproject.toml that installs it.
EXTRAS = {
    "onnx": "export",
    "onnxscript": "export",
    "onnxruntime": "export",
    "openvino": "export",
    "nncf": "export",
    "av": "video",
    "optuna": "sweep",
    "psycopg": "sweep",
    "torch_pruning": "dev",
}


def require(package: str) -> Any:
    """Import a package of an extra, or one of its modules.

    Raises:
        MissingExtraError: it is not installed; the message contains the command that installs it.
    """
    top = package.partition(".")[0]
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != top:
            raise
        raise MissingExtraError(
            f"this needs {top}, which is not installed; pip install 'secateur[{EXTRAS[top]}]'"
        ) from None


@contextmanager
def no_logs() -> Iterator[None]:
    """Silence torch's long log messages; the error raised here says it in one line."""
    usual = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(usual)


@contextmanager
def quiet(name: str) -> Iterator[None]:
    """Hide the warnings of a package; errors are still raised.

    Args:
        name: of the package's logger.
    """
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
