"""A run as its folder tells it: what is done, what is not yet, and in which order."""

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from pydantic import BaseModel, ValidationError

from secateur.config.recipe import Recipe, load_recipe
from secateur.errors import RunError
from secateur.models.layer_costs import layer_costs
from secateur.models.network import build_network, layers
from secateur.models.network_file import read_header
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
from secateur.run.folder import TRIALS

LATENCY_FILE = "latency.json"
LATENCY_CURE = "make it again by secateur benchmark, or delete it"

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
class Try:
    """One size that a phase with ``max_drop`` tried: what was removed, and whether it held."""

    remove: Done[Removed]
    retrain: Done[Trained]
    held: bool


@dataclass(frozen=True, slots=True)
class PhaseRecord:
    """The steps of a phase; None what has not been done.

    Attributes:
        number: from 1.
        layers: as the recipe names them.
        sparsify: the training with the penalty.
        threshold: the search for it.
        remove: the removal that the next phase goes on from.
        retrain: the training behind it.
        tries: with ``max_drop``, all sizes that were tried; the last that held was taken.
        failed: no size held the drop, and the network stayed as it was before the phase.
    """

    number: int
    layers: str
    sparsify: Done[Trained] | None
    threshold: Done[Thresholded] | None
    remove: Done[Removed] | None
    retrain: Done[Trained] | None
    tries: tuple[Try, ...] = ()
    failed: bool = False


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
        examples: pictures with both networks' predictions.
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
    _check_folder(folder)
    recipe = load_recipe(folder / "recipe.json")
    summary = _summary(folder, recipe)
    raw = {name: read_artifact(_file(folder, name), Step) for name in _visited(folder, summary)}

    def done(name: str, kind: type[Result]) -> Done[Result] | None:
        if name not in raw:
            return None
        path = _file(folder, name)
        step = Done(path.parent, raw[name].seconds, checked(path, raw[name].result, kind))
        if kind in (Trained, Thresholded, Removed) and not step.network.is_file():
            raise RunError(
                f"{step.network}: is missing; delete {step.folder} and give the run's command again"
            )
        return step

    dense = done("dense", Trained)

    def phase(number: int, layers: str) -> PhaseRecord:
        name = f"phase{number}"
        steps = done(f"{name}-sparsify", Trained), done(f"{name}-threshold", Thresholded)
        select = recipe.phase(number)[2]
        if select.max_drop is None or dense is None:
            remove, retrain = done(f"{name}-remove", Removed), done(f"{name}-retrain", Trained)
            return PhaseRecord(number, layers, *steps, remove, retrain)
        # As the run decided: each phase may lose its part of the drop.
        floor = dense.result.metric - select.max_drop * number / len(recipe.compress.phases)
        tries = []
        for attempt in range(1, select.attempts + 1):
            cut = done(f"{name}-try{attempt}-remove", Removed)
            end = done(f"{name}-try{attempt}-retrain", Trained)
            if cut and end:
                tries.append(Try(cut, end, end.result.metric >= floor))
        taken = next((each for each in reversed(tries) if each.held), None)
        return PhaseRecord(
            number,
            layers,
            *steps,
            taken.remove if taken else None,
            taken.retrain if taken else None,
            tuple(tries),
            taken is None and len(tries) == select.attempts,
        )

    evaluations = {role: done(f"evaluate-{role}", Evaluated) for role in ("dense", "slim")}
    by_class = {role: step.folder / "by_class.json" for role, step in evaluations.items() if step}
    return RunRecord(
        folder,
        recipe,
        dense,
        [phase(n, each.layers) for n, each in enumerate(recipe.compress.phases, start=1)],
        {role: step for role, step in evaluations.items() if step},
        {role: read_artifact(path, ByClass) for role, path in by_class.items() if path.is_file()},
        done("examples", Examples),
        summary,
        _latency(folder) if summary else None,
        {name: step.seconds for name, step in raw.items()},
    )


def _check_folder(folder: Path) -> None:
    if folder.is_file():
        raise RunError(f"{folder}: is a file; give the folder of a run")
    if not folder.is_dir():
        raise RunError(f"{folder}: no such folder; give one that 'secateur compress' wrote")
    sweep = (folder / TRIALS).is_dir()
    if sweep or not (folder / "recipe.json").is_file():
        # Of a sweep, of a comparison, or of a folder that runs were put into.
        places = (f"{TRIALS}/*", "seed*/*/*", "k*/seed*", "*")
        found = sorted(path for place in places for path in folder.glob(f"{place}/recipe.json"))
        what = "is a sweep, not a run" if sweep else "is no run, for it holds no recipe.json"
        hint = f"of those in it, such as {found[0].parent}" if found else "of a run"
        raise RunError(f"{folder}: {what}; give the folder {hint}")


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
    try:
        own = Recipe.model_validate(summary.recipe)
    except ValidationError:
        return None
    if own != recipe:
        return None
    # Steps that are not on the trail of the last execution are of an earlier one: of other
    # pictures, say, or another version of torch.
    trail = folder / "steps.json"
    if trail.is_file() and not summary.seconds.keys() <= set(read_artifact(trail, Trail).steps):
        return None
    return summary


def _latency(folder: Path) -> Latency | None:
    """Give what was measured of the networks that are there, and not of earlier ones."""
    path = folder / LATENCY_FILE
    if not path.is_file():
        return None
    found = read_artifact(path, Latency, LATENCY_CURE)
    macs = {}
    for role in ("dense", "slim"):
        architecture = read_header(folder / f"{role}.safetensors").architecture
        with torch.device("meta"):  # shapes are enough to count by
            costs = layer_costs(build_network(architecture), architecture)
        macs[role] = sum(cost.macs for cost in costs.values())
    own = [each for each in found.measurements if each.macs in (None, macs.get(each.role))]
    return found.model_copy(update={"measurements": own})


def _visited(folder: Path, summary: Summary | None) -> list[str]:
    """Name the steps that are done and are of this recipe, in their order."""
    trail = folder / "steps.json"
    if trail.is_file():
        names = read_artifact(trail, Trail).steps
    elif summary:  # of a run from before there was a trail
        names = list(summary.seconds)
    else:
        names = [path.parent.name for path in sorted((folder / "steps").glob("*/step.json"))]
    return [name for name in names if _file(folder, name).is_file()]
