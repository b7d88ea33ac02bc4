"""What a network file of any format says of itself, so that it can be run without its recipe."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from secateur.models.network import Architecture
from secateur.models.ssd import SSDArchitecture, least_side

Precision = Literal["fp32", "fp16", "int8"]
Outputs = Literal["objects", "scores", "raw"]

# Under which an exported file's metadata hold it.
KEY = "secateur"


class Description(BaseModel):
    """Stands as JSON in the metadata of every exported file, under ``secateur``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Literal["detector", "classifier"] = Field(description="what the network does")
    outputs: Outputs = Field(
        description="objects: boxes, labels and scores behind NMS; scores: of each class; raw: "
        "what the network itself gives"
    )
    classes: tuple[str, ...] = Field(
        description="names; a detector's label k is the k-th, a classifier's column k the k+1-th"
    )
    size: int = Field(description="nominal side of the input, pixels", ge=1)
    resize: bool = Field(
        description="true: pictures are resized to size x size; false: they enter as they are"
    )
    least_side: int = Field(1, description="of a picture that is not resized, pixels", ge=1)
    shape: tuple[int, int] | None = Field(
        None, description="height and width of every picture, pixels; null: any"
    )
    batch: int | None = Field(None, description="pictures at once; null: any number")
    precision: Precision = Field("fp32", description="of the arithmetic")
    macs: int | None = Field(
        None, description="multiply-adds for one picture of the nominal size", ge=0
    )
    provenance: dict[str, Any] = Field({}, description="the run, the network, its metric")

    @classmethod
    def of(cls, architecture: Architecture, **more: Any) -> Self:
        """Describe a network of ours; ``more`` is what its architecture does not tell."""
        known: dict[str, Any] = {"classes": architecture.classes, "size": architecture.size}
        if isinstance(architecture, SSDArchitecture):
            known |= {"task": "detector", "outputs": "objects", "resize": architecture.resize}
            if not architecture.resize:
                least = least_side(architecture.network, architecture.detection_layers)
                known["least_side"] = least
        else:
            known |= {"task": "classifier", "outputs": "scores", "resize": True}
        return cls(**(known | more))

    @classmethod
    def parse(cls, text: str | None) -> Self | None:
        """Read what stands in a file's metadata; None where it is not ours."""
        try:
            return cls.model_validate_json(text) if text else None
        except ValidationError:
            return None
