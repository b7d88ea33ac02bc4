"""The section ``compress``: the phases and their steps.

Values and checks are the method's own (``pruning.settings``, ``pruning.selection.goal``); this is
how a recipe spells them.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from secateur.config.section import Count, Section
from secateur.config.train import Retrain, Training
from secateur.errors import PruningError
from secateur.pruning.criteria.table import CRITERIA, Allocation
from secateur.pruning.penalties.table import PENALTIES
from secateur.pruning.selection.by_budget import BALANCE
from secateur.pruning.selection.goal import Goal
from secateur.pruning.settings import (
    PenaltySettings,
    RemovalSettings,
    SelectionSettings,
    ThresholdSettings,
    check_goal,
)
from secateur.runtimes.table import RUNTIMES


def _one_of(names: Iterable[str]) -> AfterValidator:
    """Accept the names of a table, as it is when a recipe is read."""

    def check(name: str) -> str:
        if name not in names:
            raise ValueError(f"must be one of {', '.join(names)}")
        return name

    return AfterValidator(check)


def _listed(table: dict[str, Any]) -> str:
    return "; ".join(f"{name}: {entry.description}" for name, entry in table.items())


class Sparsify(Training):
    """Step 1: training with a penalty that makes weights zero."""

    penalty: Annotated[str, _one_of(PENALTIES)] = Field(
        "proximal", description=f"how weights are driven to zero. {_listed(PENALTIES)}"
    )
    strength: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        1e-3, description="λ of the penalty, in units of the loss"
    )
    group_strength: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        0.0, description="λ of the penalty on whole blocks F and G beside it; 0: none"
    )
    decay: Literal["cosine", "step", "constant"] = Field("constant", description="how lr falls")

    @property
    def settings(self) -> PenaltySettings:
        """The penalty."""
        return PenaltySettings(self.penalty, self.strength, self.group_strength)


class ThresholdSearch(Section):
    """Step 1, second half: the threshold."""

    max_drop: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        1.0, description="points of the metric that the threshold may cost on validation"
    )
    resolution: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.01, description="resolution of the search, as a share of the phase's weights"
    )
    scope: Literal["global", "layer"] = Field(
        "global",
        description="global: one threshold for all layers of a phase; layer: one in units of each "
        "layer's standard deviation, for comparison",
    )

    @property
    def settings(self) -> ThresholdSettings:
        """The search."""
        return ThresholdSettings(self.max_drop, self.resolution, self.scope)


class Select(Section):
    """Step 2: which filters are removed, by a budget, a maximum drop, or the published levels."""

    s_F: float | None = Field(None, description="sparsity level of F that is enough by itself, 0–1")
    s_F_both: float | None = Field(
        None, description="the paper's s'_F: level of F that is enough together with s_G, 0–1"
    )
    s_G: float | None = Field(None, description="sparsity level of G, 0–1")
    keep_params: float | None = Field(
        None, description="share of the dense network's parameters left after the last phase, 0–1"
    )
    keep_macs: float | None = Field(
        None, description="share of the dense network's MACs left after the last phase, 0–1"
    )
    max_drop: float | None = Field(
        None, description="points of the metric the slim network may lose on validation"
    )
    attempts: Count = Field(4, description="sizes tried in each phase for max_drop")
    criterion: Annotated[str, _one_of(CRITERIA)] = Field(
        "sparsity",
        description=f"what makes a filter important, for a budget. {_listed(CRITERIA)}",
    )
    allocation: Allocation | None = Field(
        None,
        description="how a budget is divided among layers. cost: least loss per cost saved first; "
        "share: the same share of every layer; importance: the least important filters of all "
        "layers; null: the criterion's default",
    )
    balance: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        BALANCE,
        description="exponent of the penalty on nearly empty layers, for allocation cost; 0 turns "
        "it off; the higher, the more equal the shares that layers keep",
    )
    min_filters: Count = Field(4, description="filters kept in every layer")
    round_to: Count | Literal["auto"] = Field(
        1,
        description="filters kept in a layer that loses some are a multiple of this; runtimes "
        "often compute in blocks of 8 or 16; auto: measured for each layer on this machine",
    )
    runtime: Annotated[str, _one_of(RUNTIMES)] = Field(
        "onnxruntime", description="runtime that auto measures on"
    )

    @field_validator("round_to", mode="before")
    @classmethod
    def _is_a_step(cls, value: Any) -> Any:
        if value != "auto" and (not isinstance(value, int) or value < 1):
            raise ValueError("must be a whole number, 1 or more, or auto")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        try:
            check_goal(self.goal, self.settings)
        except PruningError as error:
            raise ValueError(str(error)) from None
        return self

    @property
    def goal(self) -> Goal:
        """How far to go."""
        return Goal(
            keep_params=self.keep_params,
            keep_macs=self.keep_macs,
            max_drop=self.max_drop,
            s_F=self.s_F,
            s_F_both=self.s_F_both,
            s_G=self.s_G,
            attempts=self.attempts,
        )

    @property
    def settings(self) -> SelectionSettings:
        """How filters are selected."""
        return SelectionSettings(
            criterion=self.criterion,
            allocation=self.allocation,
            balance=self.balance,
            min_filters=self.min_filters,
            round_to=self.round_to,
            runtime=self.runtime,
        )


class Remove(Section):
    """Step 3: how the network is repaired after a removal, from training pictures."""

    reconstruct: bool = Field(
        True,
        description="solve the layers that read removed filters by least squares, so that they "
        "give what they gave before",
    )
    pictures: Count = Field(
        128, description="pictures that the reconstruction, and the criterion of that name, use"
    )
    fold_means: bool = Field(
        True,
        description="without reconstruct: add the mean contribution of removed filters to the next "
        "biases",
    )
    reestimate_norms: bool = Field(
        True,
        description="without reconstruct: re-estimate the batch norms' means and variances",
    )
    batches: Count = Field(50, description="training batches that the last two use")

    @property
    def settings(self) -> RemovalSettings:
        """How the network is repaired."""
        return RemovalSettings(
            self.reconstruct, self.pictures, self.fold_means, self.reestimate_norms, self.batches
        )


class Phase(Section):
    """One pass of the four steps over a stretch of consecutive layers."""

    layers: str = Field(
        description="first and last layer, such as conv1_1-conv4_3; the last provides only its G "
        "blocks unless no prunable layer follows it. Or paths and patterns of layers, such as "
        "features.*, separated by commas"
    )
    sparsify: dict[str, Any] = Field({}, description="entries that differ from compress.sparsify")
    retrain: dict[str, Any] = Field({}, description="entries that differ from compress.retrain")
    select: dict[str, Any] = Field({}, description="replaces the whole of compress.select")


class Compress(Section):
    """The phases, and what their steps have in common."""

    training: bool = Field(
        True,
        description="false: nothing is trained after the dense network; filters are removed by the "
        "criterion reconstruction, if select names no other, and the rest is reconstructed",
    )
    phases: tuple[Phase, ...] = Field(min_length=1, description="in the order they run")
    ignore: tuple[str, ...] = Field(
        (), description="layers that lose no filters in any phase: names, paths or patterns"
    )
    sparsify: Sparsify
    threshold: ThresholdSearch = ThresholdSearch()
    select: Select
    remove: Remove = Remove()
    retrain: Retrain

    @model_validator(mode="before")
    @classmethod
    def _without_training(cls, content: Any) -> Any:
        """Without training, its two sections may be left out, and another criterion is usual."""
        if not isinstance(content, dict) or content.get("training", True):
            return content
        unused = {"sparsify": {"steps": 1}, "retrain": {"steps": 1}}
        content = unused | content
        selects = [content, *(content["phases"] if isinstance(content.get("phases"), list) else [])]
        for section in selects:
            if isinstance(section, dict) and section.get("select"):
                section["select"] = {"criterion": "reconstruction", **section["select"]}
        return content
