"""The method of a compression: the settings of each step of a phase."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from secateur.errors import PruningError, WrongValueError
from secateur.files.arguments import check_fields
from secateur.pruning.criteria.table import CRITERIA, Allocation, Criterion
from secateur.pruning.penalties.table import check_penalty
from secateur.pruning.selection.by_budget import BALANCE
from secateur.pruning.selection.goal import Goal
from secateur.pruning.selection.match import Layers
from secateur.pruning.selection.rounding import RoundTo


@dataclass(frozen=True, slots=True)
class PenaltySettings:
    """Step 1: the penalty.

    Attributes:
        kind: a name of ``PENALTIES``.
        strength: λ, in units of the loss; by default such that each phase's penalty starts as 0.1,
            for losses of about 1. Tune it first: a third where the sparsified network is much
            worse, three times where few weights become zero.
        group_strength: λ of the penalty on whole blocks beside it; 0: none.
    """

    kind: str = "proximal"
    strength: float | None = None
    group_strength: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        check_penalty(self.kind, self.strength, self.group_strength)


@dataclass(frozen=True, slots=True)
class ThresholdSettings:
    """Step 1, second half: the search for the threshold.

    Attributes:
        max_drop: what the threshold may cost, in the metric's unit; by default a hundredth of the
            sparsified network's metric, which retraining recovers easily.
        resolution: how fine the search is, as a share of the phase's weights.
        scope: ``global``, one threshold for all layers; or ``layer``, one in units of each layer's
            standard deviation, for comparison.
    """

    max_drop: float | None = None
    resolution: float = 0.01
    scope: Literal["global", "layer"] = "global"

    def __post_init__(self) -> None:
        check_fields(self)
        if self.max_drop is not None and not 0 <= self.max_drop < math.inf:
            raise WrongValueError(f"max_drop of the threshold is {self.max_drop}; give 0 or more")
        if not 0 < self.resolution < 1:
            raise WrongValueError(f"resolution is {self.resolution}; give a share between 0 and 1")


@dataclass(frozen=True, slots=True)
class SelectionSettings:
    """Step 2: how filters are selected.

    Attributes:
        criterion: a name of ``CRITERIA``.
        allocation: how a budget is divided among layers: ``cost``, least loss per cost saved first;
            ``share``, the same share of every layer; ``importance``, the least important of all
            layers first; None for the criterion's own.
        balance: exponent of the penalty on nearly empty layers, for ``cost``; 0 turns it off.
        min_filters: kept in every layer; below four, a layer passes on hardly anything.
        round_to: what the number of filters kept in a layer that loses some is a multiple of: one
            number, numbers by group, or ``auto``, measured for each layer on ``runtime``.
        runtime: a name of ``RUNTIMES``.
    """

    criterion: str = "sparsity"
    allocation: Allocation | None = None
    balance: float = BALANCE
    min_filters: int = 4
    round_to: RoundTo | Literal["auto"] = 1
    runtime: str = "onnxruntime"

    def __post_init__(self) -> None:
        check_fields(self)
        if self.criterion not in CRITERIA:
            raise WrongValueError(
                f"there is no criterion {self.criterion!r}; take {', '.join(CRITERIA)}"
            )
        if self.min_filters < 1:
            raise WrongValueError(
                f"min_filters is {self.min_filters}; give a whole number, 1 or more"
            )
        if not 0 <= self.balance < math.inf:
            raise WrongValueError(f"balance is {self.balance}; give 0 or more")
        if self.divides_by != "cost" and self.round_to != 1:
            raise WrongValueError("round_to needs allocation: cost")

    @property
    def ranks_by(self) -> Criterion:
        """The criterion itself."""
        return CRITERIA[self.criterion]

    @property
    def divides_by(self) -> Allocation:
        """The allocation, or the criterion's own."""
        return self.allocation or self.ranks_by.allocation

    @property
    def known_round_to(self) -> RoundTo:
        """The rounding that is certain in advance: what ``auto`` will measure is not."""
        return self.round_to if isinstance(self.round_to, int | Mapping) else 1


@dataclass(frozen=True, slots=True)
class RemovalSettings:
    """Step 3: how the network is repaired after a removal, from training pictures without labels.

    Attributes:
        reconstruct: solve the layers that read removed channels by least squares.
        pictures: how many the reconstruction, and the criterion of that name, look at.
        fold_means: without ``reconstruct``, add the mean contribution of removed channels to the
            biases of their readers.
        reestimate_norms: without ``reconstruct``, re-estimate the running statistics of batch
            norms.
        batches: how many the last two look at.
    """

    reconstruct: bool = True
    pictures: int = 256
    fold_means: bool = True
    reestimate_norms: bool = True
    batches: int = 50

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("pictures", "batches"):
            if getattr(self, name) < 1:
                raise WrongValueError(
                    f"{name} is {getattr(self, name)}; give a whole number, 1 or more"
                )

    @property
    def needs_batches(self) -> bool:
        """Whether anything is repaired."""
        return self.reconstruct or self.fold_means or self.reestimate_norms


@dataclass(frozen=True, slots=True)
class Method:
    """How a network is compressed; the defaults suit most.

    Attributes:
        penalty: step 1, the training with a penalty.
        threshold: step 1, second half.
        selection: step 2.
        removal: step 3.
        distill: step 4, weight of the dense network's predictions in retraining; 0: labels alone.
        training: False leaves out all training: the criterion must not need zeros, and the network
            is as good as the reconstruction makes it.
        phases: for each, the layers that lose filters in it, as paths or patterns (``layer1.*``);
            None for one phase of all layers.
        ignore: layers that lose none in any phase.
    """

    penalty: PenaltySettings = PenaltySettings()
    threshold: ThresholdSettings = ThresholdSettings()
    selection: SelectionSettings = SelectionSettings()
    removal: RemovalSettings = RemovalSettings()
    distill: float = 0.0
    training: bool = True
    phases: Sequence[str | Sequence[str]] | None = None
    ignore: Layers = None

    def __post_init__(self) -> None:
        check_fields(self)
        wanted = self.selection.ranks_by.penalty
        kind = self.penalty.kind
        if self.selection.ranks_by.sparsifies:
            owners = {c.penalty for c in CRITERIA.values() if c.penalty is not None}
            if (wanted or kind) != kind or (kind in owners and wanted is None):
                raise WrongValueError(
                    f"the penalty {wanted or kind} and the criterion of that name go together"
                )
        if not 0 <= self.distill < math.inf:
            raise WrongValueError(f"distill is {self.distill}; give a weight, 0 or more")
        check_training(self.selection, training=self.training)


def check_training(selection: SelectionSettings, *, training: bool) -> None:
    """Check that a criterion can do without training, where there is none.

    Raises:
        PruningError: it reads the zeros that a training with a penalty makes.
    """
    if not training and selection.ranks_by.sparsifies:
        others = [name for name, each in CRITERIA.items() if not each.sparsifies]
        raise PruningError(
            f"the criterion {selection.criterion} needs training; without training, use one of "
            f"{', '.join(others)}"
        )


def check_goal(goal: Goal, selection: SelectionSettings) -> None:
    """Check that a goal and the selection fit together.

    Raises:
        PruningError: the published levels are combined with another criterion or an allocation.
    """
    if goal.levels is not None and (selection.criterion != "sparsity" or selection.allocation):
        raise PruningError("a criterion or an allocation needs a budget or max_drop, not levels")
