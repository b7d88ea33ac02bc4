"""What a network of the table NETWORKS has: options, an architecture, and how it is built."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

# Bounds of what a file's header may ask for: more than any network has, few enough for torch.
Width = Annotated[int, Field(ge=1, le=2**16)]
LARGEST_SIZE = 4096  # side of a square input, pixels
PositiveFloat = Annotated[float, Field(gt=0)]
ShareFloat = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]

# A share of the full number of filters, or filters by layer.
Widths = Annotated[float, Field(gt=0, le=4)] | dict[str, Count]

Task = Literal["detection", "classification"]


class Options(BaseModel):
    """What a recipe can say about a network; a subclass for each kind of network adds entries.

    A subclass narrows ``network`` to its names, and gives ``size`` a default or overrides
    ``input_size``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: str = Field(description="name of the network")
    size: Annotated[int, Field(ge=32, le=LARGEST_SIZE)] | None = Field(
        None, description="side of the input, pixels; null: the network's own"
    )
    batch_norm: bool = Field(False, description="batch norm after every convolution")

    @property
    def input_size(self) -> int:
        """Side of the input, pixels."""
        if self.size is None:
            raise ValueError(f"{self.network} has no default size; set size")
        return self.size


class Architecture(BaseModel):
    """The arguments that build a dense network: options with nothing left open, and the classes.

    Network files store them in the header; a slim network's shapes are those of its tensors.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    network: str = Field(description="name in NETWORKS")
    classes: tuple[str, ...] = Field(
        description="class names; a detector's without the background", min_length=1
    )
    size: int = Field(description="side of the square input, pixels", ge=1, le=LARGEST_SIZE)
    resize: bool = Field(
        True, description="true: pictures are resized to size x size; false: they keep their size"
    )
    batch_norm: bool = Field(False, description="batch norm after every convolution")
    mean: tuple[float, float, float] = Field(description="of the input's channels, 0 to 1")
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = Field(
        description="of the input's channels, 0 to 1"
    )

    @property
    def least_side(self) -> int:
        """Smallest side of an image that the network can read, pixels; 1 if it is resized."""
        return 1 if self.resize else self.size


def resolve_widths(
    widths: float | Mapping[str, int], full: Mapping[str, int], known: Collection[str]
) -> dict[str, int]:
    """Give the filters of each layer.

    Args:
        widths: a share of the full widths, or filters by layer; other layers have full width.
        full: full width of each layer.
        known: names that are allowed in ``widths``.

    Raises:
        ValueError: a layer is unknown.
    """
    if not isinstance(widths, Mapping):
        return {name: max(1, round(filters * widths)) for name, filters in full.items()}
    if unknown := sorted(set(widths) - set(known)):
        raise ValueError(f"no such layers: {', '.join(unknown)}; there are {', '.join(known)}")
    return {name: widths.get(name, filters) for name, filters in full.items()}


def weighted_layers(model: nn.Module) -> dict[str, str]:
    """Module path of each convolution and linear layer, by that path, in module order."""
    kinds = (nn.modules.conv._ConvNd, nn.Linear)
    return {path: path for path, module in model.named_modules() if isinstance(module, kinds)}


def hidden_layers(model: nn.Module) -> dict[str, str]:
    """Give the weighted layers but the last, which computes the outputs."""
    return dict(list(weighted_layers(model).items())[:-1])


def _last(model: nn.Module, architecture: Any) -> dict[str, str]:  # noqa: ARG001 # as the others
    return dict(list(weighted_layers(model).items())[-1:])


def _same(value: Any) -> Any:
    return value


def _unchanged(model: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:  # noqa: ARG001
    return state


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkBuilder:
    """How one kind of network is built and read: an entry of NETWORKS.

    Attributes:
        task: what the network does.
        options: type of its entries in a recipe.
        architecture: type of its arguments in a network file.
        resolve: gives the architecture for options, class names, and whether pictures are resized
            to the input's size; raises ValueError if they contradict each other.
        build: builds the dense network with fresh weights.
        modules: classes of the networks it builds, and of their raw parts.
        published: gives the architecture with all the filters that were published.
        raw: gives the part from image tensor to raw outputs, with the same parameters under the
            same names; pruning, counting and export see only this part.
        layers: module path of each layer that a phase can name, by its name, in running order.
        outputs: module path of each layer that computes the outputs, by its name; such layers keep
            all their filters.
        attached: by module path, the layer that a module's own parameters are counted with.
        rename: gives the tensors of another project's weights by the network's own names.
    """

    task: Task
    options: type[Options]
    architecture: type[Architecture]
    resolve: Callable[[Any, tuple[str, ...], bool], Architecture]
    build: Callable[[Any], nn.Module]
    modules: tuple[type[nn.Module], ...]
    published: Callable[[Any], Architecture] = _same
    raw: Callable[[nn.Module], nn.Module] = _same
    layers: Callable[[nn.Module], dict[str, str]] = hidden_layers
    outputs: Callable[[nn.Module, Any], dict[str, str]] = _last
    attached: Mapping[str, str] = field(default_factory=dict)
    rename: Callable[[nn.Module, Mapping[str, Tensor]], Mapping[str, Tensor]] = _unchanged
