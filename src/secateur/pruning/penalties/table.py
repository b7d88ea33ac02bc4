"""The penalties by name. A new one is a builder in a file of its own and a line here."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from secateur.errors import WrongValueError
from secateur.files.arguments import checked
from secateur.models.example_inputs import ExampleInputs
from secateur.pruning.baselines.torch_pruning import penalize_group_norms
from secateur.pruning.graph.groups import ChannelGraph, check_graph, model_tensors
from secateur.pruning.penalties.group import GroupProximal
from secateur.pruning.penalties.l1 import L1Proximal, L1Subgradient, default_strength
from secateur.pruning.penalties.penalty import Penalties, Penalty
from secateur.pruning.penalties.scales import penalize_scales
from secateur.pruning.selection.match import Layers, match_groups
from secateur.pruning.sparsity import prunable_blocks


@dataclass(frozen=True, slots=True)
class Penalized:
    """The network that a penalty is built for.

    Attributes:
        model: the network to be trained with it.
        graph: its channel groups.
        groups: names of those that may lose channels.
        example_inputs: what the network can be traced with.
    """

    model: nn.Module
    graph: ChannelGraph
    groups: Sequence[str]
    example_inputs: ExampleInputs


@dataclass(frozen=True, slots=True)
class PenaltyKind:
    """How a penalty is built.

    Attributes:
        build: gives the penalty of a strength, λ in units of the loss; None for a default.
        description: one line, for help and docs.
        with_group: whether the group penalty may act beside it.
        makes_zeros: whether weights become exactly zero in training.
    """

    build: Callable[[Penalized, float | None], Penalties]
    description: str
    with_group: bool = False
    makes_zeros: bool = False


def _l1(kind: type[L1Proximal | L1Subgradient]) -> Callable[[Penalized, float | None], Penalties]:
    def build(network: Penalized, strength: float | None) -> Penalties:
        blocks = prunable_blocks(network.model, network.graph, network.groups)
        weights = list(dict.fromkeys(weight for weight, *_ in blocks))
        strength = default_strength(weights) if strength is None else strength
        names = {parameter: name for name, parameter in network.model.named_parameters()}
        penalties = [kind(weights, strength)] if strength > 0 else []
        return Penalties(penalties, {names[weight]: weight for weight in weights}, strength)

    return build


PENALTIES: dict[str, PenaltyKind] = {
    "proximal": PenaltyKind(
        _l1(L1Proximal), "L1 by its proximal step, which makes exact zeros", True, makes_zeros=True
    ),
    "subgradient": PenaltyKind(
        _l1(L1Subgradient), "L1 by its subgradient, as published", with_group=True
    ),
    "norm_scale": PenaltyKind(
        lambda n, strength: penalize_scales(n.model, n.graph, n.groups, strength),
        "L1 on the scales of batch norms, for the criterion norm_scale",
    ),
    "group_norm": PenaltyKind(
        lambda n, strength: penalize_group_norms(
            n.model, n.graph, n.groups, n.example_inputs, strength
        ),
        "Torch-Pruning's, on the norms of whole groups, for the criterion group_norm",
    ),
}


@checked
def make_penalty(
    model: nn.Module,
    graph: ChannelGraph,
    groups: Layers = None,
    *,
    ignore: Layers = None,
    kind: str = "proximal",
    strength: float | None = None,
    group_strength: float = 0.0,
    example_inputs: ExampleInputs = (),
) -> Penalties:
    """Build the penalty that makes a network's prunable weights sparse.

    Args:
        model: the network to be trained with it.
        graph: its channel groups.
        groups: layers that may lose filters, as paths or patterns (``layer1.*``); None for all.
        ignore: layers that shall lose none.
        kind: a name of ``PENALTIES``: ``proximal``, the soft threshold, which makes exact zeros;
            ``subgradient``, as published, which makes weights small; or one of a comparison.
        strength: λ of the penalty, in units of the loss; by default ``default_strength``.
        group_strength: λ of the penalty on whole blocks F_i and G_i beside it; 0: none.
        example_inputs: what the network can be traced with, for a penalty that traces it itself.

    Raises:
        PruningError: as for ``prunable_blocks``; or the kind is unknown, or a strength negative.
    """
    check_penalty(kind, strength, group_strength)
    check_graph(graph, model_tensors(model))
    names = match_groups(graph, groups, ignore)
    penalty = PENALTIES[kind].build(Penalized(model, graph, names, example_inputs), strength)
    if group_strength > 0:
        group: Penalty = GroupProximal(prunable_blocks(model, graph, names), group_strength)
        penalty = Penalties([*penalty.penalties, group], penalty.weights, penalty.strength)
    return penalty


def check_penalty(kind: str, strength: float | None, group_strength: float) -> None:
    """Check the settings of a penalty.

    Raises:
        WrongValueError: the kind is unknown, a strength is negative, or the two do not go together.
    """
    if kind not in PENALTIES:
        raise WrongValueError(f"there is no penalty {kind!r}; take {', '.join(PENALTIES)}")
    strengths = (group_strength,) if strength is None else (strength, group_strength)
    if not all(0 <= each < math.inf for each in strengths):
        raise WrongValueError("strength must be a finite number, 0 or more; below 0, weights grow")
    if group_strength and not PENALTIES[kind].with_group:
        raise WrongValueError(
            f"group_strength cannot be combined with the penalty {kind}; set it to 0"
        )
