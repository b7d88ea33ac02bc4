"""Network files and modules run by torch."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from secateur.models.network_file import NetworkFile, load_network


def open_torch(path: Path, _threads: int | None = None) -> NetworkFile:
    """Load a network file; errors as for ``load_network``."""
    return load_network(path)


def compile_torch(
    module: nn.Module, example: Tensor, threads: int | None = None
) -> Callable[[], object]:
    """Return a function that runs a module once; see ``table.compile_module``."""
    if threads is not None:
        torch.set_num_threads(threads)
    module = module.eval().to(memory_format=torch.channels_last)
    pictures = example.contiguous(memory_format=torch.channels_last)

    def run() -> object:
        with torch.inference_mode():
            return module(pictures)

    return run
