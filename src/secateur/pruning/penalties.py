"""Sparsity: the penalties that induce it, and the levels that are read from it.

A penalty is a step of its own beside the optimiser's, or a term of the loss. All work on lists of
tensors at once (``torch._foreach_*``), so that they cost a training step next to nothing. What a
training loop holds is ``Penalties``: attached to an optimiser once, it acts at every step.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from secateur.errors import PruningError
from secateur.pruning.graph.trace import ChannelGraph
from secateur.pruning.importance import norm_scales
from secateur.pruning.selection.select import match_groups


class Blocks(NamedTuple):
    """The blocks F_i or G_i that a weight holds.

    Attributes:
        weight: the weight.
        dim: the dimension that the blocks are slices of.
        block: the number of the block that each position along ``dim`` belongs to, (size,) int64;
            None where each position is a block. Behind a flattened map, or in a grouped
            convolution, a channel has several positions.
    """

    weight: nn.Parameter
    dim: int
    block: Tensor | None = None


def prunable_weights(
    model: nn.Module, graph: ChannelGraph, groups: Sequence[str] | None = None
) -> list[nn.Parameter]:
    """Weights to make sparse before filters go: those that make or read a removable channel.

    They are the producers and consumers of the groups. Frozen ones are left out, for no training
    changes them.

    Args:
        model: the network the groups were found in.
        graph: its channel groups.
        groups: layers whose channels may go, as paths or patterns (``layer1.*``); None for all.

    Raises:
        PruningError: as for ``prunable_blocks``.
    """
    return list(dict.fromkeys(weight for weight, *_ in prunable_blocks(model, graph, groups)))


def prunable_blocks(
    model: nn.Module, graph: ChannelGraph, groups: Sequence[str] | None = None
) -> list[Blocks]:
    """Likewise, each with where it holds the blocks F_i or G_i.

    A weight that makes channels of one group and reads those of another is there twice.

    Raises:
        PruningError: a pattern matches nothing that can be pruned, all the weights are frozen, or
            the graph is of another network.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    found: dict[tuple[nn.Parameter, int], Tensor] = {}
    for name in match_groups(graph, groups):
        for member in graph.groups[name].members:
            if member.role == "follower" or member.name not in graph.parameters:
                continue
            if member.name not in parameters:
                raise PruningError(
                    f"the model has no parameter {member.name}; give the very module whose "
                    "channel groups these are"
                )
            weight, index = parameters[member.name], member.index.cpu()
            if weight.requires_grad:
                block = found.setdefault(
                    (weight, member.dim), torch.arange(weight.shape[member.dim])
                )
                block[index] = index[:, :1]
    if not found:
        raise PruningError(
            "every weight that makes or reads these channels is frozen, so none can become sparse; "
            "unfreeze some, or name other layers"
        )
    return [
        Blocks(weight, dim, block.to(weight.device) if bool((block.diff() != 1).any()) else None)
        for (weight, dim), block in found.items()
    ]


def make_penalty(
    model: nn.Module,
    graph: ChannelGraph,
    groups: Sequence[str] | None = None,
    *,
    kind: Literal["proximal", "subgradient"] = "proximal",
    strength: float | None = None,
    group_strength: float = 0.0,
) -> "Penalties":
    """Build the penalty that makes a network's prunable weights sparse.

    Args:
        model: the network to be trained with it.
        graph: its channel groups.
        groups: layers whose channels may go, as paths or patterns (``layer1.*``); None for all.
        kind: ``proximal``, the soft threshold, which makes exact zeros; or ``subgradient``, as
            published, which makes weights small.
        strength: λ of the L1 penalty, in units of the loss; by default ``default_strength``.
        group_strength: λ of the penalty on whole blocks F_i and G_i beside it; 0: none.

    Raises:
        PruningError: as for ``prunable_blocks``; or the kind is unknown, or a strength negative.
    """
    blocks = prunable_blocks(model, graph, groups)
    weights = list(dict.fromkeys(weight for weight, *_ in blocks))
    kinds: dict[str, type[L1Proximal | L1Subgradient]] = {
        "proximal": L1Proximal,
        "subgradient": L1Subgradient,
    }
    if kind not in kinds:
        raise PruningError(f"there is no penalty {kind!r}; take {' or '.join(kinds)}")
    strength = default_strength(weights) if strength is None else strength
    if not all(0 <= each < math.inf for each in (strength, group_strength)):
        raise PruningError("a penalty's strength is a number, 0 or more; below, weights would grow")
    penalties: list[Penalty] = []
    if strength > 0:
        penalties.append(kinds[kind](weights, strength))
    if group_strength > 0:
        penalties.append(GroupProximal(blocks, group_strength))
    names = {parameter: name for name, parameter in model.named_parameters()}
    return Penalties(penalties, {names[weight]: weight for weight in weights})


