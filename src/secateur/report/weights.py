"""Weights of a run's layers before and after sparsity induction, read from its network files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from secateur.report.run_record import RunRecord

BINS = 61  # odd, so that zero is in the middle of one

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Weights of one layer before and after sparsity induction (the paper's Fig. 2).

    Attributes:
        phase: number of the phase that induced it.
        layer: the paper's name.
        edges: of the bins, BINS + 1.
        before: weights in each bin.
        after: weights in each bin, before the threshold zeroes any.
        threshold: the magnitude below which weights are zeroed; None until it is found.
    """

    phase: int
    layer: str
    edges: list[float]
    before: list[int]
    after: list[int]
    threshold: float | None


@dataclass(frozen=True, slots=True)
class NonZeros:
    """Weights of each layer that are not zero (the paper's Fig. 3).

    Attributes:
        layers: the paper's names.
        stages: name and one count a layer: ``dense``, each phase after its threshold, ``slim``.
    """

    layers: list[str]
    stages: list[tuple[str, list[int]]]


def weight_histograms(run: RunRecord) -> list[Histogram]:
    """Count the weights of every layer that was sparsified, phase by phase."""
    histograms: list[Histogram] = []
    before, names = run.dense, run.layer_names
    by_layer = run.recipe.compress.threshold.scope == "layer"
    for phase in run.phases:
        if before and phase.sparsify:
            paths = [path for path in phase.sparsify.result.layers if path in names]
            old, new = (_weights(stage.network, paths) for stage in (before, phase.sparsify))
            threshold = phase.threshold.result.threshold if phase.threshold else None
            histograms += [
                _histogram(
                    phase.number,
                    names[path],
                    old[path],
                    new[path],
                    # The search's unit is the layer's standard deviation.
                    threshold * float(new[path].std()) if threshold and by_layer else threshold,
                )
                for path in paths
            ]
        if not phase.failed:
            before = phase.last
    return histograms


def non_zeros(run: RunRecord) -> NonZeros | None:
    """Count the weights that are not zero after every threshold; None until there is one."""
    found = [(p.number, p.threshold.network) for p in run.phases if p.threshold and not p.failed]
    if run.dense is None or not found:
        return None
    stages = [("dense", run.dense.network)]
    stages += [(f"phase {number}, thresholded", path) for number, path in found]
    if run.summary:
        stages.append(("slim", run.folder / "slim.safetensors"))
    names = run.layer_names
    return NonZeros(
        list(names.values()),
        [
            (stage, [int(np.count_nonzero(w)) for w in _weights(file, list(names)).values()])
            for stage, file in stages
        ],
    )


def _histogram(phase: int, layer: str, before: Array, after: Array, t: float | None) -> Histogram:
    # A few outliers would put all other weights into one bin.
    reach = max(float(np.quantile(np.abs(before), 0.999)), 2 * (t or 0.0), 1e-8)
    edges = np.linspace(-reach, reach, BINS + 1)
    old, new = (np.histogram(np.clip(w, -reach, reach), edges)[0].tolist() for w in (before, after))
    return Histogram(phase, layer, edges.tolist(), old, new, t)


def _weights(file: Path, layers: Sequence[str]) -> Mapping[str, Array]:
    """Read the weights of the layers with these module paths only."""
    with safe_open(file, "np") as weights:
        return {path: weights.get_tensor(f"{path}.weight") for path in layers}
