"""The section ``model``: which network, and what it starts from."""

from typing import Annotated, Literal

from pydantic import Field, Tag

from secateur.config.section import Count, Positive, Section, Share, kind_of


class SSDModel(Section):
    """An SSD detector."""

    network: Literal["ssd300", "ssd512"] = Field("ssd300", description="extra layers behind VGG16")
    size: Annotated[int, Field(ge=32)] | None = Field(
        None, description="side of the input, pixels; null: the network's own, 300 or 512"
    )
    widths: Annotated[float, Field(gt=0, le=4)] | dict[str, Count] = Field(
        1.0, description="share of the full number of filters, or filters by layer"
    )
    batch_norm: bool = Field(
        False, description="batch norm behind every convolution of the backbone"
    )
    detection_layers: Count | None = Field(
        None, description="keep only the first k and drop every layer behind; null: all"
    )
    scales: tuple[Positive, ...] | None = Field(
        None,
        description="default box size of each detection layer and one more, shares of size; null: "
        "SSD's own",
    )
    aspect_ratios: tuple[tuple[int, ...], ...] | None = Field(
        None,
        description="of the default boxes of each detection layer, beside 1; null: SSD's own",
    )
    mean: tuple[Share, Share, Share] | None = Field(
        None,
        description="of the input's channels, 0 to 1; null: 0.48235, 0.45882, 0.40784, that of "
        "torchvision's SSD300_VGG16_Weights and VGG16_Weights.IMAGENET1K_FEATURES; for its other "
        "weights give 0.485, 0.456, 0.406",
    )
    std: tuple[Positive, Positive, Positive] | None = Field(
        None, description="likewise; null: 1/255 each; for other weights 0.229, 0.224, 0.225"
    )
    weights: str | None = Field(
        None,
        description="start from a .safetensors or .pth file, or torchvision:NAME of its weights; "
        "null: from scratch",
    )

    @property
    def input_size(self) -> int:
        """Side of the input, pixels."""
        return self.size or int(self.network.removeprefix("ssd"))


class VGGModel(Section):
    """A VGG16 classifier."""

    network: Literal["vgg16"] = Field("vgg16", description="13 convolutions and linear layers")
    size: Annotated[int, Field(ge=32)] = Field(
        224, description="side every picture is resized to, pixels"
    )
    widths: Annotated[float, Field(gt=0, le=4)] | dict[str, Count] = Field(
        1.0, description="share of the full number of filters, or filters by layer"
    )
    batch_norm: bool = Field(True, description="batch norm behind every convolution")
    hidden: Annotated[tuple[Count, ...], Field(max_length=2)] = Field(
        (4096, 4096),
        description="outputs of the linear layers fc6 and fc7 before the last, at widths 1; "
        "[512] on CIFAR-10",
    )
    pool: Count = Field(
        7, description="side of the map that the linear layers read; 1 on CIFAR-10, cells"
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.5, description="share of the linear layers' outputs that training leaves out"
    )
    mean: tuple[Share, Share, Share] = Field(
        (0.485, 0.456, 0.406), description="of the input's channels, 0 to 1"
    )
    std: tuple[Positive, Positive, Positive] = Field((0.229, 0.224, 0.225), description="likewise")
    weights: str | None = Field(
        None,
        description="start from a .safetensors or .pth file, or torchvision:NAME of its weights; "
        "null: from scratch",
    )

    @property
    def input_size(self) -> int:
        """Side of the input, pixels."""
        return self.size


Model = Annotated[
    Annotated[SSDModel, Tag("SSDModel")] | Annotated[VGGModel, Tag("VGGModel")],
    kind_of(SSDModel, VGGModel, entry="network"),
]
