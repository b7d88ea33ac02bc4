"""The phase: sparsify, threshold, select, remove, reconstruct, retrain.

``run_phase`` is the one flow of the method. It walks ``Steps``, which keep networks in memory
(``compress``) or as files of a run folder (``run.phase_steps``). Both carry out a step by the
functions below, which see a network and a ``Trainer``.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from secateur.errors import PruningError
from secateur.models.copying import copy_model
from secateur.models.example_inputs import ExampleInputs, call_arguments
from secateur.pruning.criteria.importance import Scored
from secateur.pruning.graph.groups import ChannelGraph
from secateur.pruning.penalties.penalty import Penalties
from secateur.pruning.penalties.table import PENALTIES, make_penalty
from secateur.pruning.recalibration import fold_means, reestimate_norms
from secateur.pruning.reconstruction.reconstruct import Reconstruction, reconstruct
from secateur.pruning.removal import remove_filters
from secateur.pruning.selection.budget import Budget, bisect_sizes, size_between
from secateur.pruning.selection.by_sparsity import choose_by_sparsity
from secateur.pruning.selection.goal import Goal
from secateur.pruning.selection.levels import Choice
from secateur.pruning.selection.measured_rounding import (
    MeasuredSteps,
    measure_width_steps,
    select_within_reach,
)
from secateur.pruning.selection.rounding import RoundTo
from secateur.pruning.selection.select import choose_by_importance
from secateur.pruning.settings import Method, check_goal
from secateur.pruning.sparsity import apply_threshold, prunable_weights, zero_share
from secateur.pruning.threshold import Threshold, layer_deviations, search_threshold
from secateur.pruning.verification import Difference, verify_removal

N = TypeVar("N")  # a network as the steps keep it
# Batches whose loss a criterion may ask for.
LOSS_BATCHES = 50


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase of a compression.

    Attributes:
        number: from 1.
        groups: names of the channel groups that may lose channels, in the order the network runs.
        goal: of the compression.
        method: its settings.
        budget: what the network may have after the phase, for a goal with a budget.
        floor: the least metric after the phase, for ``max_drop``.
    """

    number: int
    groups: tuple[str, ...]
    goal: Goal
    method: Method
    budget: Budget | None = None
    floor: float | None = None

    def __post_init__(self) -> None:
        check_goal(self.goal, self.method.selection)


@dataclass(frozen=True, slots=True)
class Size:
    """One removal of a phase: how small the network shall be.

    Attributes:
        budget: what the network may have; None for the published levels.
        attempt: number of the size tried for ``max_drop``, from 1; None for another goal.
    """

    budget: Budget | None
    attempt: int | None = None


@dataclass(frozen=True, slots=True)
class Attempt(Generic[N]):
    """A size that was removed and retrained.

    Attributes:
        network: after retraining, if there is any.
        keep: for ``max_drop``, the share kept of what the phase can remove.
        metric: of the network on validation.
        held: whether the metric is above the phase's floor.
    """

    network: N
    keep: float | None
    metric: float
    held: bool


@dataclass(frozen=True, slots=True)
class Outcome(Generic[N]):
    """What a phase gave.

    Attributes:
        network: after the phase; the one before it where no size held the drop.
        attempts: every size that was tried, in order.
        taken: index of the attempt whose network was taken; None if none stayed within the drop.
    """

    network: N
    attempts: tuple[Attempt[N], ...]
    taken: int | None


class Steps(Protocol[N]):
    """Where the steps of a phase take place. Each gives the network after it."""

    def sparsify(self, phase: Phase, before: N) -> tuple[N, float]:
        """Train with the penalty; also give the metric on validation."""

    def threshold(self, phase: Phase, sparse: N, reference: float) -> N:
        """Zero what is below the threshold, of a network whose metric is the reference."""

    def graph(self, network: N) -> ChannelGraph:
        """The channel groups of a network."""

    def remove(self, phase: Phase, sparse: N, thresholded: N, size: Size) -> tuple[N, float]:
        """Select by the thresholded network, remove from the sparse one, and reconstruct."""

    def retrain(self, phase: Phase, slim: N, size: Size) -> tuple[N, float]:
        """Train without the penalty; also give the metric on validation."""

    def say(self, text: str) -> None:
        """Print a line."""


