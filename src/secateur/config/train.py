"""The section ``train``, and what every training has."""

from typing import Annotated, Literal

from pydantic import Field

from secateur.config.section import Count, Positive, Section, Share


class Training(Section):
    """One training: dense, sparsifying or retraining."""

    steps: Count = Field(description="optimizer steps")
    batch_size: Count = Field(32, description="pictures per step, over all processes")
    optimizer: Literal["sgd", "adamw"] = Field("sgd", description="sgd has a momentum of 0.9")
    lr: Positive = Field(1e-3, description="highest learning rate")
    weight_decay: Annotated[float, Field(ge=0)] = Field(
        5e-4, description="applied to weights, not to norms and biases"
    )
    warmup: Share = Field(0.05, description="share of the steps in which lr rises linearly")
    decay: Literal["cosine", "step", "constant"] = Field(
        "cosine",
        description="how lr falls: to zero; to a tenth at 2/3 and again at 5/6; not at all",
    )
    clip: Positive | None = Field(
        10.0, description="maximum norm of the gradient; null: no clipping"
    )


class DenseTraining(Training):
    """The training of the dense network, before all phases."""

    steps: Annotated[int, Field(ge=0)] = Field(
        description="optimizer steps; 0: none, model.weights are the dense network"
    )


class Retrain(Training):
    """Step 4: training without the penalty."""

    distill: Annotated[float, Field(ge=0)] = Field(
        0.0,
        description="weight of the loss against the dense network's predictions; 0: labels only",
    )
