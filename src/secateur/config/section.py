"""What all sections of a recipe have in common."""

from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Discriminator, Field

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A section of a recipe: every key is known, and its values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def values(section: type[Section], entry: str) -> tuple[str, ...]:
    """The words that an entry can be."""
    return get_args(section.model_fields[entry].annotation)


def kind_of(*sections: type[Section], entry: str) -> Discriminator:
    """Tell which section is meant by one entry, whose values no two sections share."""
    kinds = {value: section.__name__ for section in sections for value in values(section, entry)}
    names = list(kinds)

    def kind(section: Any) -> str | None:
        if isinstance(section, BaseModel):
            return type(section).__name__
        default = sections[0].model_fields[entry].default
        value = section.get(entry, default) if isinstance(section, dict) else None
        return kinds.get(value) if isinstance(value, str) else None

    return Discriminator(
        kind,
        custom_error_type="unknown_kind",
        custom_error_message=f"{entry} must be {', '.join(names[:-1])} or {names[-1]}",
    )