def penalize_scales(
    model: nn.Module, graph: ChannelGraph, groups: Sequence[str], strength: float
) -> "Penalties":
    """Build network slimming's penalty: L1 on the scales of batch norms, by its subgradient.

    Liu et al., "Learning Efficient Convolutional Networks through Network Slimming", ICCV 2017;
    for comparison.

    Args:
        model: the network to be trained with it.
        graph: its channel groups.
        groups: names of those whose channels may go.
        strength: λ, in units of the loss.

    Raises:
        PruningError: no group has a batch norm.
    """
    parameters = dict(model.named_parameters())
    names = [scale for name in groups for scale in norm_scales(graph, graph.groups[name])]
    if not names:
        raise PruningError("there is no batch norm whose scales could be drawn to zero")
    scales = {name: parameters[name] for name in names}
    return Penalties([L1Subgradient([*scales.values()], strength)], scales)


def default_strength(weights: Iterable[Tensor]) -> float:
    """Give the λ at which λ·Σ|w| starts as 0.1, in units of the loss.

    One number for networks of any size would bury the loss of a large one, or do nothing to a
    small one. 0.1 is felt beside a loss about 1, as cross-entropy is, without ruling it; and Adam,
    which steps further the smaller the gradients are, shrinks the weights of a task that is all
    but solved fast enough.
    """
    return 0.1 / max(float(l1_penalty([weight.detach() for weight in weights])), 1e-30)


def l1_penalty(weights: nn.Module | Iterable[Tensor]) -> Tensor:
    """Sum the magnitudes, Σ|w|, as a term for a loss.

    For ``loss + strength * l1_penalty(weights)``. Its gradient is the published subgradient,
    sign(w): it makes weights small, and few of them exactly zero. ``proximal_step`` makes zeros.

    Args:
        weights: the penalised tensors; or a module, for all of its parameters that train and have
            two dimensions or more, which leaves out biases, norms and scales.

    Returns:
        The sum, of shape (), differentiable.

    Raises:
        PruningError: there are no weights.
    """
    if isinstance(weights, nn.Module):
        weights = [p for p in weights.parameters() if p.requires_grad and p.dim() > 1]
    tensors = list(weights)
    if not tensors:
        raise PruningError("there are no weights to penalise; name at least one that trains")
    return torch.stack(torch._foreach_norm(tensors, 1)).sum()


@torch.no_grad()
def proximal_step(optimizer: Optimizer, weights: Iterable[nn.Parameter], strength: float) -> None:
    """Shrink every weight towards zero: the proximal step of λ·Σ|w|, the soft threshold.

    To be called right behind ``optimizer.step()``. A weight becomes
    ``sign(w)·max(|w| − ηλ, 0)``. η is the learning rate; under Adam and its kin it is each weight's
    own step length, ``lr ÷ (√v̂ + ε)``, or λ would mean something else in every layer. Weights
    that the optimiser does not hold, or that have no gradient, stay.

    Args:
        optimizer: has just taken its step.
        weights: the penalised tensors.
        strength: λ, in units of the loss.
    """
    for tensors, steps in _step_lengths(optimizer, weights):
        # w less what of it lies within ±ηλ: exactly 0 where |w| is no larger.
        if isinstance(steps, float):
            inner = torch._foreach_clamp_min(tensors, -steps * strength)
            torch._foreach_clamp_max_(inner, steps * strength)
        else:
            bounds = torch._foreach_mul(steps, strength)
            inner = torch._foreach_minimum(tensors, bounds)
            torch._foreach_neg_(bounds)
            torch._foreach_maximum_(inner, bounds)
        torch._foreach_sub_(tensors, inner)


