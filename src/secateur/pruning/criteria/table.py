"""The criteria by name. A new one is a function of ``Scored`` in its own file, and a line here."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from secateur.pruning.baselines.torch_pruning import group_norm, load_torch_pruning
from secateur.pruning.criteria.importance import Importance, Scored
from secateur.pruning.criteria.norms import filter_norm, geometric_median, norm_scale
from secateur.pruning.criteria.random import random_importance
from secateur.pruning.criteria.reconstruction import unexplained
from secateur.pruning.criteria.sparsity import sparsity
from secateur.pruning.criteria.taylor import layer_normalized, taylor

Allocation = Literal["cost", "share", "importance"]


@dataclass(frozen=True, slots=True)
class Criterion:
    """How channels are ranked, and what must happen before that.

    Attributes:
        importance: scores the channels.
        description: one line, for help and docs.
        allocation: how a budget is divided among layers by default.
        reads_zeros: whether it looks at the thresholded network, and so needs a threshold.
        penalty: name of the one penalty that it needs; None where any will do.
        sparsifies: whether the network is trained with a penalty first.
        needs_losses: whether it needs the loss of training batches.
        needs_inputs: whether it needs pictures, without labels.
        traces: whether it traces the network itself, on the example inputs.
        check: raises MissingExtraError where a package that it needs is missing.
    """

    importance: Callable[[Scored], Importance]
    description: str
    allocation: Allocation = "share"
    reads_zeros: bool = False
    penalty: str | None = None
    sparsifies: bool = False
    needs_losses: bool = False
    needs_inputs: bool = False
    traces: bool = False
    check: Callable[[], object] = lambda: None


def _by_sparsity(importance: Callable[[Scored], Importance], description: str) -> Criterion:
    return Criterion(importance, description, "cost", reads_zeros=True, sparsifies=True)


CRITERIA: dict[str, Criterion] = {
    "sparsity": _by_sparsity(sparsity, "what the threshold leaves of F and G"),
    "sparsity_F": _by_sparsity(
        partial(sparsity, roles=("producer",)), "what the threshold leaves of F alone"
    ),
    "sparsity_G": _by_sparsity(
        partial(sparsity, roles=("consumer",)), "what the threshold leaves of G alone"
    ),
    "l1": Criterion(partial(filter_norm, order=1), "L1 norm of the filter (Li et al., 2017)"),
    "l2": Criterion(partial(filter_norm, order=2), "L2 norm of the filter"),
    "geometric_median": Criterion(
        geometric_median, "distance from the layer's other filters (FPGM, 2019)"
    ),
    "norm_scale": Criterion(
        norm_scale,
        "scale of the batch norm (network slimming, 2017), with the penalty norm_scale",
        "importance",
        penalty="norm_scale",
        sparsifies=True,
    ),
    "taylor": Criterion(
        lambda scored: layer_normalized(taylor(scored)),
        "change of the loss to first order (Molchanov et al., 2019)",
        "importance",
        needs_losses=True,
    ),
    "group_norm": Criterion(
        group_norm,
        "Torch-Pruning's group norm (DepGraph, 2023), with the penalty group_norm",
        "importance",
        penalty="group_norm",
        sparsifies=True,
        traces=True,
        check=load_torch_pruning,
    ),
    "reconstruction": Criterion(
        unexplained,
        "what is lost once the other filters have made up for it (after Optimal Brain Surgeon); "
        "needs pictures, but no labels",
        "cost",
        needs_inputs=True,
    ),
    "random": Criterion(random_importance, "random numbers"),
}
