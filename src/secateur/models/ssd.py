"""SSD on VGG16, built from torchvision's parts, at any widths.

With full widths and six detection layers ``ssd300`` has the state dict of
``torchvision.models.detection.ssd300_vgg16``, key for key. ``ssd512`` follows the layout of the
original Caffe model (Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016, page 11).
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD, SSDHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform

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

# Filters of each layer at full width (paper, Table 1).
FULL_WIDTHS: dict[str, int] = {
    **dict.fromkeys(["conv1_1", "conv1_2"], 64),
    **dict.fromkeys(["conv2_1", "conv2_2"], 128),
    **dict.fromkeys(["conv3_1", "conv3_2", "conv3_3"], 256),
    **dict.fromkeys(["conv4_1", "conv4_2", "conv4_3"], 512),
    **dict.fromkeys(["conv5_1", "conv5_2", "conv5_3"], 512),
    **dict.fromkeys(["conv6", "conv7"], 1024),
    **{"conv8_1": 256, "conv8_2": 512},
    **{"conv9_1": 128, "conv9_2": 256},
    **{"conv10_1": 128, "conv10_2": 256},
    **{"conv11_1": 128, "conv11_2": 256},
    **{"conv12_1": 128, "conv12_2": 256},
}

# The layer that each detection layer reads, and its default boxes as shares of the input's size.
DETECTION_LAYERS: dict[str, tuple[str, ...]] = {
    "ssd300": ("conv4_3", "conv7", "conv8_2", "conv9_2", "conv10_2", "conv11_2"),
    "ssd512": ("conv4_3", "conv7", "conv8_2", "conv9_2", "conv10_2", "conv11_2", "conv12_2"),
}
SCALES: dict[str, tuple[float, ...]] = {
    "ssd300": (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05),
    "ssd512": (0.07, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 1.05),
}
ASPECT_RATIOS: dict[str, tuple[tuple[int, ...], ...]] = {
    "ssd300": ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,)),
    "ssd512": ((2,), (2, 3), (2, 3), (2, 3), (2, 3), (2,), (2,)),
}
# For the published VGG16 weights, whose input is 0–255 minus the mean.
VGG_MEAN = (0.48235, 0.45882, 0.40784)
VGG_STD = (1 / 255, 1 / 255, 1 / 255)

Ratio = Annotated[int, Field(ge=1, le=2**10)]


class SSDOptions(Options):
    """An SSD detector on VGG16."""

    network: Literal["ssd300", "ssd512"] = Field("ssd300", description="extra layers after VGG16")
    size: Annotated[int, Field(ge=32, le=LARGEST_SIZE)] | None = Field(
        None, description="side of the input, pixels; null: the network's own, 300 or 512"
    )
    batch_norm: bool = Field(
        False, description="batch norm after every convolution of the backbone"
    )
    widths: Widths = Field(
        1.0, description="share of the full number of filters, or filters by layer"
    )
    detection_layers: Count | None = Field(
        None, description="number of detection layers kept, from the first; null: all"
    )
    scales: tuple[PositiveFloat, ...] | None = Field(
        None,
        description="default box size of each detection layer and one more, as shares of size; "
        "null: SSD's own",
    )
    aspect_ratios: tuple[tuple[int, ...], ...] | None = Field(
        None,
        description="aspect ratios of the default boxes of each detection layer, besides 1; null: "
        "SSD's own",
    )
    mean: tuple[ShareFloat, ShareFloat, ShareFloat] | None = Field(
        None,
        description="mean of the input's channels, 0 to 1; null: 0.48235, 0.45882, 0.40784, that "
        "of torchvision's SSD300_VGG16_Weights and VGG16_Weights.IMAGENET1K_FEATURES; its other "
        "weights need 0.485, 0.456, 0.406",
    )
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = Field(
        None,
        description="standard deviation of the input's channels, 0 to 1; null: 1/255 each; "
        "torchvision's other weights need 0.229, 0.224, 0.225",
    )

    @property
    def input_size(self) -> int:
        """Side of the input, pixels."""
        return self.size or int(self.network.removeprefix("ssd"))


class SSDArchitecture(Architecture):
    """The arguments that build an SSD."""

    network: Literal["ssd300", "ssd512"] = Field(description="which extra layers follow VGG16")
    resize: bool = Field(
        description="true: pictures are resized to size x size; false: pictures and default boxes "
        "keep their size"
    )
    batch_norm: bool = Field(description="batch norm after every convolution of the backbone")
    detection_layers: int = Field(description="how many of the first are kept", ge=1)
    widths: dict[str, Width] = Field(description="filters of each layer")
    scales: tuple[PositiveFloat, ...] = Field(
        description="default box size of each detection layer and one more, as shares of size"
    )
    aspect_ratios: tuple[Annotated[tuple[Ratio, ...], Field(max_length=100)], ...] = Field(
        description="of each detection layer, besides 1"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        k = self.detection_layers
        if (names := layer_names(self.network, k)) != tuple(self.widths):
            raise ValueError(f"widths must name exactly these layers, in order: {', '.join(names)}")
        if len(self.scales) != k + 1 or len(self.aspect_ratios) != k:
            raise ValueError(f"{k} detection layers need {k + 1} scales and {k} aspect_ratios")
        if self.size < (least := least_side(self.network, k)):
            raise ValueError(
                f"size {self.size} is too small for {k} detection layers; use at least {least}, or "
                "fewer layers in model.detection_layers"
            )
        return self

    @property
    def least_side(self) -> int:
        """Smallest side of an image that the network can read, pixels; 1 if it is resized."""
        return 1 if self.resize else least_side(self.network, self.detection_layers)


def ssd_architecture(
    network: str, classes: tuple[str, ...], *, resize: bool = True, **options: Any
) -> SSDArchitecture:
    """Give the architecture of an SSD.

    Args:
        network: ``ssd300`` or ``ssd512``.
        classes: names, without the background.
        resize: whether pictures are resized to the input's size.
        options: as in ``SSDOptions``, which has the defaults.

    Raises:
        ValueError: the entries contradict each other.
    """
    return resolve(SSDOptions.model_validate({"network": network, **options}), classes, resize)


def resolve(options: SSDOptions, classes: tuple[str, ...], resize: bool) -> SSDArchitecture:
    """Give the architecture for a recipe's options; arguments as for ``ssd_architecture``."""
    network = options.network
    k = options.detection_layers or len(DETECTION_LAYERS[network])
    full = {name: FULL_WIDTHS[name] for name in layer_names(network, k)}
    # Names of layers that this number of detection layers leaves out are allowed.
    known = layer_names(network, len(DETECTION_LAYERS[network]))
    return SSDArchitecture(
        network=network,
        classes=classes,
        size=options.input_size,
        resize=resize,
        batch_norm=options.batch_norm,
        detection_layers=k,
        widths=resolve_widths(options.widths, full, known),
        scales=SCALES[network][: k + 1] if options.scales is None else options.scales,
        aspect_ratios=(
            ASPECT_RATIOS[network][:k] if options.aspect_ratios is None else options.aspect_ratios
        ),
        mean=options.mean or VGG_MEAN,
        std=options.std or VGG_STD,
    )


