"""Torch-Pruning's group norm pruner as a baseline: the package itself, in our phases and budgets.

Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023. The package gives the groups of
dependent tensors, the importance of channels, and the penalty that drives groups to zero. We give
the layers of a phase, the budget, and the removal, which is verified like any other.

Open choices are those of its own benchmark of the method with sparsity learning (``group_sl`` in
``reproduce/main.py`` of its repository, on CIFAR):

- a channel's importance is the mean of the squared norms of its slices of the group's weights, as
  a share of the group's largest;
- all layers are cut at one importance, in 400 steps, each of which recomputes it;
- γ ranges from 1 to 16, and there is no weight decay beside the penalty. ``experiments.variants``
  sets the decay, and λ, which is 5e-4 there and, chosen by validation, ten times that here.

Only the comparison needs the package; it comes with the extra ``dev``.
"""

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from secateur.files.optional import require
from secateur.models.example_inputs import ExampleInputs, call_arguments
from secateur.models.modes import evaluating
from secateur.pruning.criteria.importance import Importance, Scored
from secateur.pruning.graph.groups import ChannelGraph, ChannelGroup
from secateur.pruning.penalties.penalty import Penalties
from secateur.pruning.selection.rounding import fewest_channels
from secateur.pruning.sparsity import prunable_weights

# Steps in which all channels would be removed.
CUTS = 400


def group_norm(scored: Scored) -> Importance:
    """Rank channels in the order in which Torch-Pruning removes them, from 0.

    It prunes in small steps, and removed channels no longer count in the norms of their neighbours.
    Here they are zeroed instead, which leaves these norms, and their shares of the largest, the
    same. The ``min_filters`` that are kept in any case come last.

    Raises:
        MissingExtraError: Torch-Pruning is not installed.
    """
    model, graph, min_filters = scored.model, scored.graph, scored.min_filters
    example_inputs = scored.example_inputs
    names = list(scored.groups)
    cut = copy.deepcopy(model)
    tensors = {name: parameter.detach() for name, parameter in cut.named_parameters()}
    importances = _importances(cut, graph, names, example_inputs)
    fewest = {
        name: count // graph.groups[name].unit_size
        for name, count in fewest_channels(graph, names, min_filters).items()
    }
    left = {name: list(range(graph.groups[name].units)) for name in names}
    total = sum(map(len, left.values()))
    order: list[tuple[str, int]] = []
    for step in range(1, CUTS + 1):
        more = total - int(total * (1 - step / CUTS)) - len(order)
        if more <= 0:
            continue
        candidates = []
        for name, channels in left.items():
            values = importances(name)
            rising = sorted(channels, key=values.__getitem__)
            candidates += [(values[i], name, i) for i in rising[: len(rising) - fewest[name]]]
        candidates.sort(key=lambda each: each[0])
        for _, name, channel in candidates[:more]:
            order.append((name, channel))
            left[name].remove(channel)
            _zero(tensors, graph.groups[name], channel)
    last = []
    for name, channels in left.items():
        values = importances(name)
        last += [(values[i], name, i) for i in channels]
    order += [(name, channel) for _, name, channel in sorted(last)]
    importance = {name: torch.zeros(graph.groups[name].units).double() for name in names}
    for place, (name, channel) in enumerate(order):
        importance[name][channel] = place
    return importance


def penalize_group_norms(
    model: nn.Module,
    graph: ChannelGraph,
    groups: Sequence[str],
    example_inputs: ExampleInputs,
    strength: float | None = None,
) -> Penalties:
    """Build the penalty that Torch-Pruning trains with: ``GroupNormPruner.regularize``.

    Groups of one channel are excluded: there the package divides zero by zero.

    Args:
        model: the network to be trained with it.
        graph: its channel groups.
        groups: names of those that may lose channels.
        example_inputs: what the network can be traced with.
        strength: the package's ``reg``, in units of the loss; by default its benchmark's 5e-4.

    Raises:
        MissingExtraError: Torch-Pruning is not installed.
        PruningError: every weight of the groups is frozen.
    """
    strength = 5e-4 if strength is None else strength
    package = load_torch_pruning()
    weights = prunable_weights(model, graph, groups)
    several = [graph.groups[name] for name in groups if graph.groups[name].units > 1]
    penalized = {path for group in several for path in group.producers}
    others = [
        layer
        for path, layer in model.named_modules()
        if isinstance(layer, nn.modules.conv._ConvNd | nn.Linear) and path not in penalized
    ]
    with _traceable(model):
        pruner = package.pruner.GroupNormPruner(
            model,
            call_arguments(example_inputs)[0],
            importance=_importance(package),
            reg=strength,
            global_pruning=True,
            ignored_layers=others,
        )
    names = {parameter: name for name, parameter in model.named_parameters()}
    return Penalties(
        [GroupNorms(pruner, model)], {names[weight]: weight for weight in weights}, strength
    )


@dataclass(frozen=True, slots=True)
class GroupNorms:
    """λ·γ·w on top of the gradient of each weight w of a group.

    γ is 16 to the power of the distance (0–1) of the channel's norm from the group's largest
    towards its smallest: the penalty is strongest on norms that are already small.

    Attributes:
        pruner: the package's ``GroupNormPruner``, which holds λ.
        model: the network it was made for.
    """

    pruner: Any
    model: nn.Module

    def before_step(self, optimizer: Optimizer | None = None) -> None:  # noqa: ARG002 # a protocol
        """Change the gradients."""
        self.pruner.regularize(self.model)

    def after_step(self, optimizer: Optimizer) -> None:
        """Leave the weights."""


def load_torch_pruning() -> Any:
    """Import Torch-Pruning.

    Raises:
        MissingExtraError: it is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its use of old torch names
        return require("torch_pruning")


def _importance(package: Any) -> Any:
    return package.importance.GroupMagnitudeImportance(p=2, normalizer="max")


def _importances(
    model: nn.Module, graph: ChannelGraph, names: Sequence[str], example_inputs: ExampleInputs
) -> Callable[[str], list[float]]:
    """Return a function that gives the importance of a group's channels at the current weights."""
    package = load_torch_pruning()
    importance = _importance(package)
    producers = {name: graph.groups[name].of_role("producer")[0] for name in names}
    coupled = {}
    with _traceable(model):
        dependencies = package.DependencyGraph().build_dependency(
            model, call_arguments(example_inputs)[0]
        )
        for name, producer in producers.items():
            layer = model.get_submodule(graph.groups[name].producers[0])
            coupled[name] = dependencies.get_pruning_group(
                layer,
                dependencies.get_pruner_of_module(layer).prune_out_channels,
                list(range(graph.shapes[producer.name][producer.dim])),
            )

    def of_group(name: str) -> list[float]:
        # A group of zeros has no shares; its importance is 0.
        found: Tensor = importance(coupled[name]).double().nan_to_num(0.0)
        values: list[float] = found[producers[name].index].mean(1).tolist()
        return values

    return of_group


@torch.no_grad()
def _zero(tensors: dict[str, Tensor], group: ChannelGroup, channel: int) -> None:
    for member in group.members:
        if member.name in tensors:
            tensors[member.name].index_fill_(member.dim, member.index[channel], 0)


@contextmanager
def _traceable(model: nn.Module) -> Iterator[None]:
    """Let Torch-Pruning trace: it follows gradients, and misses layers that are frozen."""
    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    with evaluating(model), torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of parameters in no module, which it handles
        try:
            model.requires_grad_(True)
            yield
        finally:
            for parameter in frozen:
                parameter.requires_grad_(False)