@torch.no_grad()
def group_proximal_step(optimizer: Optimizer, blocks: Sequence[Blocks], strength: float) -> None:
    """Shrink every block's norm towards zero: the proximal step of λ·Σ√n‖block‖₂, block by block.

    To be called right behind ``optimizer.step()``. Whole filters, and whole slices that read a
    channel, go to zero together. √n, for n the elements of a block, makes blocks of different
    shapes comparable (Yuan and Lin, 2006). The step length is that of ``proximal_step``, and under
    Adam the mean of it over a block.

    Args:
        optimizer: has just taken its step.
        blocks: as ``prunable_blocks`` gives them.
        strength: λ, in units of the loss.
    """
    lengths: dict[Tensor, float | Tensor] = {}
    for tensors, steps in _step_lengths(optimizer, [each.weight for each in blocks]):
        each = [steps] * len(tensors) if isinstance(steps, float) else steps
        lengths.update(zip(tensors, each, strict=True))
    waiting = [each for each in blocks if each.weight in lengths]
    while waiting:  # a weight's filters first, then its slices, or the other way round
        turn: dict[nn.Parameter, Blocks] = {}
        waiting = [some for some in waiting if turn.setdefault(some.weight, some).dim != some.dim]
        _shrink_blocks([*turn.values()], lengths, strength)


def _shrink_blocks(
    blocks: Sequence[Blocks], lengths: Mapping[Tensor, float | Tensor], strength: float
) -> None:
    """The same for one way through each weight: what can be is done for all in one call."""
    shares: list[float] = []
    keep, adapted, means = [], [], []
    for weight, dim, block in blocks:
        length = lengths[weight]
        others = [d for d in range(weight.dim()) if d != dim]
        norm = torch.linalg.vector_norm(weight, dim=others, keepdim=True)
        root = math.sqrt(weight.numel() / weight.shape[dim])
        mean = None if isinstance(length, float) else length.mean(dim=others, keepdim=True)
        if block is not None:
            norm, mean = _of_whole_blocks(norm, mean, block.to(norm.device))
        keep.append(norm)
        shares.append(-strength * root * (length if isinstance(length, float) else 1.0))
        if mean is not None:
            adapted.append(norm)
            means.append(mean)
    # 1 − λ√n·η ÷ norm, at least 0
    torch._foreach_clamp_min_(keep, 1e-12)
    torch._foreach_reciprocal_(keep)
    torch._foreach_mul_(keep, shares)
    if means:
        torch._foreach_mul_(adapted, means)
    torch._foreach_add_(keep, 1.0)
    torch._foreach_clamp_min_(keep, 0.0)
    for each, share in zip(blocks, keep, strict=True):
        each.weight.mul_(share)


