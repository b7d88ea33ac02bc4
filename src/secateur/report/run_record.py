"""A run as its folder tells it: what is done, what is not yet, and in which order."""

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from pydantic import BaseModel

from secateur.errors import RunError
from secateur.models.network import build_network, layers
from secateur.models.network_file import read_header
from secateur.recipe import Recipe, load_recipe
from secateur.report.artifacts import (
    ByClass,
    Evaluated,
    Examples,
    Latency,
    Removed,
    Step,
    Summary,
    Thresholded,
    Trail,
    Trained,
    checked,
    read_artifact,
)

LATENCY_FILE = "latency.json"

Result = TypeVar("Result", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Done(Generic[Result]):
    """A step that is done.

    Attributes:
        folder: its files; its name is the step's.
        seconds: what it took.
        result: what it found.
    """

    folder: Path
    seconds: float
    result: Result

    @property
    def network(self) -> Path:
        """The network after the step."""
        return self.folder / "network.safetensors"


@dataclass(frozen=True, slots=True)
class PhaseRecord:
    """The steps of a phase; None what has not been done."""

    number: int
    layers: str
    sparsify: Done[Trained] | None
    threshold: Done[Thresholded] | None
    remove: Done[Removed] | None
    retrain: Done[Trained] | None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """All that a run left behind, apart from weights.

    Attributes:
        folder: the run's.
        recipe: what it was to do.
        dense: the training of the dense network.
        phases: all of the recipe's.
        evaluations: on test, or on validation where there is no test; by ``dense`` and ``slim``.
        by_class: accuracy by class likewise.
        examples: pictures with both networks' answers.
        summary: of a run that is finished.
        latency: what was measured of ``dense.safetensors`` and ``slim.safetensors``.
        seconds: of each step that is done, in the order they were done.
    """

    folder: Path
    recipe: Recipe
    dense: Done[Trained] | None
    phases: list[PhaseRecord]
    evaluations: dict[str, Done[Evaluated]]
    by_class: dict[str, ByClass]
    examples: Done[Examples] | None
    summary: Summary | None
    latency: Latency | None
    seconds: dict[str, float]

    @property
    def split(self) -> str:
        """Name of the pictures that both networks are held against at the end."""
        return self.recipe.data.test or "validation"

    @property
    def layer_names(self) -> dict[str, str]:
        """The paper's name of each layer by its module path."""
        if self.dense is None:
            return {}
        with torch.device("meta"):
            model = build_network(read_header(self.dense.network).architecture)
        return {path: name for name, path in layers(model).items()}


def read_run(folder: Path) -> RunRecord:
    """Read a run folder, finished or not.

    Steps that an earlier recipe left are not read.

    Raises:
        RunError: it is no run folder, or an artifact in it is not as a run writes it.
    """
    if not folder.is_dir():
        raise RunError(f"{folder}: no such folder; give one that 'secateur compress' wrote")
    if not (folder / "recipe.json").is_file():
        raise RunError(f"{folder}: holds no recipe.json; give one that 'secateur compress' wrote")
    recipe = load_recipe(folder / "recipe.json")
    summary = _summary(folder, recipe)
    raw = {name: read_artifact(_file(folder, name), Step) for name in _visited(folder, summary)}

    def done(name: str, kind: type[Result]) -> Done[Result] | None:
        if name not in raw:
            return None
        path = _file(folder, name)
        return Done(path.parent, raw[name].seconds, checked(path, raw[name].result, kind))

    def phase(number: int, layers: str) -> PhaseRecord:
        name = f"phase{number}"
        # With max_drop there are several tries; the summary's steps have the one that was taken,
        # and before that the last is shown.
        tries = [key.removesuffix("remove") for key in raw if key.startswith(f"{name}-try")]
        prefix = next((key for key in reversed(tries) if f"{key}remove" in raw), f"{name}-")
        return PhaseRecord(
            number,
            layers,
            done(f"{name}-sparsify", Trained),
            done(f"{name}-threshold", Thresholded),
            done(f"{prefix}remove", Removed),
            done(f"{prefix}retrain", Trained),
        )

    evaluations = {role: done(f"evaluate-{role}", Evaluated) for role in ("dense", "slim")}
    by_class = {role: step.folder / "by_class.json" for role, step in evaluations.items() if step}
    latency = folder / LATENCY_FILE
    return RunRecord(
        folder,
        recipe,
        done("dense", Trained),
        [phase(n, each.layers) for n, each in enumerate(recipe.compress.phases, start=1)],
        {role: step for role, step in evaluations.items() if step},
        {role: read_artifact(path, ByClass) for role, path in by_class.items() if path.is_file()},
        done("examples", Examples),
        summary,
        read_artifact(latency, Latency) if latency.is_file() else None,
        {name: step.seconds for name, step in raw.items()},
    )


def _file(folder: Path, step: str) -> Path:
    return folder / "steps" / step / "step.json"


def _summary(folder: Path, recipe: Recipe) -> Summary | None:
    """Give the summary, unless it is of an earlier recipe and the run is not through again."""
    path = folder / "summary.json"
    if not path.is_file():
        return None
    summary = read_artifact(path, Summary)
    for network in (summary.dense, summary.slim):
        if recipe.evaluate.metric not in network.metrics:
            raise RunError(
                f"{path}: has no {recipe.evaluate.metric}; delete it and give the run's command "
                "again"
            )
    return summary if summary.recipe == recipe.model_dump(mode="json") else None


def _visited(folder: Path, summary: Summary | None) -> list[str]:
    """Name the steps that are done and are of this recipe, in their order."""
    trail = folder / "steps.json"
    if summary:
        names = list(summary.seconds)
    elif trail.is_file():
        names = read_artifact(trail, Trail).steps
    else:
        names = [path.parent.name for path in sorted((folder / "steps").glob("*/step.json"))]
    return [name for name in names if _file(folder, name).is_file()]
