"""A training that was stopped goes on where it was: its state, written every few minutes.

What it has drawn from chance is part of it, and batches depend on their number alone, so the end is
the same as of a training that was never stopped.
"""

import time
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from secateur.whole_file import whole_file

# Minutes between two writings: the most that is lost.
INTERVAL = 5.0

_TRACE, _CHANCE, _CHANCE_CUDA = "trace", "chance", "chance cuda"


class TrainingState:
    """The file of a training's state, and when it was last written.

    Attributes:
        path: of the file; there is none before the first writing.
        interval: minutes between writings.
    """

    def __init__(self, path: Path, interval: float = INTERVAL) -> None:
        self.path = path
        self.interval = interval
        self._last = time.monotonic()

    def steps_done(self) -> int:
        """Steps that need not be done again; 0 where nothing was written."""
        try:
            with safe_open(self.path, "pt") as file:
                return int(file.get_slice(_TRACE).get_shape()[0])
        except (OSError, SafetensorError):
            return 0

    def restore(self, model: nn.Module, optimizer: Optimizer) -> list[float]:
        """Put everything as it was when the state was written, chance included.

        Returns:
            The losses of the steps that were done; none where nothing was written.
        """
        if self.steps_done() == 0:
            return []
        tensors = load_file(self.path)
        trace: list[float] = tensors.pop(_TRACE).tolist()
        model.load_state_dict(_under("model", tensors))
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under("optimizer", tensors).items():
            number, _, entry = name.partition(".")
            state.setdefault(int(number), {})[entry] = tensor
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
        for parameter, entries in optimizer.state.items():
            for entry, value in entries.items():
                if value.shape == parameter.shape:  # in the parameter's own order of memory
                    entries[entry] = torch.empty_like(parameter).copy_(value)
        torch.set_rng_state(tensors[_CHANCE])
        if _CHANCE_CUDA in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors[_CHANCE_CUDA])
        return trace

    def write_when_due(self, model: nn.Module, optimizer: Optimizer, trace: list[float]) -> None:
        """Write the state behind a step, if the last writing was long enough ago."""
        if time.monotonic() - self._last < 60 * self.interval:
            return
        tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
        for number, state in optimizer.state_dict()["state"].items():
            for entry, value in state.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer.{number}.{entry}"] = value
        tensors[_TRACE] = torch.tensor(trace, dtype=torch.float64)
        tensors[_CHANCE] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors[_CHANCE_CUDA] = torch.cuda.get_rng_state()
        with whole_file(self.path) as draft:
            # Copies, for safetensors refuses tensors that share memory.
            save_file({n: t.detach().cpu().clone().contiguous() for n, t in tensors.items()}, draft)
        self._last = time.monotonic()


def _under(place: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    prefix = f"{place}."
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
