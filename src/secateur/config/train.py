"""The section ``train``, and what every training has."""

from typing import Annotated, Literal

from pydantic import Field

from secateur.config.section import Count, Positive, Section, Share


class Training(Section):
    """One training: dense, sparsifying or retraining."""

    steps: Count = Field(description="optimiser steps")
    batch_size: Count = Field(32, description="pictures per step, over all processes")
    optimizer: Literal["sgd", "adamw"] = Field("sgd", description="sgd has a momentum of 0.9")
    lr: Positive = Field(1e-3, description="highest learning rate")
    weight_decay: Annotated[float, Field(ge=0)] = Field(
        5e-4, description="of weights, not of norms and biases"
    )
    warmup: Share = Field(0.05, description="share of the steps in which lr rises linearly")
    decay: Literal["cosine", "step", "constant"] = Field(
        "cosine",
        description="how lr falls: to zero; to a tenth at 2/3 and again at 5/6; not at all",
    )
    clip: Positive | None = Field(10.0, description="largest norm of the gradient; null: no limit")


class DenseTraining(Training):
    """The training of the dense network, before all phases."""

    steps: Annotated[int, Field(ge=0)] = Field(
        description="optimiser steps; 0: none, the dense network is model.weights as they are"
    )


class Retrain(Training):
    """Step 4: training without the penalty."""

    distill: Annotated[float, Field(ge=0)] = Field(
        0.0,
        description="weight of the dense network's predictions besides the labels; 0: labels only",
    )
