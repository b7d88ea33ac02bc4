"""The section ``data``: which pictures, and how training augments them."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    BaseModel,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from secateur.config.section import Section, Share
from secateur.data.formats.format import Task
from secateur.data.formats.table import FORMATS, format_names

Scheme = Annotated[
    str,
    WithJsonSchema(
        {"type": "string", "enum": [name for each in FORMATS.values() for name in each.schemes]}
    ),
]


class PictureData(Section):
    """What the sections of both tasks have in common."""

    task: ClassVar[Task]

    format: str
    root: Path = Field(
        description="the data folder; relative to the folder in which the command runs"
    )
    train: str = Field("train", description="name of the split to train on")
    test: str | None = Field(
        "test", description="name of the split that is evaluated once, at the end; null: none"
    )
    classes: tuple[str, ...] | str | None = None
    validation: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.15, description="share of the training pictures kept for validation"
    )

    @field_validator("format")
    @classmethod
    def _is_known(cls, name: str) -> str:
        names = format_names(cls.task if name in FORMATS else None)
        if name not in names:
            raise ValueError(f"must be {', '.join(names[:-1])} or {names[-1]}")
        return name

    @model_validator(mode="after")
    def _classes_fit(self) -> Self:
        schemes, classes = FORMATS[self.format].schemes, self.classes
        if isinstance(classes, str) != bool(schemes) and classes is not None:
            known = f"one of {', '.join(schemes)}" if schemes else "a list of names"
            raise ValueError(f"classes of {self.format} must be {known}")
        if isinstance(classes, str) and classes not in schemes:
            raise ValueError(f"classes of {self.format} must be one of {', '.join(schemes)}")
        if isinstance(classes, tuple) and len(set(classes)) < len(classes):
            raise ValueError("classes lists a class twice")
        return self


class Augmentation(Section):
    """How a detector's training pictures are augmented."""

    photometric: bool = Field(True, description="distort brightness, contrast, saturation and hue")
    expand: Annotated[float, Field(ge=1)] = Field(
        4.0,
        description="largest side of the canvas on which a picture is placed, multiples of the "
        "picture's side; 1: no canvas; not used at native resolution",
    )
    crop: bool = Field(
        True,
        description="SSD's crops with a minimum overlap with an object; at native resolution "
        "there are always crops of the model's size",
    )
    flip: bool = Field(
        True, description="mirror half of the pictures; false if left and right differ in meaning"
    )
    zoom: Annotated[float, Field(ge=1)] = Field(
        1.25,
        description="native resolution: largest factor by which a crop is enlarged or reduced; a "
        "picture smaller than size is enlarged to it",
    )


class DetectionData(PictureData):
    """Pictures with boxes around their objects, for a detector."""

    task = "detection"

    format: str = Field(
        description="layout of the folder; signs are drawn into it when first read",
        json_schema_extra={"enum": [*format_names("detection")]},
    )
    classes: tuple[str, ...] | Scheme | None = Field(
        None,
        union_mode="left_to_right",
        description="class names in the order of the outputs; null: those of the data, for voc the "
        "20 of Pascal VOC; for gtsdb 43, super (4 categories) or sign (1 class)",
    )
    resize: bool = Field(
        True,
        description="true: pictures are resized to the model's size; false: training takes crops "
        "of that size, and evaluation whole pictures, at native resolution",
    )
    augmentation: Augmentation = Augmentation()
    workers: Annotated[int, Field(ge=0)] = Field(
        2, description="processes that load pictures; fewer where shared memory is small"
    )


class ClassAugmentation(Section):
    """How a classifier's training pictures are augmented; each picture draws its own values."""

    flip: bool = Field(
        True, description="mirror half of the pictures; false if left and right differ in meaning"
    )
    shift: Share = Field(0.1, description="largest shift along each axis, share of the side")
    zoom: Annotated[float, Field(ge=1)] = Field(
        1.1, description="largest factor by which a picture is enlarged or reduced"
    )
    rotate: Annotated[float, Field(ge=0, le=180)] = Field(
        0.0, description="largest rotation in either direction, degrees"
    )
    light: Share = Field(0.2, description="largest relative change of brightness and of contrast")


class ClassificationData(PictureData):
    """Pictures of one object each, for a classifier; all are kept in memory as bytes.

    Similar frames of one scene in both training and validation inflate validation accuracy.
    """

    task = "classification"

    format: str = Field(
        description="layout of the folder; folders: SPLIT/CLASS/picture",
        json_schema_extra={"enum": [*format_names("classification")]},
    )
    classes: tuple[str, ...] | None = Field(
        None,
        description="all class names in the order of the outputs, digits in quotes; null: those of "
        "the data, sorted",
    )
    augmentation: ClassAugmentation = ClassAugmentation()


def _section_name(content: Any) -> str:
    """Choose the section by the format; ``DetectionData`` reports an unknown format."""
    if isinstance(content, BaseModel):
        return type(content).__name__
    name = content.get("format") if isinstance(content, dict) else None
    layout = FORMATS.get(name) if isinstance(name, str) else None
    classifies = layout is not None and layout.task == "classification"
    return (ClassificationData if classifies else DetectionData).__name__


Data = Annotated[
    Annotated[DetectionData, Tag("DetectionData")]
    | Annotated[ClassificationData, Tag("ClassificationData")],
    Discriminator(_section_name),
]