def layer_names(network: str, detection_layers: int) -> tuple[str, ...]:
    """The convolutions up to the last kept detection layer, by the paper's names, in order.

    Raises:
        ValueError: the network has fewer detection layers.
    """
    if not 1 <= detection_layers <= len(DETECTION_LAYERS[network]):
        most = len(DETECTION_LAYERS[network])
        raise ValueError(f"{network} has {most} detection layers, not {detection_layers}")
    names = tuple(FULL_WIDTHS)
    return names[: names.index(DETECTION_LAYERS[network][detection_layers - 1]) + 1]


def grid_sizes(network: str, size: int) -> list[int]:
    """Cells along a side of each detection layer's map, for a square input."""
    grids = [-(-(size // 4) // 2)]  # the third pooling rounds up, the first two down
    grids.append(grids[-1] // 2)
    for k in range(2, len(DETECTION_LAYERS[network])):
        if network == "ssd300" and k >= 4:
            grids.append(grids[-1] - 2)  # 3×3 without padding
        elif k == 6:
            grids.append(grids[-1] - 1)  # 4×4 with a padding of 1
        else:
            grids.append(-(-grids[-1] // 2))
    return grids


def least_side(network: str, detection_layers: int) -> int:
    """Smallest side of an image that leaves each detection layer at least one cell, pixels."""
    sides = range(1, 1024)
    return next(s for s in sides if min(grid_sizes(network, s)[:detection_layers]) >= 1)


def build_ssd(architecture: SSDArchitecture) -> SSD:
    """Build a torchvision SSD with fresh weights.

    The convolutions of the VGG part are initialised as in torchvision's VGG, the extra ones by
    Xavier's method, and the heads with small weights.
    """
    k = architecture.detection_layers
    grids = grid_sizes(architecture.network, architecture.size)[:k]
    steps = [
        2 ** (i + 3) if i < 4 or architecture.network == "ssd512" else architecture.size / grids[i]
        for i in range(k)
    ]
    boxes = PixelDefaultBoxes(
        architecture.size,
        [list(ratios) for ratios in architecture.aspect_ratios],
        scales=list(architecture.scales),
        steps=steps,
        # Only pictures that are resized have the nominal size, to which boxes can be clipped.
        clip=architecture.resize,
    )
    readers = DETECTION_LAYERS[architecture.network][:k]
    num_classes = len(architecture.classes) + 1
    mean, std = list(architecture.mean), list(architecture.std)
    ssd = SSD(
        VGGFeatures(architecture),
        boxes,
        (architecture.size, architecture.size),
        num_classes,
        image_mean=mean,
        image_std=std,
        head=SSDHead(
            [architecture.widths[name] for name in readers],
            boxes.num_anchors_per_location(),
            num_classes,
        ),
    )
    if not architecture.resize:
        side = architecture.size
        ssd.transform = NativeTransform(
            side, side, mean, std, size_divisible=1, fixed_size=(side, side)
        )
    # With small weights in the heads, a network without trained weights learns several times
    # faster than with torchvision's Xavier initialisation, whose first outputs are large.
    for layer in ssd.head.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.01)
    return ssd


class NativeTransform(GeneralizedRCNNTransform):  # type: ignore[misc] # no types, as above
    """Normalises pictures and does not resize them."""

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None) -> Any:
        """Return the image and its boxes unchanged."""
        return image, target


class PixelDefaultBoxes(DefaultBoxGenerator):  # type: ignore[misc] # torchvision ships no types
    """Default boxes whose size in pixels does not depend on the image's shape.

    Their sizes are shares of a nominal size. For a square image of that size they equal
    torchvision's; for any other image a box keeps its size and shape in pixels, so that a network
    trained on crops works on whole pictures.
    """

    def __init__(
        self,
        size: int,
        aspect_ratios: list[list[int]],
        scales: list[float],
        steps: list[float],
        clip: bool,
    ) -> None:
        super().__init__(aspect_ratios, scales=scales, steps=steps, clip=clip)
        self.size = size

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """Compute the boxes of each image, (boxes, 4) each, ``x1, y1, x2, y2`` in pixels."""
        nominal = image_list.tensors.new_empty((1, 1, self.size, self.size))
        return cast(
            list[Tensor], super().forward(ImageList(nominal, image_list.image_sizes), feature_maps)
        )


class VGGFeatures(nn.Module):
    """VGG16 with SSD's extra layers, at any widths; one feature map for each detection layer.

    Attributes are named as in ``torchvision.models.detection.ssd.SSDFeatureExtractorVGG``.
    """

    def __init__(self, architecture: SSDArchitecture) -> None:
        super().__init__()
        widths, norm = architecture.widths, architecture.batch_norm
        names = list(widths)
        conv4_3 = names.index("conv4_3") + 1
        self.features = nn.Sequential(*_vgg_layers(names[:conv4_3], widths, 3, norm))
        self.scale_weight = nn.Parameter(torch.full((widths["conv4_3"],), 20.0))
        self.extra = nn.ModuleList()
        for start, reader in zip(
            DETECTION_LAYERS[architecture.network],
            DETECTION_LAYERS[architecture.network][1 : architecture.detection_layers],
            strict=False,
        ):
            block = names[names.index(start) + 1 : names.index(reader) + 1]
            if reader == "conv7":
                layers = [
                    nn.MaxPool2d(2, 2),
                    *_vgg_layers(block[:3], widths, widths[start], norm),
                    nn.Sequential(
                        nn.MaxPool2d(3, 1, padding=1),
                        *_convolution(widths["conv5_3"], widths["conv6"], norm, 3, 1, 6, 6),
                        *_convolution(widths["conv6"], widths["conv7"], norm, 1),
                    ),
                ]
            else:
                first, second = (widths[name] for name in block)
                shape = _extra_shape(architecture.network, reader)
                layers = [
                    *_convolution(widths[start], first, norm, 1),
                    *_convolution(first, second, norm, *shape),
                ]
            self.extra.append(nn.Sequential(*layers))
        for layer in self.features.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(_bias(layer))
        for layer in self.extra.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(_bias(layer))

    def forward(self, x: Tensor) -> "OrderedDict[str, Tensor]":
        """Map pictures (N, 3, H, W) to one map (N, C, H', W') for each detection layer."""
        x = self.features(x)
        # In single precision, because squares overflow in half precision.
        unit = nn.functional.normalize(x.float()).to(x.dtype)
        maps = [self.scale_weight.view(1, -1, 1, 1) * unit]
        for block in self.extra:
            x = block(x)
            maps.append(x)
        return OrderedDict((str(i), x) for i, x in enumerate(maps))


class RawSSD(nn.Module):
    """The network of an SSD without decoding and NMS, with the same weights under the same names.

    Pruning, counting and export see this part; matching, loss, decoding and NMS are outside it.
    """

    def __init__(self, ssd: SSD) -> None:
        super().__init__()
        self.backbone = ssd.backbone
        self.head = ssd.head

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map normalised pictures (N, 3, H, W) to logits (N, B, K) and offsets (N, B, 4)."""
        outputs: dict[str, Tensor] = self.head(list(self.backbone(x).values()))
        return outputs


def convolutions(ssd: nn.Module) -> dict[str, str]:
    """Module path of each convolution of the backbone, by the paper's name, in running order."""
    paths = [
        name
        for name, layer in ssd.named_modules()
        if name.startswith("backbone.") and isinstance(layer, nn.Conv2d)
    ]
    return dict(zip(FULL_WIDTHS, paths, strict=False))


def heads(architecture: SSDArchitecture) -> dict[str, str]:
    """Module path of each convolution of the heads: ``conv4_3 class`` classifies on conv4_3."""
    readers = DETECTION_LAYERS[architecture.network][: architecture.detection_layers]
    return {
        f"{reader} {what}": f"head.{head}_head.module_list.{number}"
        for number, reader in enumerate(readers)
        for head, what in (("classification", "class"), ("regression", "box"))
    }


def rename_vgg(ssd: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Rename the features of torchvision's ``vgg16(_bn)`` to those of an SSD's backbone."""
    if not any(name.startswith("features.") for name in state):
        return state
    batch_norm = any(isinstance(module, nn.BatchNorm2d) for module in ssd.modules())
    conv5 = 33 if batch_norm else 23  # the fourth pooling, where SSD's first extra block begins
    renamed = {}
    for key, value in state.items():
        part, _, rest = key.partition(".")
        index, _, name = rest.partition(".")
        if part == "features" and index.isdecimal():
            i = int(index)
            path = f"features.{i}" if i < conv5 else f"extra.0.{i - conv5}"
            renamed[f"backbone.{path}.{name}"] = value
    return renamed


def _vgg_layers(
    names: list[str], widths: Mapping[str, int], channels: int, norm: bool
) -> Iterator[nn.Module]:
    """Yield 3×3 convolutions, with a pooling layer between blocks."""
    for before, name in zip([None, *names], names, strict=False):
        if before is not None and before[:5] != name[:5]:
            # The third pooling rounds up, as torchvision's does: 75 cells become 38.
            yield nn.MaxPool2d(2, 2, ceil_mode=name.startswith("conv4"))
        yield from _convolution(channels, widths[name], norm, 3, padding=1)
        channels = widths[name]


def _convolution(
    channels: int,
    filters: int,
    norm: bool,
    kernel: int,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
) -> Iterator[nn.Module]:
    yield nn.Conv2d(channels, filters, kernel, stride, padding, dilation)
    if norm:
        yield nn.BatchNorm2d(filters)
    yield nn.ReLU(inplace=True)


def _extra_shape(network: str, name: str) -> tuple[int, int, int]:
    """Kernel, stride and padding of the second convolution of an extra block."""
    if name == "conv12_2":
        return 4, 1, 1
    if network == "ssd300" and name in ("conv10_2", "conv11_2"):
        return 3, 1, 0
    return 3, 2, 1


def _bias(layer: nn.Conv2d) -> Tensor:
    bias = layer.bias
    assert bias is not None  # noqa: S101 # every convolution here has one
    return bias


def _published(architecture: SSDArchitecture) -> SSDArchitecture:
    kept = architecture.model_dump(exclude={"network", "classes", "widths"})
    return ssd_architecture(architecture.network, architecture.classes, **kept)


BUILDER = NetworkBuilder(
    task="detection",
    options=SSDOptions,
    architecture=SSDArchitecture,
    resolve=resolve,
    build=build_ssd,
    modules=(SSD, RawSSD),
    published=_published,
    raw=lambda model: model if isinstance(model, RawSSD) else RawSSD(model),
    layers=convolutions,
    outputs=lambda _, architecture: heads(architecture),
    rename=rename_vgg,
    attached={"backbone": "conv4_3"},  # scale_weight scales the map of conv4_3
)
