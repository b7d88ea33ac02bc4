"""The section ``data``: which pictures, and how training augments them."""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)

from secateur.config.section import Section, Share
from secateur.data.formats.format import Task
from secateur.data.formats.table import FORMATS, format_names


def _check_format(name: str, task: Task) -> str:
    names = format_names(task if name in FORMATS else None)
    if name not in names:
        raise ValueError(f"must be {', '.join(names[:-1])} or {names[-1]}")
    return name


def _json_schema(task: Task) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "enum": list(format_names(task))})


DetectionFormat = Annotated[
    str, AfterValidator(lambda name: _check_format(name, "detection")), _json_schema("detection")
]
ClassificationFormat = Annotated[
    str,
    AfterValidator(lambda name: _check_format(name, "classification")),
    _json_schema("classification"),
]
Validation = Annotated[
    float, Field(gt=0, lt=1, description="share of the training pictures kept for validation")
]


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


class DetectionData(Section):
    """Pictures with boxes around their objects, for a detector."""

    format: DetectionFormat = Field(
        description="layout of the folder; signs are drawn into it when first read"
    )
    root: Path = Field(
        description="the data folder; relative to the folder in which the command runs"
    )
    train: str = Field("train", description="name of the split to train on")
    test: str | None = Field(
        "test", description="name of the split that is evaluated once, at the end; null: none"
    )
    classes: tuple[str, ...] | str | None = Field(
        None,
        union_mode="left_to_right",
        description="class names in the order of the outputs; null: those of the data, for voc the "
        "20 of Pascal VOC; for gtsdb 43, super (4 categories) or sign (1 class)",
    )
    validation: Validation = 0.15
    resize: bool = Field(
        True,
        description="true: pictures are resized to the model's size; false: training takes crops "
        "of that size, and evaluation whole pictures, at native resolution",
    )
    augmentation: Augmentation = Augmentation()
    workers: Annotated[int, Field(ge=0)] = Field(2, description="processes that load pictures")

    @model_validator(mode="after")
    def _classes_fit(self) -> Self:
        schemes = FORMATS[self.format].schemes
        if isinstance(self.classes, str):
            if self.classes not in schemes:
                known = f"one of {', '.join(schemes)}" if schemes else "a list of names"
                raise ValueError(f"classes of {self.format} must be {known}")
        elif self.classes is not None:
            if schemes:
                raise ValueError(f"classes of {self.format} must be one of {', '.join(schemes)}")
            if len(set(self.classes)) < len(self.classes):
                raise ValueError("classes names a class twice")
        return self


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


class ClassificationData(Section):
    """Pictures of one object each, for a classifier; all are kept in memory as bytes.

    Similar frames of one scene in both training and validation inflate validation accuracy.
    """

    format: ClassificationFormat = Field(
        description="layout of the folder; folders: SPLIT/CLASS/picture"
    )
    root: Path = Field(
        description="the data folder; relative to the folder in which the command runs"
    )
    train: str = Field("train", description="name of the split to train on")
    test: str | None = Field(
        "test", description="name of the split that is evaluated once, at the end; null: none"
    )
    classes: tuple[str, ...] | None = Field(
        None,
        description="all class names in the order of the outputs, digits in quotes; null: those of "
        "the data, sorted",
    )
    validation: Validation = 0.15
    augmentation: ClassAugmentation = ClassAugmentation()


SECTIONS: dict[Task, type[Section]] = {
    "detection": DetectionData,
    "classification": ClassificationData,
}


def _section_name(content: Any) -> str:
    """Choose the section by the format; ``DetectionData`` reports an unknown format."""
    if isinstance(content, BaseModel):
        return type(content).__name__
    name = content.get("format") if isinstance(content, dict) else None
    layout = FORMATS.get(name) if isinstance(name, str) else None
    return SECTIONS[layout.task if layout is not None else "detection"].__name__


Data = Annotated[
    Annotated[DetectionData, Tag("DetectionData")]
    | Annotated[ClassificationData, Tag("ClassificationData")],
    Discriminator(_section_name),
]