def _of_whole_blocks(
    norm: Tensor, mean: Tensor | None, block: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Make norms and means of positions those of the blocks that these belong to.

    A norm is divided by √m for the m positions of its block, which is the rest of its √n.
    """
    count = torch.bincount(block, minlength=len(block)).clamp_min(1)

    def mean_of(values: Tensor) -> Tensor:
        summed = torch.zeros_like(values.flatten()).index_add_(0, block, values.flatten())
        return (summed / count)[block].view_as(values)

    return mean_of(norm.square()).sqrt(), None if mean is None else mean_of(mean)


def zero_share(
    weights: Iterable[Tensor], threshold: float = 0.0, units: Iterable[float] | None = None
) -> float:
    """Zeros ÷ elements over all the tensors, where |w| < threshold counts as zero too.

    Args:
        weights: the tensors.
        threshold: t.
        units: what t is counted in for each tensor; None for 1.
    """
    zeros = elements = 0
    for weight, unit in zip(weights, repeat(1.0) if units is None else units, strict=False):
        zeros += int(((weight == 0) | (weight.abs() < threshold * unit)).sum())
        elements += weight.numel()
    return zeros / elements


@torch.no_grad()
def apply_threshold(
    weights: Iterable[Tensor], threshold: float, units: Iterable[float] | None = None
) -> None:
    """Zero, in place, every weight whose magnitude is below the threshold; as ``zero_share``."""
    for weight, unit in zip(weights, repeat(1.0) if units is None else units, strict=False):
        weight.masked_fill_(weight.abs() < threshold * unit, 0)


class Penalty(Protocol):
    """What a training loop calls to make weights sparse."""

    def before_step(self, optimizer: Optimizer | None = None) -> None:
        """Change the gradients, of the weights which the optimiser holds, if one is given."""

    def after_step(self, optimizer: Optimizer) -> None:
        """Change the weights."""


@dataclass(frozen=True, slots=True)
class L1Subgradient:
    """λ·Σ|w| by its plain subgradient, as published (paper, section 3, step 1).

    Attributes:
        weights: the penalised tensors.
        strength: λ, in units of the loss.
    """

    weights: Sequence[nn.Parameter]
    strength: float

    @torch.no_grad()
    def before_step(self, optimizer: Optimizer | None = None) -> None:
        """Add λ·sign(w) to the gradients."""
        held = None if optimizer is None else _held(optimizer)
        pairs = [
            (w.grad, w.detach())
            for w in self.weights
            if w.grad is not None and (held is None or w in held)
        ]
        if not pairs:
            return
        grads, weights = zip(*pairs, strict=True)
        signs = torch._foreach_sign(list(weights))
        # A fused optimiser is given gradients that a GradScaler has enlarged, and their scale.
        scale = getattr(optimizer, "grad_scale", None)
        if scale is not None:
            torch._foreach_mul_(signs, scale)
        torch._foreach_add_(list(grads), signs, alpha=self.strength)

    def after_step(self, optimizer: Optimizer) -> None:
        """Leave the weights."""


@dataclass(frozen=True, slots=True)
class L1Proximal:
    """λ·Σ|w| by its proximal step, which makes exact zeros: see ``proximal_step``.

    Attributes:
        weights: the penalised tensors.
        strength: λ, in units of the loss; a step shrinks every weight by learning rate × λ.
    """

    weights: Sequence[nn.Parameter]
    strength: float

    def before_step(self, optimizer: Optimizer | None = None) -> None:
        """Leave the gradients."""

    def after_step(self, optimizer: Optimizer) -> None:
        """Shrink every weight towards zero."""
        proximal_step(optimizer, self.weights, self.strength)


@dataclass(frozen=True, slots=True)
class GroupProximal:
    """λ·Σ√n‖block‖₂ over the blocks F_i and G_i: see ``group_proximal_step``.

    Attributes:
        blocks: as ``prunable_blocks`` gives them.
        strength: λ, in units of the loss.
    """

    blocks: Sequence[Blocks]
    strength: float

    def before_step(self, optimizer: Optimizer | None = None) -> None:
        """Leave the gradients."""

    def after_step(self, optimizer: Optimizer) -> None:
        """Shrink every block's norm towards zero."""
        group_proximal_step(optimizer, self.blocks, self.strength)


class Penalties:
    """What one training adds to its loss, for any loop: attached once, or called at each step.

    ``penalties.attach(optimizer)`` is all that a loop needs, and works wherever torch's own
    optimisers do the step, as in Lightning and Fabric. A loop that would rather see it calls
    ``before_step()`` between ``backward()`` and ``optimizer.step()``, and
    ``after_step(optimizer)`` behind it. Without any penalties it does nothing, so that the same
    loop retrains.

    Attributes:
        penalties: in the order they act.
        weights: those penalised, by name; what is asked of the optimisers.
        attached: whether ``attach`` was called.
        steps: how many steps of an optimiser it has seen.
        unreached: names of the weights that had no gradient, or no optimiser, at any step so far.
    """

    def __init__(
        self,
        penalties: Sequence[Penalty] = (),
        weights: Mapping[str, nn.Parameter] | None = None,
    ) -> None:
        self.penalties = tuple(penalties)
        self.weights = dict(weights or {})
        self.attached = False
        self.steps = 0
        self.unreached = tuple(self.weights)
        self._handles: dict[Optimizer, tuple[RemovableHandle, RemovableHandle]] = {}

    def attach(self, optimizer: Optimizer) -> None:
        """Act at every step of an optimiser from now on; a second call changes nothing.

        Args:
            optimizer: any of ``torch.optim``, or a wrapper that has it as ``optimizer``, such as
                Fabric's and Accelerate's; once for each, where there are several.

        Raises:
            PruningError: it holds none of the penalised weights.
        """
        optimizer = getattr(optimizer, "optimizer", optimizer)
        if self.weights and _held(optimizer).isdisjoint(self.weights.values()):
            raise PruningError(
                "the optimiser holds none of the penalised weights; build it from the parameters "
                "of the model that is to become sparse"
            )
        self.attached = True
        if optimizer not in self._handles:
            self._handles[optimizer] = (
                optimizer.register_step_pre_hook(self._before),
                optimizer.register_step_post_hook(lambda it, _args, _kwargs: self.after_step(it)),
            )

    def detach(self) -> None:
        """Act no more."""
        for handles in self._handles.values():
            for handle in handles:
                handle.remove()
        self._handles.clear()

    def before_step(self, optimizer: Optimizer | None = None) -> None:
        """Change the gradients, of the weights which the optimiser holds, if one is given."""
        for penalty in self.penalties:
            penalty.before_step(optimizer)

    def after_step(self, optimizer: Optimizer) -> None:
        """Change the weights."""
        self.steps += 1
        if self.unreached:
            held = _held(optimizer)
            weights = self.weights
            self.unreached = tuple(
                n for n in self.unreached if weights[n].grad is None or weights[n] not in held
            )
        for penalty in self.penalties:
            penalty.after_step(optimizer)

    def _before(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        """Change the gradients before a step; if the step is to make them, once it has."""
        given = dict(zip(("self", "closure"), args, strict=False)) | kwargs
        closure = given.get("closure")
        if closure is None:
            self.before_step(optimizer)
            return None

        def with_penalty() -> Any:
            value = closure()
            self.before_step(optimizer)
            return value

        return args[:1], {**kwargs, "closure": with_penalty}


def _held(optimizer: Optimizer) -> set[Tensor]:
    return {parameter for group in optimizer.param_groups for parameter in group["params"]}


def _step_lengths(
    optimizer: Optimizer, weights: Iterable[nn.Parameter]
) -> Iterable[tuple[list[Tensor], float | list[Tensor]]]:
    """Give each weight's step length: the learning rate, over Adam's preconditioner if any."""
    wanted = set(weights)
    for group in optimizer.param_groups:
        found: list[Tensor] = [p for p in group["params"] if p in wanted and p.grad is not None]
        if not found:
            continue
        states = [optimizer.state[p] for p in found]
        # Some count their steps elsewhere, and follow the learning rate.
        if "betas" not in group or not all(
            {"exp_avg_sq", "step"} <= state.keys() for state in states
        ):
            yield found, float(group["lr"])
            continue
        # Fused optimisers count their steps on the device: read together, they wait for it once.
        counts = torch.stack([torch.as_tensor(state["step"]) for state in states]).tolist()
        roots = torch._foreach_sqrt([state["exp_avg_sq"] for state in states])
        torch._foreach_div_(roots, [math.sqrt(1 - group["betas"][1] ** n) for n in counts])
        torch._foreach_add_(roots, group["eps"])
        torch._foreach_reciprocal_(roots)
        torch._foreach_mul_(roots, float(group["lr"]))
        yield found, list(roots)
