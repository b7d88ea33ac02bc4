"""What the stages of a run record: written by the run, read by the report.

A run folder may come from anyone, so every record is validated when it is read.
"""

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)

from secateur.errors import RunError
from secateur.files.atomic_write import write_json

Share = Annotated[float, Field(ge=0, le=1)]
# More than any network has, and few enough digits to compute with.
Count = Annotated[int, Field(ge=0, lt=2**63)]
Positive = Annotated[int, Field(gt=0, lt=2**63)]
# In percent; null where a split has nothing to measure on.
Metric = Annotated[float, Field(gt=-1e6, lt=1e6)] | None


def _plain_name(name: str) -> str:
    if not re.fullmatch(r"\w[\w.-]{0,99}", name, re.ASCII):
        raise ValueError("is not the plain name of a file beside it")
    return name


def _nan_as_none(metrics: Any) -> Any:
    """JSON has no NaN, which is what a metric is on a split without objects."""
    if not isinstance(metrics, dict):
        return metrics
    return {name: None if value != value else value for name, value in metrics.items()}  # noqa: PLR0124


FileName = Annotated[str, AfterValidator(_plain_name)]
# By the name of the metric, which says its protocol.
Metrics = Annotated[dict[str, Metric], BeforeValidator(_nan_as_none)]


class Record(BaseModel):
    """An immutable record; unknown entries are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class VersionedRecord(Record):
    """A record with the version of its format; ``read_record`` refuses every other version."""

    version: Literal[2] = 2


class TrainingRecord(Record):
    """A training: dense, sparsifying or retraining."""

    kind: Literal["dense", "sparsify", "retrain"]
    phase: Count | None = Field(None, description="number of the phase, from 1; null: dense")
    attempt: Count | None = Field(None, description="number of the size tried for max_drop, from 1")
    metrics: Metrics = Field(description="on validation, in percent")
    loss: list[float] = Field(description="mean of each of about a hundred equal spans of steps")
    zeros: Share | None = Field(None, description="share of exact zeros after sparsifying")
    strength: float | None = Field(None, description="λ of the penalty of a sparsifying training")
    layers: list[str] = Field(
        [], description="module paths of the phase's layers, for a sparsifying training"
    )
    fresh: list[str] = Field([], description="tensors that the initial weights did not fill")
    fixed: dict[str, str] = Field(
        {}, description="for dense: groups from which no removal can be verified, and why"
    )


class TrialRecord(Record):
    """One threshold that was evaluated."""

    threshold: float
    zeros: Share
    metric: float
    pictures: Count | None = Field(None, description="evaluated on; null: all of validation")


class ThresholdRecord(Record):
    """The search for the global threshold."""

    kind: Literal["threshold"] = "threshold"
    phase: Count
    metrics: Metrics = Field(description="of the thresholded network on validation, in percent")
    threshold: float
    zeros: Share
    status: Literal["found", "none"]
    trace: list[TrialRecord] = Field(min_length=1)


class SelectedRecord(Record):
    """One group's filters: which are kept, and the sparsity level of every F and G."""

    kept: list[Count]
    F: list[Share]
    G: list[Share]

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        if len(self.F) != len(self.G):
            raise ValueError("F and G have one level for each filter")
        return self


class RoundingRecord(Record):
    """Width multiples measured on a runtime."""

    runtime: str
    seconds: dict[str, list[tuple[int, float]]] = Field(description="by group: filters, seconds")
    measured: dict[str, int] = Field(description="by group, before the budget was applied")
    used: dict[str, int] = Field(description="by group")


class ReconstructionRecord(Record):
    """What a reconstruction did to the layers that read removed filters."""

    errors: dict[str, tuple[float, float]] = Field(
        description="by layer: error of its outputs before and after, as a share of their variance"
    )
    skipped: dict[str, str] = Field(description="layers that were left as they were, and why")


class RemovalRecord(Record):
    """A removal: which filters were removed, and how that was verified."""

    kind: Literal["remove"] = "remove"
    phase: Count
    attempt: Count | None = Field(None, description="number of the size tried for max_drop, from 1")
    metrics: Metrics = Field(description="on validation, before retraining, in percent")
    slim_minus_masked: float = Field(description="largest difference, as a share of the output")
    removed: Count
    params: Positive
    macs: Positive
    selection: dict[str, SelectedRecord]
    rounding: RoundingRecord | None = None
    reconstruction: ReconstructionRecord | None = None


class EvaluationRecord(Record):
    """A network's size, and its accuracy on test or, without a test split, on validation."""

    kind: Literal["evaluate"] = "evaluate"
    network: Literal["dense", "slim"]
    params: Positive
    macs: Positive
    bytes: Positive
    metrics: Metrics
    filters: dict[str, Positive] = Field(description="by layer")
    input: tuple[Positive, Positive, Positive] = Field(description="channels, height, width")


class CurveRecord(Record):
    """Precision over recall of one class."""

    recall: list[Share]
    precision: list[Share]

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        if len(self.recall) != len(self.precision):
            raise ValueError("a curve has a precision for each recall")
        return self


class ByClassRecord(Record):
    """Accuracy by class: curves of a detector, or the confusion matrix of a classifier."""

    by_class: dict[str, dict[str, float | None]]
    curves: dict[str, CurveRecord] | None = None
    confusion: list[list[Count]] | None = None

    @model_validator(mode="after")
    def _square(self) -> Self:
        sides = {len(self.by_class), *map(len, self.confusion or ())}
        if self.confusion is not None and sides != {len(self.confusion)}:
            raise ValueError("the confusion matrix has a row and a column for each class")
        return self


