"""VGG16 classifiers (Simonyan and Zisserman, ICLR 2015), from torchvision's parts, at any widths.

With full widths, two hidden layers of 4096 and a pooled map of 7 × 7, the state dict is that of
``torchvision.models.vgg16`` or ``vgg16_bn``, key for key. One hidden layer of 512 and a pooled map
of 1 × 1 are usual for CIFAR-10.
"""

from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import nn
from torchvision.models.vgg import VGG, make_layers

from secateur.models.architecture import (
    LARGEST_SIZE,
    Architecture,
    Count,
    NetworkBuilder,
    Options,
    PositiveFloat,
    ShareFloat,
    Width,
    Widths,
    resolve_widths,
)

# Filters of each convolution at full width (paper, Table 1, column D).
CONVOLUTIONS: dict[str, int] = {
    **dict.fromkeys(["conv1_1", "conv1_2"], 64),
    **dict.fromkeys(["conv2_1", "conv2_2"], 128),
    **dict.fromkeys(["conv3_1", "conv3_2", "conv3_3"], 256),
    **dict.fromkeys(["conv4_1", "conv4_2", "conv4_3"], 512),
    **dict.fromkeys(["conv5_1", "conv5_2", "conv5_3"], 512),
}
# Names of the hidden linear layers.
HIDDEN = ("fc6", "fc7")
# Five poolings halve the input; a smaller one leaves no cell.
LEAST_SIZE = 32
# For the published ImageNet weights.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class VGGOptions(Options):
    """A VGG16 classifier."""

    network: Literal["vgg16"] = Field("vgg16", description="13 convolutions and linear layers")
    size: Annotated[int, Field(ge=LEAST_SIZE, le=LARGEST_SIZE)] = Field(
        224, description="side that every picture is resized to, pixels"
    )
    batch_norm: bool = Field(True, description="batch norm after every convolution")
    widths: Widths = Field(
        1.0, description="share of the full number of filters, or filters by layer"
    )
    hidden: Annotated[tuple[Count, ...], Field(max_length=2)] = Field(
        (4096, 4096),
        description="outputs of the linear layers fc6 and fc7 before the last, at widths 1; "
        "[512] on CIFAR-10",
    )
    pool: Count = Field(
        7, description="side of the map that the linear layers read, cells; 1 on CIFAR-10"
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.5, description="share of the linear layers' outputs that training drops"
    )
    mean: tuple[ShareFloat, ShareFloat, ShareFloat] = Field(
        IMAGENET_MEAN, description="mean of the input's channels, 0 to 1"
    )
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = Field(
        IMAGENET_STD, description="standard deviation of the input's channels, 0 to 1"
    )


class VGGArchitecture(Architecture):
    """The arguments that build a VGG16."""

    network: Literal["vgg16"] = Field(description="which layers there are")
    batch_norm: bool = Field(description="batch norm after every convolution")
    widths: dict[str, Width] = Field(
        description="filters of each convolution and outputs of each hidden linear layer"
    )
    pool: int = Field(
        description="side of the average-pooled map that the linear layers read, cells",
        ge=1,
        le=128,
    )
    dropout: float = Field(description="share of a hidden layer's outputs", ge=0, le=1)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        forms = [(*CONVOLUTIONS, *HIDDEN[:hidden]) for hidden in range(len(HIDDEN) + 1)]
        if tuple(self.widths) not in forms:
            raise ValueError(
                f"widths must name exactly these layers, in order: {', '.join(CONVOLUTIONS)}, "
                f"then none, the first or both of {', '.join(HIDDEN)}"
            )
        if not self.resize:
            raise ValueError("a VGG16 needs pictures of one size; resize them")
        if self.size < LEAST_SIZE:
            raise ValueError(
                f"size {self.size} is too small for five poolings; it must be {LEAST_SIZE} or more"
            )
        return self


