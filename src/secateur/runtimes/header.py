"""The header of an exported file: what a program must know to run it without its recipe."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from secateur.models.architecture import Architecture
from secateur.models.table import NETWORKS

Precision = Literal["fp32", "fp16", "int8"]
Outputs = Literal["objects", "scores", "raw"]

# The key of the header in an exported file's metadata.
KEY = "secateur"
# Names, inside a file that decodes boxes, of the tensors that the detector's heads compute.
RAW_OUTPUTS = ("logits", "offsets")


class ExportHeader(BaseModel):
    """JSON in the metadata of every exported file, under the key ``secateur``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Literal["detector", "classifier"] = Field(description="what the network does")
    outputs: Outputs = Field(
        description="objects: boxes, labels and scores after NMS; scores: one per class; raw: the "
        "network's own outputs"
    )
    classes: tuple[str, ...] = Field(
        description="names; a detector's label k is the k-th name, a classifier's column k the "
        "k+1-th"
    )
    size: int = Field(description="nominal side of the input, pixels", ge=1)
    resize: bool = Field(
        description="true: pictures are resized to size x size; false: they keep their size"
    )
    least_side: int = Field(
        1, description="smallest side of a picture that is not resized, pixels", ge=1
    )
    shape: tuple[int, int] | None = Field(
        None, description="height and width of every picture, pixels; null: any"
    )
    batch: int | None = Field(None, description="pictures per batch; null: any number")
    precision: Precision = Field("fp32", description="precision of the arithmetic")
    macs: int | None = Field(
        None, description="multiply-adds for one picture of the nominal size", ge=0
    )
    provenance: dict[str, Any] = Field(
        {}, description="the run, the network and its metric; score and NMS settings in the file"
    )

    @classmethod
    def of(cls, architecture: Architecture, provenance: Mapping[str, Any]) -> Self:
        """Describe a network by its architecture."""
        detector = NETWORKS[architecture.network].task == "detection"
        return cls(
            task="detector" if detector else "classifier",
            outputs="objects" if detector else "scores",
            classes=architecture.classes,
            size=architecture.size,
            resize=architecture.resize,
            least_side=architecture.least_side,
            provenance=dict(provenance),
        )

    @classmethod
    def parse(cls, text: str | None) -> Self | None:
        """Read the header from a file's metadata; None if it is not one of ours."""
        try:
            return cls.model_validate_json(text) if text else None
        except ValidationError:
            return None