Box = tuple[float, float, float, float]


class TruthRecord(Record):
    """An annotated object of a picture."""

    class_name: str = Field(alias="class")
    box: Box
    difficult: bool = False


class FoundRecord(Record):
    """A detection, and how it was matched."""

    class_name: str = Field(alias="class")
    box: Box
    score: Share
    outcome: Literal["hit", "false", "ignored"]


class DetectorPicture(Record):
    """A test picture with both networks' detections; boxes in pixels of the picture."""

    kind: Literal["worst", "lost", "best", "typical"]
    file: FileName
    name: str
    width: Positive
    height: Positive
    truth: list[TruthRecord]
    dense: list[FoundRecord]
    slim: list[FoundRecord]


class PredictedClass(Record):
    """A classifier's prediction."""

    class_name: str = Field(alias="class")
    score: Share


class ClassifierPicture(Record):
    """A test picture that the slim network classified wrongly."""

    kind: Literal["mistake"] = "mistake"
    file: FileName
    name: str
    truth: str
    dense: PredictedClass
    slim: PredictedClass


class DetectorExamples(Record):
    """Test pictures chosen to compare the two detectors."""

    kind: Literal["detector"]
    least_score: Share
    pictures: list[DetectorPicture]


class ClassifierExamples(Record):
    """The slim network's most confident mistakes."""

    kind: Literal["classifier"]
    pictures: list[ClassifierPicture]


class ExamplesRecord(Record):
    """The test pictures to show."""

    kind: Literal["examples"] = "examples"
    examples: Annotated[DetectorExamples | ClassifierExamples, Field(discriminator="kind")]


StageRecord = Annotated[
    TrainingRecord | ThresholdRecord | RemovalRecord | EvaluationRecord | ExamplesRecord,
    Field(discriminator="kind"),
]


class StepRecord(VersionedRecord):
    """``step.json``: one stage, done or begun.

    ``output_key`` is a fingerprint of all that the stage's files depend on, ``result_key`` of all
    that its result depends on, which may include how it is evaluated.
    """

    output_key: str
    result_key: str
    seconds: float = Field(ge=0, description="of all attempts at it together")
    result: StageRecord | None = Field(None, description="null until the stage is complete")


class AttemptSummary(Record):
    """One size that was tried for ``max_drop``."""

    share: Share = Field(description="kept of what the phase can remove")
    metric: float = Field(description="on validation, after retraining, in percent")
    held: bool = Field(description="whether the metric is within the drop")


class PhaseSummary(Record):
    """One complete phase; null where a criterion needs no such step."""

    layers: str
    criterion: str
    penalty: str | None
    strength: float | None
    group_strength: float | None
    zeros: Share | None
    threshold: ThresholdRecord | None
    round_to: int | Literal["auto"]
    rounding: RoundingRecord | None
    filters_before: dict[str, Positive]
    filters_after: dict[str, Positive]
    metrics: dict[Literal["sparsified", "thresholded", "removed", "retrained"], Metric] = Field(
        description="the recipe's metric on validation, by step, in percent"
    )
    slim_minus_masked: float
    attempts: list[AttemptSummary] = Field([], description="for max_drop, in order")
    taken: Positive | None = Field(
        None, description="number of the attempt whose network the phase returned; null: none held"
    )


class Provenance(Record):
    """What made a result."""

    versions: dict[str, str]
    machine: dict[str, JsonValue]
    date: str


class Summary(VersionedRecord):
    """``summary.json``: a finished run."""

    name: str
    metric: str = Field(description="the recipe's, which every decision used")
    split: str = Field(description="on which both networks were evaluated")
    dense: EvaluationRecord
    slim: EvaluationRecord
    phases: list[PhaseSummary]
    seed: int
    recipe: dict[str, JsonValue]
    provenance: Provenance
    seconds: dict[FileName, float] = Field(description="by stage")


class StageList(VersionedRecord):
    """``steps.json``: the stages of the last execution, in order, and its complete phases."""

    steps: list[FileName]
    phases: list[PhaseSummary] = []


Content = TypeVar("Content", bound=BaseModel)

RUN_CURE = "delete the file and give the run's command again"


def read_json(path: Path, cure: str = RUN_CURE) -> Any:
    """Read a JSON file that a run wrote.

    Args:
        path: of the file.
        cure: what to do where it cannot be read.

    Raises:
        RunError: it cannot be read.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        json.dumps(content, ensure_ascii=False).encode()  # refuses half a surrogate pair
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        if isinstance(error, PermissionError):
            cure = "make it readable"
        raise RunError(f"{path}: cannot be read ({reason}); {cure}") from None
    return content


def read_record(path: Path, kind: type[Content], cure: str = RUN_CURE) -> Content:
    """Read and validate a JSON file that a run wrote.

    Args:
        path: of the file.
        kind: what it should hold.
        cure: what to do where it does not.

    Raises:
        RunError: it cannot be read, is not what it should be, or has another version's format.
    """
    content = read_json(path, cure)
    versioned = issubclass(kind, VersionedRecord) and isinstance(content, dict)
    if versioned and content.get("version") != kind.model_fields["version"].default:
        raise RunError(
            f"{path}: was written by another version of secateur; delete the run's folder, or "
            "give another with --run"
        )
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        wrong = f"{where}: {first['msg']}" if where else "holds no object"
        raise RunError(f"{path}: {wrong}; {cure}") from None


def write_record(path: Path, record: Record) -> None:
    """Write a record as JSON, whole or not at all.

    Raises:
        RunError: the file cannot be written.
    """
    write_json(path, record.model_dump(mode="json", by_alias=True))