def run_phase(phase: Phase, before: N, steps: Steps[N]) -> Outcome[N]:
    """Walk the steps of a phase.

    A criterion that needs no sparsity skips the training with a penalty, and one that reads no
    zeros skips the threshold. For ``max_drop`` every size is removed and retrained in full, so that
    the drop is measured and not estimated. A method without training has neither the penalty nor
    retraining.
    """
    selection = phase.method.selection
    sparse = thresholded = before
    if selection.ranks_by.sparsifies:
        sparse, reference = steps.sparsify(phase, before)
        thresholded = sparse
        if selection.ranks_by.reads_zeros:
            thresholded = steps.threshold(phase, sparse, reference)

    attempts: list[Attempt[N]] = []

    def attempt(size: Size, keep: float | None = None) -> bool:
        slim, metric = steps.remove(phase, sparse, thresholded, size)
        if phase.method.training:
            slim, metric = steps.retrain(phase, slim, size)
        held = phase.floor is None or metric >= phase.floor
        attempts.append(Attempt(slim, keep, metric, held))
        return held

    if phase.floor is None:
        attempt(Size(phase.budget))
    else:
        graph = steps.graph(before)

        def holds(keep: float) -> bool:
            least, round_to = selection.min_filters, selection.known_round_to
            budget = size_between(graph, phase.groups, keep, least, round_to)
            return attempt(Size(budget, len(attempts) + 1), keep)

        bisect_sizes(phase.goal.attempts, holds)
    taken = max((i for i, each in enumerate(attempts) if each.held), default=None)
    if taken is None:
        steps.say("  no size holds the drop: the phase leaves the network as it was")
    network = before if taken is None else attempts[taken].network
    return Outcome(network, tuple(attempts), taken)


# ---- the work of each step ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Network:
    """A network at work.

    Attributes:
        model: what is trained and saved.
        graph: its channel groups.
        example_inputs: what the raw network can be traced with and is verified on.
        raw: gives the part of a model that pruning sees; its parameters have the model's names.
        timed_input: as inference will meet it, for measured rounding; None where it is unknown.
    """

    model: nn.Module
    graph: ChannelGraph
    example_inputs: ExampleInputs
    raw: Callable[[nn.Module], nn.Module] = lambda model: model
    timed_input: Tensor | None = None


class Trainer(Protocol):
    """What the work of a phase asks of a training loop."""

    def train(self, model: nn.Module, penalty: Penalties) -> None:
        """Train a model in place."""

    def inputs(self, model: nn.Module, batches: int) -> Iterator[ExampleInputs] | None:
        """Give what the raw network is called with on training batches, on the model's device.

        The model may be moved to another device first. None where there are no batches.
        """

    def losses(self, model: nn.Module, batches: int) -> Iterator[Tensor] | None:
        """Give the loss of training batches; None where there is no loss."""


@dataclass(frozen=True, slots=True)
class Removed:
    """The result of a removal.

    Attributes:
        model: the slim network.
        choice: what was selected.
        slim_minus_masked: the largest difference that verification found in an output, as a share
            of that output's largest magnitude.
        rounding: the width steps that were measured; None where none were.
        reconstruction: what it did; None where there was none.
    """

    model: nn.Module
    choice: Choice
    slim_minus_masked: Difference
    rounding: MeasuredSteps | None
    reconstruction: Reconstruction | None

    @property
    def counts(self) -> dict[str, int]:
        """Channels left in each group of the phase."""
        return {name: len(kept) for name, kept in self.choice.kept.items()}


def phase_penalty(network: Network, phase: Phase) -> Penalties:
    """Build the penalty of a phase; errors as for ``make_penalty``."""
    settings = phase.method.penalty
    return make_penalty(
        network.raw(network.model),
        network.graph,
        phase.groups,
        kind=settings.kind,
        strength=settings.strength,
        group_strength=settings.group_strength,
        example_inputs=network.example_inputs,
    )


