"""VGG16 classifiers (Simonyan and Zisserman, ICLR 2015), from torchvision's parts, at any widths.

At full widths, with two hidden layers of 4096 and a pooled map of 7 × 7, the state dict is that of
``torchvision.models.vgg16`` or ``vgg16_bn``, key for key. With one hidden layer of 512 and a
pooled map of 1 × 1 it is the form that is usual for CIFAR-10.
"""

from collections.abc import Mapping
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import nn
from torchvision.models.vgg import VGG, make_layers

from secateur.models.architecture import Architecture, NetworkBuilder, Width

# Filters of each convolution at full width (paper, Table 1, column D).
CONVOLUTIONS: dict[str, int] = {
    **dict.fromkeys(["conv1_1", "conv1_2"], 64),
    **dict.fromkeys(["conv2_1", "conv2_2"], 128),
    **dict.fromkeys(["conv3_1", "conv3_2", "conv3_3"], 256),
    **dict.fromkeys(["conv4_1", "conv4_2", "conv4_3"], 512),
    **dict.fromkeys(["conv5_1", "conv5_2", "conv5_3"], 512),
}
# The hidden linear layers, by the names they have where the convolutions end at conv5.
HIDDEN = ("fc6", "fc7")
# Five poolings halve the input; a smaller one would leave no cell.
LEAST_SIZE = 32
# Of the published ImageNet weights.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


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
        if self.size < LEAST_SIZE:
            raise ValueError(
                f"size {self.size} is too small for five poolings; it must be {LEAST_SIZE} or more"
            )
        return self


def vgg_architecture(
    classes: tuple[str, ...],
    *,
    size: int = 224,
    batch_norm: bool = True,
    widths: float | Mapping[str, int] = 1.0,
    hidden: tuple[int, ...] = (4096, 4096),
    pool: int = 7,
    dropout: float = 0.5,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
) -> VGGArchitecture:
    """Fill in what the name VGG16 implies.

    Args:
        classes: names.
        size: side of the square input, pixels.
        batch_norm: whether one follows every convolution.
        widths: a share of the full widths, or those of some layers by name (others full).
        hidden: full widths of the hidden linear layers: none, one or two.
        pool: side of the averaged map that the linear layers read, cells.
        dropout: share of a hidden layer's outputs.
        mean: of the input's channels, 0–1.
        std: of the input's channels, 0–1.

    Raises:
        ValueError: the entries do not fit together.
    """
    if len(hidden) > len(HIDDEN):
        raise ValueError(f"a VGG16 has at most {len(HIDDEN)} hidden layers, not {len(hidden)}")
    full = CONVOLUTIONS | dict(zip(HIDDEN, hidden, strict=False))
    if isinstance(widths, Mapping):
        if unknown := set(widths) - set(full):
            raise ValueError(f"no such layers: {', '.join(sorted(unknown))}")
        filled = {name: widths.get(name, outputs) for name, outputs in full.items()}
    else:
        filled = {name: max(1, round(outputs * widths)) for name, outputs in full.items()}
    return VGGArchitecture(
        network="vgg16",
        classes=classes,
        size=size,
        batch_norm=batch_norm,
        widths=filled,
        pool=pool,
        dropout=dropout,
        mean=mean,
        std=std,
    )


def build_vgg(architecture: VGGArchitecture) -> VGG:
    """Build a torchvision VGG with fresh weights, which start as torchvision's do."""
    widths, pool = architecture.widths, architecture.pool
    # torchvision always makes a classifier of 123 million weights; on meta they cost nothing.
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
    """Module path of each layer by its name, in order; the last one, of the classes, left out."""
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
    kept = architecture.model_dump(exclude={"network", "classes", "widths"})
    # As published for a map of 7 × 7; for a single cell, as is usual on CIFAR-10.
    outputs = 512 if architecture.pool == 1 else 4096
    hidden = (outputs,) * sum(name in HIDDEN for name in architecture.widths)
    return vgg_architecture(architecture.classes, hidden=hidden, **kept)


def _outputs(vgg: nn.Module, architecture: VGGArchitecture) -> dict[str, str]:  # noqa: ARG001
    return {"class": _paths(vgg, "classifier", nn.Linear)[-1]}


BUILDER = NetworkBuilder(
    task="classification",
    architecture=VGGArchitecture,
    build=build_vgg,
    modules=(VGG,),
    published=_published,
    layers=layers,
    outputs=_outputs,
)
