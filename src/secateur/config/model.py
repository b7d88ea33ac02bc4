"""The section ``model``: which network, and its initial weights.

Its entries come from the table NETWORKS: those of the network's options, and ``weights``.
"""

from functools import cache
from typing import Annotated, Any, cast

from pydantic import BeforeValidator, Field, SerializeAsAny, create_model
from pydantic_core import PydanticCustomError

from secateur.config.section import Section
from secateur.models.architecture import Options
from secateur.models.table import NETWORKS


class ModelSection(Options, Section):
    """The entries that every network has."""

    weights: str | None = Field(
        None,
        description="initial weights: a .safetensors or .pth file, or torchvision:NAME; null: "
        "random",
    )


def default_network() -> str:
    """Name the network of a recipe that names none."""
    return next(iter(NETWORKS))


def model_sections() -> list[type[ModelSection]]:
    """List the section's types, one for each kind of network."""
    return [_section(kind) for kind in dict.fromkeys(each.options for each in NETWORKS.values())]


@cache
def _section(options: type[Options]) -> type[ModelSection]:
    name, bases = options.__name__.replace("Options", "Model"), cast(Any, (options, ModelSection))
    return cast(type[ModelSection], create_model(name, __base__=bases, __doc__=options.__doc__))


def _choose(content: Any) -> Any:
    """Validate the section by the type of the network that it names."""
    if isinstance(content, ModelSection):
        return content
    if not isinstance(content, dict):
        raise PydanticCustomError("no_section", "must be a mapping with the entry network")
    network = content.get("network", default_network())
    if not isinstance(network, str) or network not in NETWORKS:
        *names, last = NETWORKS
        raise PydanticCustomError(
            "unknown_network", f"network must be {', '.join(names)} or {last}"
        )
    return _section(NETWORKS[network].options).model_validate(content)


Model = Annotated[SerializeAsAny[ModelSection], BeforeValidator(_choose)]
