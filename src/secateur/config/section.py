"""What all sections of a recipe have in common."""

import difflib
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


# Type of the error of an unknown entry.
UNKNOWN_ENTRY = "unknown_entry"


class Section(BaseModel):
    """A section of a recipe: every key is known, and its values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _entries_are_known(cls, content: Any) -> Any:
        """Refuse an unknown entry, and name the nearest known one."""
        unknown = (
            [key for key in content if key not in cls.model_fields] if type(content) is dict else []
        )
        if unknown:
            entry = str(unknown[0])
            near = difflib.get_close_matches(entry, list(cls.model_fields), 1, 0)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise PydanticCustomError(
                UNKNOWN_ENTRY, "unknown entry {entry}{hint}", {"entry": entry, "hint": hint}
            )
        return content
