"""What the steps of a run wrote down, as the report reads it.

A run folder may come from anywhere, so every entry is checked before it is used.
"""

import json
import re
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    RootModel,
    ValidationError,
    model_validator,
)

from secateur.errors import RunError

Share = Annotated[float, Field(ge=0, le=1)]
# More than any network has, and few enough digits to reckon with.
Count = Annotated[int, Field(ge=0, lt=2**63)]
Positive = Annotated[int, Field(gt=0, lt=2**63)]


class Artifact(BaseModel):
    """Entries that the report uses; others are left alone."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class Trained(Artifact):
    """A training: ``loss`` is averaged over equal spans of its steps."""

    metric: float
    loss: list[float]
    zeros: Share | None = None


class Thresholded(Artifact):
    """A search for the threshold; a trial is threshold, share of zeros, and metric.

    ``pictures`` is how many of validation each was asked about; None in older runs: all.
    """

    threshold: float
    zeros: Share
    metric: float
    status: str
    trace: list[tuple[float, Share, float]]
    pictures: list[int] | None = None

    @model_validator(mode="after")
    def _one_for_each_trial(self) -> Self:
        if self.pictures is not None and len(self.pictures) != len(self.trace):
            raise ValueError("pictures has one number for each trial")
        return self


class Selected(Artifact):
    """One group's filters: which are kept, and the sparsity level of every F and G."""

    kept: list[int]
    F: list[Share]
    G: list[Share]

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        if len(self.F) != len(self.G):
            raise ValueError("F and G have one level for each filter")
        return self


class Removed(Artifact):
    """A removal: what it took, and how far slim and masked outputs lie apart."""

    metric: float
    slim_minus_masked: float
    removed: Count
    params: Positive
    macs: Positive
    selection: dict[str, Selected]


class Evaluated(Artifact):
    """A network's size, and its accuracy; the metrics are extra entries, in percent."""

    model_config = ConfigDict(extra="allow")

    params: Positive
    macs: Positive
    bytes: Positive

    @property
    def metrics(self) -> dict[str, float]:
        """Accuracy by the name of the metric; what has no value is left out."""
        extra = self.model_extra or {}
        # NaN is no number between two, and a whole number may have any length.
        return {
            name: float(value)
            for name, value in extra.items()
            if isinstance(value, float | int) and -1e6 < value < 1e6
        }


class Curve(Artifact):
    """Precision over recall of one class."""

    recall: list[Share]
    precision: list[Share]

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        if len(self.recall) != len(self.precision):
            raise ValueError("a curve has a precision for each recall")
        return self


class ByClass(Artifact):
    """Accuracy by class: curves of a detector, or who was taken for whom by a classifier."""

    by_class: dict[str, dict[str, float | None]]
    curves: dict[str, Curve] | None = None
    confusion: list[list[Count]] | None = None

    @model_validator(mode="after")
    def _square(self) -> Self:
        sides = {len(self.by_class), *map(len, self.confusion or ())}
        if self.confusion is not None and sides != {len(self.confusion)}:
            raise ValueError("the confusion matrix has a row and a column for each class")
        return self


def _plain_name(name: str) -> str:
    if not re.fullmatch(r"\w[\w.-]{0,99}", name, re.ASCII):
        raise ValueError("is not the plain name of a file beside it")
    return name


def _encodable(content: JsonValue) -> JsonValue:
    json.dumps(content, ensure_ascii=False).encode()
    return content


FileName = Annotated[str, AfterValidator(_plain_name)]
Box = tuple[float, float, float, float]


class Truth(Artifact):
    """An object that a picture shows."""

    class_name: str = Field(alias="class")
    box: Box
    difficult: bool = False


class Found(Artifact):
    """An object that a network found, and whether it is there."""

    class_name: str = Field(alias="class")
    box: Box
    score: Share
    outcome: Literal["hit", "false", "ignored"]


class DetectorPicture(Artifact):
    """A test picture with what both networks found in it; boxes in its own pixels."""

    kind: Literal["worst", "lost", "best", "typical"]
    file: FileName
    name: str
    width: Positive
    height: Positive
    truth: list[Truth]
    dense: list[Found]
    slim: list[Found]


class Answer(Artifact):
    """What a classifier took a picture for."""

    class_name: str = Field(alias="class")
    score: Share


class ClassifierPicture(Artifact):
    """A test picture that the slim network took for another."""

    file: FileName
    truth: str
    dense: Answer
    slim: Answer


class DetectorExamples(Artifact):
    """Test pictures that show how the slim network does."""

    kind: Literal["detector"]
    least_score: Share
    pictures: list[DetectorPicture]


class ClassifierExamples(Artifact):
    """The slim network's surest mistakes."""

    kind: Literal["classifier"]
    pictures: list[ClassifierPicture]


class Examples(
    RootModel[Annotated[DetectorExamples | ClassifierExamples, Field(discriminator="kind")]]
):
    """What the step of examples found."""


class Summary(Artifact):
    """A finished run."""

    split: str
    dense: Evaluated
    slim: Evaluated
    provenance: dict[str, JsonValue]
    seconds: dict[FileName, float]
    recipe: dict[str, JsonValue]


class Trail(Artifact):
    """The steps that a run's last execution came by, in their order."""

    steps: list[FileName]


class Middle(Artifact):
    """Milliseconds."""

    median: float = Field(gt=0)


class Measurement(Artifact):
    """One network's speed on one runtime."""

    model: str
    runtime: str
    precision: str
    batch: int
    compiled: bool = False
    macs: int | None = None
    network: Middle | None
    whole: Middle | None

    @property
    def role(self) -> str:
        """What its file is called without endings: ``dense`` or ``slim`` of a run."""
        return Path(self.model).name.partition(".")[0]


class MadeBy(Artifact):
    """Where something was measured."""

    machine: dict[str, JsonValue] = {}


class Latency(Artifact):
    """What ``secateur benchmark`` wrote."""

    measurements: list[Measurement]
    threads: int
    pictures: str = ""
    made_by: MadeBy = MadeBy()


class Step(Artifact):
    """What any step wrote."""

    seconds: float
    result: dict[str, JsonValue]


Content = TypeVar("Content", bound=BaseModel)


RUN_CURE = "delete the file and give the run's command again"


def read_artifact(path: Path, kind: type[Content], cure: str = RUN_CURE) -> Content:
    """Read a JSON file that a run wrote.

    Args:
        path: of the file.
        kind: what it should hold.
        cure: what to do where it does not.

    Raises:
        RunError: it cannot be read, or is not what it should be.
    """
    try:
        content = _encodable(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path}: cannot be read ({error}); {cure}") from None
    return checked(path, content, kind, cure)


def checked(path: Path, content: JsonValue, kind: type[Content], cure: str = RUN_CURE) -> Content:
    """See that what a file holds is as a run writes it.

    Raises:
        RunError: it is not.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        wrong = f"{where}: {first['msg']}" if where else "holds no object"
        raise RunError(f"{path}: {wrong}; {cure}") from None
