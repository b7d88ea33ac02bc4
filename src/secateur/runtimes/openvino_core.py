"""The one OpenVINO of a process."""

from functools import cache
from typing import Any

from secateur.files.optional import require


def openvino_core() -> Any:
    """Give OpenVINO's ``Core``, the same to all, and never let it go.

    Each that compiles for the processor gives the thread another stack for signals, and takes that
    away when it goes. Two that go in the order they came leave one that is no longer there
    (OpenVINO 2026.4), and the next signal, be it Ctrl-C or the end of a process, kills the program.

    Raises:
        MissingExtraError: OpenVINO is not installed.
    """
    return _core(require("openvino"))


@cache
def _core(openvino: Any) -> Any:
    return openvino.Core()
