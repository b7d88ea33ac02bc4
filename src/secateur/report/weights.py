"""What sparsity induction did to the weights of a run's layers, read from its network files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open

from secateur.models.network import build_network, layers
from secateur.models.network_file import read_header
from secateur.report.run_record import RunRecord
from secateur.run.phases import phase_layers

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
        after: likewise, before the threshold zeroes any.
        threshold: the phase's; None before it is found.
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
        stages: ``dense``; each phase after its threshold; ``slim``; with the counts, one a layer.
    """

    layers: list[str]
    stages: list[tuple[str, list[int]]]


def weight_histograms(run: RunRecord) -> list[Histogram]:
    """Count the weights of every layer of every phase that was sparsified."""
    histograms = []
    before = run.dense.network if run.dense else None
    for phase, entry in zip(run.phases, run.recipe.compress.phases, strict=True):
        if before is None:
            break
        if phase.sparsify is None:  # its criterion has no use for zeros
            before = phase.retrain.network if phase.retrain else None
            continue
        names = phase_layers(entry, read_header(before).architecture)
        old, new = _weights(before, names), _weights(phase.sparsify.network, names)
        threshold = phase.threshold.result.threshold if phase.threshold else None
        by_layer = run.recipe.compress.threshold.scope == "layer"
        histograms += [
            _histogram(
                phase.number,
                name,
                old[name],
                new[name],
                # Counted in each layer's deviation, as the search had it.
                threshold * float(new[name].std()) if threshold and by_layer else threshold,
            )
            for name in names
        ]
        if not phase.failed:
            before = phase.retrain.network if phase.retrain else None
    return histograms


def non_zeros(run: RunRecord) -> NonZeros | None:
    """Count the weights that are left after every threshold; None before the first."""
    found = [(p.number, p.threshold.network) for p in run.phases if p.threshold and not p.failed]
    if run.dense is None or not found:
        return None
    names = list(read_header(run.dense.network).architecture.widths)
    stages = [("dense", run.dense.network)]
    stages += [(f"phase {number}, thresholded", path) for number, path in found]
    if run.summary:
        stages.append(("slim", run.folder / "slim.safetensors"))
    return NonZeros(
        names,
        [
            (stage, [int(np.count_nonzero(w)) for w in _weights(path, names).values()])
            for stage, path in stages
        ],
    )


def _histogram(phase: int, layer: str, before: Array, after: Array, t: float | None) -> Histogram:
    # A few weights far out would leave all others in one bin.
    reach = max(float(np.quantile(np.abs(before), 0.999)), 2 * (t or 0.0), 1e-8)
    edges = np.linspace(-reach, reach, BINS + 1)
    old, new = (np.histogram(np.clip(w, -reach, reach), edges)[0].tolist() for w in (before, after))
    return Histogram(phase, layer, edges.tolist(), old, new, t)


def _weights(path: Path, names: Sequence[str]) -> Mapping[str, Array]:
    """Read the weights of some layers and of no other."""
    with torch.device("meta"):
        paths = layers(build_network(read_header(path).architecture))
    with safe_open(path, "np") as file:
        return {name: file.get_tensor(f"{paths[name]}.weight") for name in names}
