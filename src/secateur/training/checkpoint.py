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
from torch.optim import SGD, AdamW, Optimizer

from secateur.errors import RunError
from secateur.files.atomic_write import atomic_write

# Minutes between two writings: the most that is lost.
INTERVAL = 5.0

_TRACE, _CHANCE, _CHANCE_CUDA = "trace", "chance", "chance cuda"
# What an optimiser keeps of each parameter.
_KEPT = {SGD: {"momentum_buffer"}, AdamW: {"step", "exp_avg", "exp_avg_sq"}}


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

    def steps_done(self, most: int | None = None) -> int:
        """Steps that need not be done again; 0 where nothing was written.

        Args:
            most: that the training has; None for any number.

        Raises:
            RunError: the file has more.
        """
        try:
            with safe_open(self.path, "pt") as file:
                trace = file.get_slice(_TRACE)
                shape, kind = trace.get_shape(), trace.get_dtype()
        except (OSError, SafetensorError):
            return 0
        if len(shape) != 1 or kind != "F64" or (most is not None and shape[0] > most):
            raise self._altered()
        return int(shape[0])

    def restore(self, model: nn.Module, optimizer: Optimizer) -> list[float]:
        """Put everything as it was when the state was written, chance included.

        Returns:
            The losses of the steps that were done; none where nothing was written.

        Raises:
            RunError: the file is not of this training.
        """
        if self.steps_done() == 0:
            return []
        try:
            return self._restore(model, optimizer)
        # Of tensors that are missing, of other shapes, or under other names.
        except (OSError, SafetensorError, KeyError, RuntimeError, TypeError, ValueError):
            raise self._altered() from None

    def _restore(self, model: nn.Module, optimizer: Optimizer) -> list[float]:
        # Copies, for what is read maps the file, which is to be replaced.
        tensors = {name: tensor.clone() for name, tensor in load_file(self.path).items()}
        trace: list[float] = tensors.pop(_TRACE).tolist()
        model.load_state_dict(_under("model", tensors))
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under("optimizer", tensors).items():
            number, _, entry = name.partition(".")
            state.setdefault(int(number), {})[entry] = tensor
        groups = optimizer.state_dict()["param_groups"]
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for place, entries in state.items():
            wanted = parameters[place].shape if 0 <= place < len(parameters) else None
            shapes = {value.shape for entry, value in entries.items() if entry != "step"}
            if entries.keys() != _KEPT[type(optimizer)] or shapes != {wanted}:
                raise ValueError("not what this optimiser keeps of this parameter")
        optimizer.load_state_dict({"state": state, "param_groups": groups})
        for parameter, entries in optimizer.state.items():
            for entry, value in entries.items():
                if value.shape == parameter.shape:  # in the parameter's own order of memory
                    entries[entry] = torch.empty_like(parameter).copy_(value)
        torch.set_rng_state(tensors[_CHANCE])
        if _CHANCE_CUDA in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors[_CHANCE_CUDA])
        return trace

    def _altered(self) -> RunError:
        return RunError(
            f"{self.path}: does not fit its training; delete it, and the training starts anew"
        )

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
        with atomic_write(self.path) as draft:
            # Copies, for safetensors refuses tensors that share memory.
            save_file({n: t.detach().cpu().clone().contiguous() for n, t in tensors.items()}, draft)
        self._last = time.monotonic()


def _under(place: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    prefix = f"{place}."
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
