"""The section ``compress``: the phases and their steps."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from secateur.config.section import Count, Positive, Section, Share
from secateur.config.train import Retrain, Training


class Sparsify(Training):
    """Step 1: training with a penalty that makes weights zero."""

    penalty: Literal["subgradient", "proximal", "norm_scale", "group_norm"] = Field(
        "proximal",
        description="L1 by its subgradient, as published, or by its proximal step (exact zeros); "
        "norm_scale: on the scales of batch norms; group_norm: Torch-Pruning's, on whole channels; "
        "each for the criterion of that name",
    )
    strength: Annotated[float, Field(ge=0)] = Field(
        1e-3, description="λ of the L1 penalty on the weights, in units of the loss"
    )
    group_strength: Annotated[float, Field(ge=0)] = Field(
        0.0, description="λ of the penalty on whole blocks F and G beside it; 0: none"
    )
    decay: Literal["cosine", "step", "constant"] = Field("constant", description="how lr falls")


class ThresholdSearch(Section):
    """Step 1, second half: the threshold."""

    max_drop: Annotated[float, Field(ge=0)] = Field(
        1.0, description="points of the metric the thresholded network may lose on validation"
    )
    resolution: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.01, description="how near the search comes, in shares of the phase's weights"
    )
    scope: Literal["global", "layer"] = Field(
        "global",
        description="one threshold for all of a phase's layers; or one in units of each layer's "
        "standard deviation, for comparison",
    )


class Select(Section):
    """Step 2: which filters go. Either the published levels, or a budget, or a largest drop."""

    s_F: Share | None = Field(None, description="sparsity level of F that is enough by itself")
    s_F_both: Share | None = Field(None, description="the paper's s'_F: enough beside s_G")
    s_G: Share | None = Field(None, description="sparsity level of G")
    keep_params: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="share of the dense network's parameters left after the last phase"
    )
    keep_macs: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="share of the dense network's MACs left after the last phase"
    )
    max_drop: Positive | None = Field(
        None, description="points of the metric the slim network may lose on validation"
    )
    attempts: Count = Field(4, description="sizes tried a phase to find the smallest, for max_drop")
    criterion: Literal[
        "sparsity",
        "sparsity_F",
        "sparsity_G",
        "l1",
        "l2",
        "geometric_median",
        "norm_scale",
        "taylor",
        "group_norm",
        "random",
    ] = Field(
        "sparsity",
        description="what a filter is worth, for a budget; all but sparsity are for comparison, "
        "and but for sparsity_F, sparsity_G, norm_scale and group_norm they sparsify nothing",
    )
    allocation: Literal["cost", "share", "importance"] | None = Field(
        None,
        description="how a budget is shared out: least loss a cost saved first; the same share of "
        "every layer; all layers at one importance; null: as is usual for the criterion",
    )
    balance: Annotated[float, Field(ge=0)] = Field(
        2.0,
        description="how much dearer filters become as their layer empties, for allocation cost; "
        "0: not at all, which empties costly layers; the higher, the more even the shares kept",
    )
    min_filters: Count = Field(4, description="filters kept in every layer")
    round_to: Count | Literal["auto"] = Field(
        1,
        description="what the filters kept in a layer that loses some are a multiple of; runtimes "
        "often compute in blocks of 8 or 16; auto: measured for each layer on this machine",
    )
    runtime: Literal["onnxruntime", "openvino", "torch"] = Field(
        "onnxruntime", description="what auto measures on"
    )

    @field_validator("round_to", mode="before")
    @classmethod
    def _is_a_step(cls, value: Any) -> Any:
        if value != "auto" and (not isinstance(value, int) or value < 1):
            raise ValueError("must be a whole number, 1 or more, or auto")
        return value

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        levels = [self.s_F, self.s_F_both, self.s_G]
        budget = self.keep_params is not None or self.keep_macs is not None
        ways = [any(v is not None for v in levels), budget, self.max_drop is not None]
        if sum(ways) != 1:
            raise ValueError(
                "say one of: s_F, s_F_both and s_G; keep_params and/or keep_macs; max_drop"
            )
        if ways[0] and None in levels:
            raise ValueError("s_F, s_F_both and s_G go together")
        if self.s_F is not None and self.s_F_both is not None and self.s_F_both > self.s_F:
            raise ValueError("s_F_both must not be above s_F")
        if ways[0] and (self.criterion != "sparsity" or self.allocation is not None):
            raise ValueError("a criterion or an allocation needs a budget or max_drop, not levels")
        if self.way_of_allocation != "cost" and self.round_to != 1:
            raise ValueError("round_to needs allocation: cost")
        return self

    @property
    def way_of_allocation(self) -> Literal["cost", "share", "importance"]:
        """The allocation, or the criterion's usual one."""
        if self.allocation is not None:
            return self.allocation
        if self.by_sparsity:
            return "cost"
        return "importance" if self.criterion in ("norm_scale", "taylor", "group_norm") else "share"

    @property
    def by_sparsity(self) -> bool:
        """Whether the criterion reads sparsity levels, and so needs a threshold."""
        return self.criterion in ("sparsity", "sparsity_F", "sparsity_G")

    @property
    def sparsifies(self) -> bool:
        """Whether the criterion has a use for the training with a penalty."""
        return self.by_sparsity or self.criterion in ("norm_scale", "group_norm")

    @property
    def least_round_to(self) -> int:
        """The width step that holds in any case: what auto will find is not known beforehand."""
        return 1 if self.round_to == "auto" else self.round_to


class Remove(Section):
    """Step 3: what is done about what a removal upsets."""

    fold_means: bool = Field(
        True, description="put what the removed filters gave on average into the next biases"
    )
    reestimate_norms: bool = Field(
        True, description="measure the batch norms' means and variances anew behind a removal"
    )
    batches: Count = Field(50, description="training batches that both look at")


class Phase(Section):
    """One pass of the four steps over a stretch of consecutive layers."""

    layers: str = Field(
        description="first and last layer, conv1_1-conv4_3; the last gives only its G blocks "
        "unless no layer that can lose filters comes behind it"
    )
    sparsify: dict[str, Any] = Field({}, description="entries that differ from compress.sparsify")
    retrain: dict[str, Any] = Field({}, description="entries that differ from compress.retrain")
    select: dict[str, Any] = Field({}, description="takes the place of compress.select, whole")


class Compress(Section):
    """The phases, and what their steps have in common."""

    phases: tuple[Phase, ...] = Field(min_length=1, description="in the order they run")
    sparsify: Sparsify
    threshold: ThresholdSearch = ThresholdSearch()
    select: Select
    remove: Remove = Remove()
    retrain: Retrain
