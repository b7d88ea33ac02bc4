"""The section ``data``: which pictures, and how they vary in training."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, Tag, model_validator

from secateur.config.section import Section, Share, kind_of


class Augmentation(Section):
    """How a detector's training pictures are varied."""

    photometric: bool = Field(True, description="distort light, contrast, saturation and hue")
    expand: Annotated[float, Field(ge=1)] = Field(
        4.0,
        description="largest canvas a picture is laid on, in its own sides; 1: never; not at "
        "native resolution",
    )
    crop: bool = Field(
        True,
        description="SSD's crops with some least overlap with the objects; at native resolution "
        "there are always crops, of the model's size",
    )
    flip: bool = Field(True, description="mirror half; false where left and right differ")
    zoom: Annotated[float, Field(ge=1)] = Field(
        1.25,
        description="native resolution: largest factor a crop is enlarged or reduced by; a picture "
        "smaller than size is enlarged to it",
    )


class DetectionData(Section):
    """Pictures with boxes around their objects, for a detector."""

    format: Literal["voc", "coco", "yolo", "gtsdb", "signs"] = Field(
        description="layout of the folder; signs is drawn, and needs none"
    )
    root: Path = Field(description="the folder; relative to where the command runs")
    train: str = Field("train", description="name of the split to learn from")
    test: str | None = Field(
        "test", description="name of the split that is read once, at the end; null: none"
    )
    classes: tuple[str, ...] | Literal["43", "super", "sign"] | None = Field(
        None,
        description="names, in the order of the outputs; null: those of the data, for voc the 20 "
        "of Pascal VOC; for gtsdb 43, super (4 categories) or sign (1)",
    )
    validation: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.15, description="share of the training pictures that is kept for validation"
    )
    resize: bool = Field(
        True,
        description="true: pictures are resized to the model's size; false: training takes crops "
        "of that size, and evaluation whole pictures, at native resolution",
    )
    augmentation: Augmentation = Augmentation()
    workers: Annotated[int, Field(ge=0)] = Field(2, description="processes that load pictures")

    @model_validator(mode="after")
    def _classes_fit(self) -> Self:
        if isinstance(self.classes, str) != (self.format == "gtsdb" and self.classes is not None):
            raise ValueError("classes is 43, super or sign for gtsdb, and a list for the others")
        if isinstance(self.classes, tuple) and len(set(self.classes)) < len(self.classes):
            raise ValueError("classes names a class twice")
        return self


class ClassAugmentation(Section):
    """How a classifier's training pictures are varied, each by chances of its own."""

    flip: bool = Field(True, description="mirror half; false where left and right differ")
    shift: Share = Field(0.1, description="largest move along each axis, in sides of the picture")
    zoom: Annotated[float, Field(ge=1)] = Field(
        1.1, description="largest factor a picture is enlarged or reduced by"
    )
    rotate: Annotated[float, Field(ge=0, le=180)] = Field(
        0.0, description="largest turn either way, degrees"
    )
    light: Share = Field(0.2, description="largest relative change of brightness and of contrast")


class ClassificationData(Section):
    """Pictures of one object each, for a classifier; all are held in memory as bytes.

    Frames of one scene that are parted between training and validation flatter the latter.
    """

    format: Literal["folders", "cifar10", "gtsrb"] = Field(
        description="folders: SPLIT/CLASS/picture; the others are data sets in their own layouts"
    )
    root: Path = Field(description="the folder; relative to where the command runs")
    train: str = Field("train", description="name of the split to learn from")
    test: str | None = Field(
        "test", description="name of the split that is read once, at the end; null: none"
    )
    classes: tuple[str, ...] | None = Field(
        None, description="all names, in the order of the outputs; digits in quotes; null: sorted"
    )
    validation: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.15, description="share of the training pictures that is kept for validation"
    )
    augmentation: ClassAugmentation = ClassAugmentation()


Data = Annotated[
    Annotated[DetectionData, Tag("DetectionData")]
    | Annotated[ClassificationData, Tag("ClassificationData")],
    kind_of(DetectionData, ClassificationData, entry="format"),
]
