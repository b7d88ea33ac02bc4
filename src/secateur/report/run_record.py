"""A run as its folder records it: completed stages in order, and the summary of a finished run."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from pydantic import RootModel, ValidationError, model_validator

from secateur.benchmark.benchmark import Benchmark, Measurement
from secateur.config.recipe import Recipe, load_recipe
from secateur.errors import RunError
from secateur.models.layer_costs import layer_costs
from secateur.models.network import layers
from secateur.models.network_file import read_structure
from secateur.run.folder import RUN, TRIALS, refuse_links
from secateur.run.records import (
    ByClassRecord,
    EvaluationRecord,
    ExamplesRecord,
    PhaseSummary,
    Record,
    RemovalRecord,
    StageList,
    StepRecord,
    Summary,
    ThresholdRecord,
    TrainingRecord,
    read_record,
)

LATENCY_FILE = "latency.json"
LATENCY_CURE = "run 'secateur benchmark' again, or delete the file"

Result = TypeVar("Result", bound=Record)


@dataclass(frozen=True, slots=True)
class Stage(Generic[Result]):
    """A completed stage.

    Attributes:
        folder: with its files.
        seconds: that it took.
        result: its record.
    """

    folder: Path
    seconds: float
    result: Result

    @property
    def network(self) -> Path:
        """The network after the stage."""
        return self.folder / "network.safetensors"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One size that a phase with ``max_drop`` tried.

    Attributes:
        number: from 1.
        remove: the removal.
        last: the retraining or, without training, the removal.
        held: whether the metric was within the drop; None until the phase is complete.
    """

    number: int
    remove: Stage[RemovalRecord]
    last: Stage[Any]
    held: bool | None


@dataclass(frozen=True, slots=True)
class PhaseRecord:
    """The stages of a phase; None for those that are not complete.

    Attributes:
        number: from 1.
        layers: as the recipe names them.
        sparsify: the training with the penalty.
        threshold: the threshold search.
        remove: the removal whose network the next phase starts from.
        retrain: the training after it; also None where nothing is trained.
        last: the last stage of the phase.
        attempts: with ``max_drop``, all sizes that were tried.
        failed: no size was within the drop, so the phase did not change the network.
    """

    number: int
    layers: str
    sparsify: Stage[TrainingRecord] | None = None
    threshold: Stage[ThresholdRecord] | None = None
    remove: Stage[RemovalRecord] | None = None
    retrain: Stage[TrainingRecord] | None = None
    last: Stage[Any] | None = None
    attempts: tuple[Attempt, ...] = ()
    failed: bool = False


@dataclass(frozen=True, slots=True)
class RunRecord:
    """All that a run recorded, without weights.

    Attributes:
        folder: of the run.
        recipe: that the run follows.
        stages: the completed ones, in the order in which they were completed.
        dense: the training of the dense network.
        phases: one for each of the recipe's.
        evaluations: on test, or on validation if there is no test split; by ``dense`` and ``slim``.
        by_class: accuracy by class, by ``dense`` and ``slim``.
        examples: pictures with both networks' predictions.
        summary: of a finished run.
        latency: measurements of ``dense.safetensors`` and ``slim.safetensors``.
    """

    folder: Path
    recipe: Recipe
    stages: list[Stage[Any]]
    dense: Stage[TrainingRecord] | None
    phases: list[PhaseRecord]
    evaluations: dict[str, Stage[EvaluationRecord]]
    by_class: dict[str, ByClassRecord]
    examples: Stage[ExamplesRecord] | None
    summary: Summary | None
    latency: Benchmark | None

    @property
    def metric(self) -> str:
        """Name of the metric that every decision used."""
        return self.recipe.evaluate.metric

    @property
    def split(self) -> str:
        """Name of the split on which both networks are evaluated."""
        return self.recipe.data.test or "validation"

    def accuracy(self, stage: Stage[Any]) -> float | None:
        """The recipe's metric after a stage, in percent; None if it was not measured."""
        value: float | None = stage.result.metrics.get(self.metric)
        return value

    @property
    def layer_names(self) -> dict[str, str]:
        """The paper's name of each layer by its module path."""
        if self.dense is None:
            return {}
        named = layers(read_structure(self.dense.network).model)
        return {path: name for name, path in named.items()}


class LatencyRecord(RootModel[Benchmark]):
    """``latency.json``, which ``secateur benchmark`` writes."""

    @model_validator(mode="after")
    def _positive(self) -> Self:
        for each in self.root.measurements:
            for times in (each.network, each.whole):
                if times is not None and not 0 < times.median < math.inf:
                    raise ValueError(f"the median of {each.model} is not a positive time")
        return self


def role(measurement: Measurement) -> str:
    """The measured file's name without suffixes: ``dense`` or ``slim`` for networks of a run."""
    return Path(measurement.model).name.partition(".")[0]