def sparsify(network: Network, phase: Phase, trainer: Trainer) -> tuple[float, float | None]:
    """Step 1: train in place with the penalty on the phase's layers (paper, section 3).

    Returns:
        The share of exact zeros among the penalised weights, and the penalty's strength.
    """
    penalty = phase_penalty(network, phase)
    try:
        trainer.train(network.model, penalty)
    finally:
        penalty.detach()
    return zero_share(penalty.weights.values()), penalty.strength


def zeros_note(zeros: float, phase: Phase) -> str:
    """Say what to do where a training left hardly any exact zeros; empty where it is in order.

    Args:
        zeros: share of exact zeros among the penalised weights.
        phase: the phase.
    """
    if zeros >= 0.0005:  # 0.0 % when printed
        return ""
    if PENALTIES[phase.method.penalty.kind].makes_zeros:
        return " (raise the strength, the learning rate or the number of steps for more)"
    return " (this penalty makes weights small; the threshold makes them zero)"


def threshold(
    network: Network,
    phase: Phase,
    reference: float,
    validation: Callable[[float], Callable[[], float]],
) -> Threshold:
    """Step 1, second half: find the largest threshold within the drop, and apply it in place.

    Args:
        network: the sparsified network.
        phase: the phase.
        reference: the network's metric on validation.
        validation: given the least metric allowed, gives the function that evaluates the network
            as it then is.
    """
    settings = phase.method.threshold
    weights = prunable_weights(network.raw(network.model), network.graph, phase.groups)
    units = layer_deviations(weights) if settings.scope == "layer" else None
    drop = abs(reference) / 100 if settings.max_drop is None else settings.max_drop
    floor = reference - drop
    found = search_threshold(weights, validation(floor), floor, settings.resolution, units)
    apply_threshold(weights, found.value, units)
    return found


def select(
    network: Network,
    phase: Phase,
    size: Size,
    trainer: Trainer,
    *,
    seed: int = 0,
    round_to: RoundTo | None = None,
) -> Choice:
    """Step 2: choose the channels that are kept.

    Args:
        network: whose weights are looked at: thresholded, where the criterion reads zeros.
        phase: the phase.
        size: what the network may have.
        trainer: gives losses and inputs to the criteria that need them.
        seed: of random numbers.
        round_to: width steps of the groups; None for those of the settings.

    Raises:
        BudgetError: the budget cannot be met.
        PruningError: the network has nothing that the criterion reads.
    """
    settings, graph, names = phase.method.selection, network.graph, phase.groups
    raw = network.raw(network.model)
    round_to = settings.known_round_to if round_to is None else round_to
    tensors = dict(raw.named_parameters(remove_duplicate=False))
    if size.budget is None:
        if phase.goal.levels is None:
            raise PruningError("no budget and no levels are given; state one goal")
        s_F, s_F_both, s_G = phase.goal.levels
        return choose_by_sparsity(
            graph,
            names,
            tensors,
            s_F=s_F,
            s_F_both=s_F_both,
            s_G=s_G,
            min_filters=settings.min_filters,
            round_to=round_to,
        )

    def losses() -> Iterator[Tensor]:
        yield from trainer.losses(network.model, LOSS_BATCHES) or ()

    def inputs() -> Iterator[ExampleInputs]:
        yield from _some_inputs(trainer, network.model, phase.method.removal.pictures)

    scored = Scored(
        raw, graph, names, network.example_inputs, settings.min_filters, seed, losses, inputs
    )
    importance = settings.ranks_by.importance(scored)
    settings = replace(settings, round_to=round_to)
    return choose_by_importance(graph, names, tensors, size.budget, importance, settings)


