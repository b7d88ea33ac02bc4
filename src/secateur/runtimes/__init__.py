"""Networks run where they are shipped: torch, ONNX Runtime and OpenVINO behind one interface."""

from secateur.runtimes.compiled import compile_module
from secateur.runtimes.opened import RUNTIMES, OpenNetwork, Runtime, open_network

__all__ = ["RUNTIMES", "OpenNetwork", "Runtime", "compile_module", "open_network"]