def read_run(folder: Path) -> RunRecord:
    """Read a run folder, finished or not.

    Stages of an earlier recipe, which the last execution did not use, are not read.

    Raises:
        RunError: the folder is not a run's, or holds a link, or a record in it is not valid.
    """
    _check_folder(folder)
    refuse_links(folder)
    stage_list = read_record(folder / RUN.mark, StageList)
    recipe = load_recipe(folder / "recipe.json")
    stages = [stage for name in stage_list.steps if (stage := _stage(folder, name))]
    summary = _summary(folder, recipe, stage_list)
    summaries = dict(enumerate(stage_list.phases, 1))
    evaluated = [s for s in stages if isinstance(s.result, EvaluationRecord)]
    evaluations = {stage.result.network: stage for stage in evaluated}
    by_class = {name: stage.folder / "by_class.json" for name, stage in evaluations.items()}
    return RunRecord(
        folder,
        recipe,
        stages,
        _find(stages, TrainingRecord, kind="dense"),
        [
            _phase(
                stages,
                number,
                each.layers,
                summaries.get(number),
                training=recipe.compress.training,
            )
            for number, each in enumerate(recipe.compress.phases, 1)
        ],
        evaluations,
        {n: read_record(path, ByClassRecord) for n, path in by_class.items() if path.is_file()},
        _find(stages, ExamplesRecord),
        summary,
        _latency(folder) if summary else None,
    )


def _find(
    stages: list[Stage[Any]], record: type[Result], /, **values: object
) -> Stage[Result] | None:
    """The stage whose record is of a type and has these values."""
    for stage in stages:
        found = stage.result
        if isinstance(found, record) and all(getattr(found, n) == v for n, v in values.items()):
            return stage
    return None


def _phase(
    stages: list[Stage[Any]],
    number: int,
    layers: str,
    summary: PhaseSummary | None,
    *,
    training: bool,
) -> PhaseRecord:
    """Collect the stages of a phase; ``summary`` is None until the phase is complete."""

    def retraining(attempt: int | None) -> Stage[TrainingRecord] | None:
        return _find(stages, TrainingRecord, kind="retrain", phase=number, attempt=attempt)

    attempts = []
    for stage in stages:
        attempt = getattr(stage.result, "attempt", None)
        if isinstance(stage.result, RemovalRecord) and stage.result.phase == number and attempt:
            last = retraining(attempt) if training else stage
            decided = summary.attempts[attempt - 1 : attempt] if summary else []
            if last:
                held = decided[0].held if decided else None
                attempts.append(Attempt(attempt, stage, last, held))
    taken = summary.taken if summary else None
    # Without max_drop, the only removal has no number.
    removal = _find(stages, RemovalRecord, phase=number, attempt=taken)
    return PhaseRecord(
        number,
        layers,
        _find(stages, TrainingRecord, kind="sparsify", phase=number),
        _find(stages, ThresholdRecord, phase=number),
        removal,
        retraining(taken),
        retraining(taken) if training else removal,
        tuple(attempts),
        bool(summary and summary.attempts and not taken),
    )


def _check_folder(folder: Path) -> None:
    if folder.is_file():
        raise RunError(f"{folder}: is a file; give the folder of a run")
    if not folder.is_dir():
        raise RunError(f"{folder}: no such folder; give one that 'secateur compress' wrote")
    sweep = (folder / TRIALS).is_dir()
    if sweep or not (folder / "recipe.json").is_file():
        # Of a sweep, of a comparison, or of a folder that holds runs.
        patterns = (f"{TRIALS}/*", "seed*/*/*", "k*/seed*", "*")
        found = sorted(path for each in patterns for path in folder.glob(f"{each}/recipe.json"))
        what = "is a sweep, not a run" if sweep else "is not a run: it has no recipe.json"
        hint = f"of a run in it, such as {found[0].parent}" if found else "of a run"
        raise RunError(f"{folder}: {what}; give the folder {hint}")


def _stage(folder: Path, name: str) -> Stage[Any] | None:
    """Read a stage; None if it is not complete."""
    path = folder / "steps" / name / "step.json"
    if not path.is_file():
        return None
    record = read_record(path, StepRecord)
    if record.result is None:
        return None
    stage = Stage(path.parent, record.seconds, record.result)
    makes_network = isinstance(record.result, TrainingRecord | ThresholdRecord | RemovalRecord)
    if makes_network and not stage.network.is_file():
        raise RunError(
            f"{stage.network}: is missing; delete {stage.folder} and give the run's command again"
        )
    return stage


def _summary(folder: Path, recipe: Recipe, stage_list: StageList) -> Summary | None:
    """Read the summary; None if there is none, or if it is of an earlier execution."""
    path = folder / "summary.json"
    if not path.is_file():
        return None
    summary = read_record(path, Summary)
    for network in (summary.dense, summary.slim):
        if network.metrics.get(recipe.evaluate.metric) is None:
            raise RunError(
                f"{path}: has no {recipe.evaluate.metric}; delete it and give the run's command "
                "again"
            )
    try:
        own = Recipe.model_validate(summary.recipe)
    except ValidationError:
        return None
    # The recipe may be the same, and the pictures or the version of torch others: then the last
    # execution, which did not finish, has not used all the stages of the summary.
    return summary if own == recipe and summary.seconds.keys() <= set(stage_list.steps) else None


def _latency(folder: Path) -> Benchmark | None:
    """Read what was measured of the run's networks; measurements of earlier ones are left out."""
    path = folder / LATENCY_FILE
    if not path.is_file():
        return None
    found = read_record(path, LatencyRecord, LATENCY_CURE).root
    macs = {}
    for name in ("dense", "slim"):
        network = read_structure(folder / f"{name}.safetensors")
        costs = layer_costs(network.model, network.architecture)
        macs[name] = sum(cost.macs for cost in costs.values())
    found.measurements[:] = [
        each for each in found.measurements if each.macs in (None, macs.get(role(each)))
    ]
    return found
