"""Least squares for the weights of one layer, damped towards the weights that it has.

All groups of a grouped convolution are solved at once: G systems of D inputs and O outputs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

# Damping, as a share of the mean variance of the inputs. Held-out rows choose among them.
DAMPINGS = (1e-6, 1e-4, 1e-2, 1e-1, 1.0)

# Weights (G, D, O) and biases (G, 1, O), in double precision.
Solution = tuple[Tensor, Tensor]


def in_double(tensor: Tensor) -> Tensor:
    """The values in double precision; on the CPU where the device has none."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()


class Rows(Protocol):
    """The rows of a layer: inputs, and the outputs that they should give."""

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add inputs (G, N, D) and outputs (G, N, O)."""

    def solutions(self, weight: Tensor, *, bias: bool) -> Iterator[Solution]:
        """Solve once for each damping that allows it.

        Args:
            weight: (G, D, O), towards which damping pulls; the first solution keeps it, and has
                the best bias for it.
            bias: whether a bias may be added to the outputs.
        """


@dataclass(slots=True)
class SummedRows:
    """Rows as sums of their products: D × D numbers, however many rows there are."""

    count: int = 0
    x: Tensor | float = 0.0  # (G, 1, D)
    y: Tensor | float = 0.0  # (G, 1, O)
    xx: Tensor | float = 0.0  # (G, D, D)
    xy: Tensor | float = 0.0  # (G, D, O)

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add inputs (G, N, D) and outputs (G, N, O)."""
        # Products in single precision would leave three digits of the solution.
        x, y = in_double(x), in_double(y)
        self.count += x.shape[1]
        self.x = self.x + x.sum(1, keepdim=True)
        self.y = self.y + y.sum(1, keepdim=True)
        self.xx = self.xx + x.mT @ x
        self.xy = self.xy + x.mT @ y

    def solutions(self, weight: Tensor, *, bias: bool) -> Iterator[Solution]:
        """Solve the normal equations, D × D."""
        x, y, xx, xy = (torch.as_tensor(s) / self.count for s in (self.x, self.y, self.xx, self.xy))
        if not bias:
            x, y = torch.zeros_like(x), torch.zeros_like(y)
        xx, xy = xx - x.mT @ x, xy - x.mT @ y
        yield weight, y - x @ weight
        unit = xx.diagonal(dim1=1, dim2=2).mean(1)
        for change in _damped(xx, xy - xx @ weight, unit):
            yield weight + change, y - x @ (weight + change)


@dataclass(slots=True)
class ListedRows:
    """Rows as they are, for layers that have more inputs than there are rows."""

    x: list[Tensor] = field(default_factory=list)
    y: list[Tensor] = field(default_factory=list)

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add inputs (G, N, D) and outputs (G, N, O)."""
        self.x.append(x)
        self.y.append(y)

    def solutions(self, weight: Tensor, *, bias: bool) -> Iterator[Solution]:
        """Solve the dual equations, N × N: the weights change by a combination of the rows."""
        x, y = in_double(torch.cat(self.x, 1)), in_double(torch.cat(self.y, 1))
        mean_x, mean_y = x.mean(1, keepdim=True), y.mean(1, keepdim=True)
        if not bias:
            mean_x, mean_y = torch.zeros_like(mean_x), torch.zeros_like(mean_y)
        x, error = x - mean_x, y - mean_y - (x - mean_x) @ weight
        yield weight, mean_y - mean_x @ weight
        unit = x.square().sum((1, 2)) / x.shape[2]
        for part in _damped(x @ x.mT, error, unit):
            changed = weight + x.mT @ part
            yield changed, mean_y - mean_x @ changed


def _damped(matrix: Tensor, wanted: Tensor, unit: Tensor) -> Iterator[Tensor]:
    """Solve (matrix + damping) z = wanted for each damping that makes the matrix definite."""
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    for damping in DAMPINGS:
        factor, failed = torch.linalg.cholesky_ex(matrix + damping * unit[:, None, None] * identity)
        if not failed.any():
            yield torch.cholesky_solve(wanted, factor)


def best_solution(
    rows: Rows, now: Solution, held_out: Sequence[tuple[Tensor, Tensor]], *, bias: bool
) -> tuple[Solution, Tensor, Tensor]:
    """Choose for each group what has the least error on held-out rows.

    Args:
        rows: what is solved for.
        now: the weights and biases as they are, which the solution is never worse than.
        held_out: inputs (G, N, D) and outputs (G, N, O).
        bias: whether the biases may change.

    Returns:
        The solution, and the squared error of each group before and after, (G,).
    """

    def error(solution: Solution) -> Tensor:
        weight, offset = solution
        return sum(
            (
                (in_double(x) @ weight + offset - in_double(y)).square().sum((1, 2))
                for x, y in held_out
            ),
            start=torch.zeros(len(weight), dtype=torch.float64, device=weight.device),
        )

    before = least = error(now)
    best = now
    for each in rows.solutions(now[0], bias=bias):
        found = error(each)
        better = (found < least)[:, None, None]  # NaN is never better
        best = torch.where(better, each[0], best[0]), torch.where(better, each[1], best[1])
        least = torch.where(better.flatten(), found, least)
    return best, before, least