def vgg_architecture(classes: tuple[str, ...], **options: Any) -> VGGArchitecture:
    """Give the architecture of a VGG16.

    Args:
        classes: names.
        options: as in ``VGGOptions``, which has the defaults.

    Raises:
        ValueError: the entries contradict each other.
    """
    return resolve(VGGOptions.model_validate(options), classes)


def resolve(options: VGGOptions, classes: tuple[str, ...], resize: bool = True) -> VGGArchitecture:
    """Give the architecture for a recipe's options.

    Raises:
        ValueError: as for ``vgg_architecture``, or pictures are not resized.
    """
    full = CONVOLUTIONS | dict(zip(HIDDEN, options.hidden, strict=False))
    return VGGArchitecture(
        network=options.network,
        classes=classes,
        size=options.size,
        resize=resize,
        batch_norm=options.batch_norm,
        widths=resolve_widths(options.widths, full, full),
        pool=options.pool,
        dropout=options.dropout,
        mean=options.mean,
        std=options.std,
    )


def build_vgg(architecture: VGGArchitecture) -> VGG:
    """Build a torchvision VGG with fresh weights, initialised as torchvision's."""
    widths, pool = architecture.widths, architecture.pool
    # torchvision always builds a classifier of 123 million weights, which take no memory on meta.
    with torch.device("meta"):
        vgg = VGG(nn.Identity(), init_weights=False)
    plan: list[str | int] = []
    for name, after in zip(CONVOLUTIONS, [*CONVOLUTIONS, ""][1:], strict=True):
        plan.append(widths[name])
        if after[:5] != name[:5]:
            plan.append("M")
    vgg.features = make_layers(plan, batch_norm=architecture.batch_norm)
    vgg.avgpool = nn.AdaptiveAvgPool2d((pool, pool))
    inputs = widths["conv5_3"] * pool * pool
    linear: list[nn.Module] = []
    for name in HIDDEN:
        if name in widths:
            outputs = widths[name]
            linear += [nn.Linear(inputs, outputs), nn.ReLU(True), nn.Dropout(architecture.dropout)]
            inputs = outputs
    vgg.classifier = nn.Sequential(*linear, nn.Linear(inputs, len(architecture.classes)))
    for layer in vgg.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0, 0.01)
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type] # every one here has a bias
    return vgg


def layers(vgg: nn.Module) -> dict[str, str]:
    """Module path of each layer except the last, by its name, in running order."""
    convolutions = _paths(vgg, "features", nn.Conv2d)
    hidden = _paths(vgg, "classifier", nn.Linear)[:-1]
    return dict(zip(CONVOLUTIONS, convolutions, strict=True)) | dict(
        zip(HIDDEN, hidden, strict=False)
    )


def _paths(vgg: nn.Module, part: str, kind: type[nn.Module]) -> list[str]:
    return [
        path
        for path, layer in vgg.named_modules()
        if path.startswith(f"{part}.") and isinstance(layer, kind)
    ]


def _published(architecture: VGGArchitecture) -> VGGArchitecture:
    kept = architecture.model_dump(exclude={"network", "classes", "widths", "resize"})
    # As published for a map of 7 × 7; for a single cell, as is usual on CIFAR-10.
    outputs = 512 if architecture.pool == 1 else 4096
    hidden = (outputs,) * sum(name in HIDDEN for name in architecture.widths)
    return vgg_architecture(architecture.classes, hidden=hidden, **kept)


def _outputs(vgg: nn.Module, architecture: VGGArchitecture) -> dict[str, str]:  # noqa: ARG001
    return {"class": _paths(vgg, "classifier", nn.Linear)[-1]}


BUILDER = NetworkBuilder(
    task="classification",
    options=VGGOptions,
    architecture=VGGArchitecture,
    resolve=resolve,
    build=build_vgg,
    modules=(VGG,),
    published=_published,
    layers=layers,
    outputs=_outputs,
)