def remove(
    sparse: Network,
    thresholded: Network,
    phase: Phase,
    size: Size,
    trainer: Trainer,
    *,
    seed: int = 0,
) -> Removed:
    """Steps 2 and 3: select, remove, verify and reconstruct.

    Filters are removed from the unthresholded network, as published. Removal and verification run
    on the CPU, because not every device has double precision.

    Args:
        sparse: the network to remove from; its biases change where means are folded into them.
        thresholded: the network whose weights decide.
        phase: the phase.
        size: what the network may have.
        trainer: gives training batches.
        seed: of random numbers.

    Raises:
        BudgetError: the budget cannot be met.
        PruningError: the removal is not verified.
    """
    settings = phase.method.removal
    graph, model = sparse.graph, sparse.model

    def choose(round_to: RoundTo) -> Choice:
        return select(thresholded, phase, size, trainer, seed=seed, round_to=round_to)

    rounding = None
    if phase.method.selection.round_to == "auto":
        choice, rounding = _measured_choice(sparse, phase, choose)
    else:
        choice = choose(phase.method.selection.known_round_to)
    pictures = _some_inputs(trainer, model, settings.pictures) if settings.reconstruct else []
    if settings.fold_means and not pictures:
        passes = _passes(sparse, model, trainer, settings.batches)
        fold_means(sparse.raw(model), graph, choice.kept, passes)
    slim, difference, reconstruction = cut(sparse, choice.kept, pictures)
    if not pictures and settings.reestimate_norms:
        reestimate_norms(slim, _passes(sparse, slim, trainer, settings.batches))
    return Removed(slim, choice, difference, rounding, reconstruction)


def cut(
    network: Network, kept: Mapping[str, Tensor], pictures: Sequence[ExampleInputs]
) -> tuple[nn.Module, Difference, Reconstruction | None]:
    """Remove from a copy, verify, and reconstruct.

    Args:
        network: left as it is.
        kept: indices of the channels kept in each group that loses some.
        pictures: batches of what the raw network is called with, on its device; none for no
            reconstruction.

    Returns:
        The slim network; the largest difference that verification found; what the reconstruction
        did.

    Raises:
        PruningError: the removal is not verified.
    """
    model, graph, raw = network.model, network.graph, network.raw
    device = next(model.parameters()).device
    whole = copy_model(model).cpu() if device.type != "cpu" else model
    slim = remove_filters(whole, graph, kept)
    difference = verify_removal(raw(whole), raw(slim), graph, kept, network.example_inputs)
    slim.to(device)
    reconstruction = None
    if pictures:
        reconstruction = reconstruct(raw(model), raw(slim), graph, kept, pictures)
    return slim, difference, reconstruction


def _some_inputs(trainer: Trainer, model: nn.Module, pictures: int) -> list[ExampleInputs]:
    """Inputs of the raw network, of as many batches as hold that many pictures."""
    found: list[ExampleInputs] = []
    for each in trainer.inputs(model, pictures) or ():
        found.append(each)
        first = next(leaf for leaf in tree_leaves(each) if isinstance(leaf, Tensor))
        pictures -= len(first) if first.dim() else 1
        if pictures <= 0:
            break
    return found


def _passes(network: Network, model: nn.Module, trainer: Trainer, batches: int) -> Iterator[object]:
    """Run the raw part of a model on training batches, if there are any."""
    raw = network.raw(model)
    for inputs in trainer.inputs(model, batches) or ():
        args, kwargs = call_arguments(inputs)
        yield raw(*args, **kwargs)


def _measured_choice(
    network: Network, phase: Phase, choose: Callable[[RoundTo], Choice]
) -> tuple[Choice, MeasuredSteps]:
    """Measure the width step of each layer near the width it will have, and select with them."""
    if network.timed_input is None:
        raise PruningError("round_to auto needs a network of one input tensor; give a number")
    expected = {group: len(kept) for group, kept in choose(1).kept.items()}
    runtime = phase.method.selection.runtime
    found = measure_width_steps(
        network.raw(network.model), network.timed_input, network.graph, expected, runtime=runtime
    )
    choice, used = select_within_reach(choose, found.steps)
    return choice, MeasuredSteps(runtime, found, used)
