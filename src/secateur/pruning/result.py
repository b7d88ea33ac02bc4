"""The result of a compression in memory."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from secateur.files.arguments import checked
from secateur.models.module_file import save
from secateur.pruning.reconstruction.reconstruct import Reconstruction
from secateur.pruning.selection.measured_rounding import MeasuredSteps
from secateur.pruning.threshold import Threshold


@dataclass(frozen=True, slots=True)
class Measure:
    """A network's size and accuracy.

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
        kept: indices of the kept ones, ascending, as numbered before the phase.
        strength: λ of the penalty; None where the criterion needs no training with one.
        zeros: share of exact zeros among the penalised weights; None where ``strength`` is None.
        threshold: the outcome of the search, with its trace; None where there was none.
        metric: by step: ``sparsified``, ``thresholded``, ``removed`` and ``retrained``; without
            the steps that did not take place.
        attempts: for ``max_drop``, each size tried, as the share kept of what could be removed, and
            its metric.
        slim_minus_masked: the largest difference that verification found in an output, as a share
            of that output's largest magnitude.
        rounding: width steps that were measured; None where none were.
        reconstruction: what it did to the layers that read removed channels; None where there was
            none.
    """

    channels: dict[str, int]
    kept: dict[str, Tensor]
    strength: float | None
    zeros: float | None
    threshold: Threshold | None
    metric: dict[str, float]
    attempts: tuple[tuple[float, float], ...]
    slim_minus_masked: float
    rounding: MeasuredSteps | None
    reconstruction: Reconstruction | None


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a compression; ``str()`` of it is a table.

    Attributes:
        model: the slim network, of the same class as the dense one.
        dense: size and metric of the dense network.
        slim: size and metric of the slim network.
        phases: in order.
        channels: of each group that could be pruned, in the dense network.
        kept: indices of the kept ones in the dense network, ascending.
        fixed: why each other group could not be pruned.
    """

    model: nn.Module
    dense: Measure
    slim: Measure
    phases: tuple[PhaseResult, ...]
    channels: dict[str, int]
    kept: dict[str, Tensor]
    fixed: dict[str, str]

    @checked
    def save(
        self, path: str | os.PathLike[str], provenance: Mapping[str, Any] | None = None
    ) -> None:
        """Write the slim network; ``secateur.shrink_to`` loads it.

        Args:
            path: of the safetensors file.
            provenance: stored in its header beside the sizes and the metric, as JSON.
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
