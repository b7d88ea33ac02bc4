"""Checkpoints, from which an interrupted training resumes.

A checkpoint includes the states of the random number generators, and a batch depends on its number
alone, so a resumed training gives the same network as one that was not interrupted.
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

# Minutes between two checkpoints.
INTERVAL = 5.0

# Names of tensors in the file, beside those of the model and the optimizer.
_TRACE, _RNG, _RNG_CUDA = "trace", "rng", "rng cuda"
# The state that an optimizer has for each parameter.
_OPTIMIZER_STATE = {SGD: {"momentum_buffer"}, AdamW: {"step", "exp_avg", "exp_avg_sq"}}


class TrainingState:
    """The checkpoint file of one training.

    Attributes:
        path: of the file; it does not exist before the first checkpoint.
        interval: minutes between two checkpoints; an interruption loses at most that much.
    """

    def __init__(self, path: Path, interval: float = INTERVAL) -> None:
        self.path = path
        self.interval = interval
        self._last = time.monotonic()

    def steps_done(self, steps: int | None = None) -> int:
        """Number of steps that the checkpoint contains; 0 without a readable file.

        Args:
            steps: of the whole training; None to accept any number.

        Raises:
            RunError: the checkpoint contains more.
        """
        try:
            with safe_open(self.path, "pt") as file:
                trace = file.get_slice(_TRACE)
                shape, kind = trace.get_shape(), trace.get_dtype()
        except (OSError, SafetensorError):
            return 0
        if len(shape) != 1 or kind != "F64" or (steps is not None and shape[0] > steps):
            raise self._mismatch()
        return int(shape[0])

    def restore(self, model: nn.Module, optimizer: Optimizer) -> list[float]:
        """Restore network, optimizer and random number generators.

        Returns:
            The losses of the steps done; empty without a checkpoint.

        Raises:
            RunError: the file is not a checkpoint of this training.
        """
        if self.steps_done() == 0:
            return []
        try:
            return self._restore(model, optimizer)
        # Tensors are missing or have other shapes or names.
        except (OSError, SafetensorError, KeyError, RuntimeError, TypeError, ValueError):
            raise self._mismatch() from None

    def _restore(self, model: nn.Module, optimizer: Optimizer) -> list[float]:
        # Clones, since the tensors map the file, which will be replaced.
        tensors = {name: tensor.clone() for name, tensor in load_file(self.path).items()}
        trace: list[float] = tensors.pop(_TRACE).tolist()
        model.load_state_dict(_with_prefix("model.", tensors))
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _with_prefix("optimizer.", tensors).items():
            number, _, entry = name.partition(".")
            state.setdefault(int(number), {})[entry] = tensor
        groups = optimizer.state_dict()["param_groups"]
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for index, entries in state.items():
            expected = parameters[index].shape if 0 <= index < len(parameters) else None
            shapes = {value.shape for entry, value in entries.items() if entry != "step"}
            if entries.keys() != _OPTIMIZER_STATE[type(optimizer)] or shapes != {expected}:
                raise ValueError("not this optimizer's state of this parameter")
        optimizer.load_state_dict({"state": state, "param_groups": groups})
        for parameter, entries in optimizer.state.items():
            for entry, value in entries.items():
                if value.shape == parameter.shape:  # in the parameter's memory format
                    entries[entry] = torch.empty_like(parameter).copy_(value)
        torch.set_rng_state(tensors[_RNG])
        if _RNG_CUDA in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors[_RNG_CUDA])
        return trace

    def _mismatch(self) -> RunError:
        return RunError(
            f"{self.path}: is not a checkpoint of this training; delete it to train from the start"
        )

    def write_when_due(self, model: nn.Module, optimizer: Optimizer, trace: list[float]) -> None:
        """Write a checkpoint after a step if the last one is older than the interval."""
        if time.monotonic() - self._last >= 60 * self.interval:
            self.write(model, optimizer, trace)

    def write(self, model: nn.Module, optimizer: Optimizer, trace: list[float]) -> None:
        """Write a checkpoint after a step."""
        tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
        for number, state in optimizer.state_dict()["state"].items():
            for entry, value in state.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer.{number}.{entry}"] = value
        tensors[_TRACE] = torch.tensor(trace, dtype=torch.float64)
        tensors[_RNG] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors[_RNG_CUDA] = torch.cuda.get_rng_state()
        with atomic_write(self.path) as draft:
            # Clones, since safetensors refuses tensors that share memory.
            save_file({n: t.detach().cpu().clone().contiguous() for n, t in tensors.items()}, draft)
        self._last = time.monotonic()


def _with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
