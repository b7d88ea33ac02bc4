"""What a compression made, and what it saw on the way."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from secateur.models.module_file import save
from secateur.pruning.threshold import Threshold


@dataclass(frozen=True, slots=True)
class Measure:
    """A network's size and importance.

    Attributes:
        params: parameters.
        macs: multiply-adds of its convolutions and linear layers, for one example.
        metric: what the user's ``evaluate`` gave.
    """

    params: int
    macs: int
    metric: float


@dataclass(frozen=True, slots=True)
class PhaseResult:
    """One phase.

    Attributes:
        channels: of each of the phase's groups, before.
        strength: λ of the L1 penalty.
        kept: the kept ones' indices, rising, as numbered before the phase.
        zeros: share of exact zeros among the phase's weights after sparsifying.
        threshold: the search's outcome, with its trace.
        metric: by step: ``sparsified``, ``thresholded``, ``removed`` and ``retrained``; without
            the last two where no size held the largest drop.
        attempts: for ``max_drop``, each size tried, as the share kept of what could go, and its
            metric.
        slim_minus_masked: the largest difference that the proof of removal found in an output, as
            a share of that output's largest magnitude.
    """

    channels: dict[str, int]
    strength: float
    kept: dict[str, Tensor]
    zeros: float
    threshold: Threshold
    metric: dict[str, float]
    attempts: tuple[tuple[float, float], ...]
    slim_minus_masked: float


@dataclass(frozen=True, slots=True)
class Result:
    """A compression's outcome; ``str()`` of it is a table.

    Attributes:
        model: the slim network, of the same class as the dense one.
        dense: what was given.
        slim: what came of it.
        phases: in their order.
        channels: of each group that could be pruned, in the dense network.
        kept: the kept ones' indices in the dense network, rising.
        fixed: why each other group could not be pruned.
    """

    model: nn.Module
    dense: Measure
    slim: Measure
    phases: tuple[PhaseResult, ...]
    channels: dict[str, int]
    kept: dict[str, Tensor]
    fixed: dict[str, str]

    def save(self, path: str | Path, provenance: Mapping[str, Any] | None = None) -> None:
        """Write the slim network; ``secateur.shrink_to`` loads it.

        Args:
            path: of the safetensors file.
            provenance: noted in its header beside the sizes and the metric, as JSON.
        """
        sizes = {
            name: {"params": measure.params, "macs": measure.macs, "metric": measure.metric}
            for name, measure in (("dense", self.dense), ("slim", self.slim))
        }
        save(path, self.model, {**sizes, **(provenance or {})})

    def __str__(self) -> str:
        dense, slim = self.dense, self.slim
        lines = [f"{'':12}{'dense':>16}{'slim':>16}{'kept':>9}"]
        for name, before, after in (
            ("parameters", dense.params, slim.params),
            ("MACs", dense.macs, slim.macs),
        ):
            lines.append(f"{name:12}{before:>16,}{after:>16,}{after / max(before, 1):>9.1%}")
        lines.append(f"{'metric':12}{dense.metric:>16.5g}{slim.metric:>16.5g}")
        lines += [
            f"{name}: {len(self.kept[name])} of {channels} filters kept"
            for name, channels in self.channels.items()
        ]
        lines += [f"{name}: all filters kept ({reason})" for name, reason in self.fixed.items()]
        return "\n".join(lines)
