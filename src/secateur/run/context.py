"""What every stage of a run shares: its recipe, its pictures, its folder, its processes."""

import hashlib
import json
import platform
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import torch
import torchvision
from lightning.fabric import Fabric
from torch import nn

from secateur.config.architecture import recipe_architecture
from secateur.config.recipe import Recipe
from secateur.data.formats.format import PictureSet
from secateur.data.source import Splits, describe, missing_classes, read_splits
from secateur.distributed.processes import Processes, join_processes
from secateur.distributed.rank import own_rank
from secateur.errors import ModelError, RunError
from secateur.files.atomic_write import write_json
from secateur.files.translated_errors import translated_errors
from secateur.models.architecture import Architecture
from secateur.models.network_file import load_network
from secateur.models.weights import check_weights, fetch_weights
from secateur.pruning.selection.measured_rounding import check_runtime
from secateur.run.folder import RUN
from secateur.run.phases import check_norms, check_phases, untrainable
from secateur.run.stage import Make, Stage, Step, Trail, fingerprint, has_files, run_stage
from secateur.tasks.task import Task, task_of

# The first stage.
DENSE = "dense"


class Reporter(Protocol):
    """Where a run reports progress."""

    def say(self, text: str) -> None:
        """Print a line."""

    def bar(
        self, title: str, total: int, done: int = 0
    ) -> AbstractContextManager[Callable[..., None]]:
        """Show progress; call what it gives once for each unit done."""


@dataclass(frozen=True, slots=True)
class Handle:
    """A network of a run, on disk.

    Attributes:
        path: of its file.
        key: a fingerprint of all that the network depends on.
        architecture: of the dense network.
    """

    path: Path
    key: str
    architecture: Architecture

    def load(self) -> nn.Module:
        """Read the network, in evaluation mode, on the CPU.

        Raises:
            RunError: the file is missing or damaged.
        """
        try:
            return load_network(self.path).model
        except ModelError:
            raise RunError(
                f"{self.path}: is missing or damaged; delete {self.path.parent} and give the "
                "command again"
            ) from None


@dataclass(frozen=True, slots=True)
class Run:
    """What every stage of a run shares."""

    recipe: Recipe
    folder: Path
    task: Task
    splits: Splits
    processes: Processes
    reporter: Reporter
    data_key: str
    trail: Trail
    pool: Path | None = None

    def do(self, stage: Stage) -> Step:
        """Do a stage in its own folder of the run, or find it done."""

        def lead(make: Make, measure: Make) -> Step:
            led = replace(stage, make=make, measure=measure)
            folder = self.folder / "steps" / stage.name
            return run_stage(folder, led, self.reporter.say, self.pool)

        with translated_errors():
            step = self.processes.step(lead, stage.make, stage.measure, shared=stage.shared)
        self.trail.add(stage.name)
        return step

    @property
    def fabric(self) -> Fabric:
        """Device, precision, and processes."""
        return self.processes.fabric

    @property
    def architecture(self) -> Architecture:
        """Of the dense network."""
        return recipe_architecture(self.recipe, self.splits.train.classes)

    @property
    def evaluated(self) -> PictureSet:
        """The pictures that both networks are evaluated on at the end."""
        return self.splits.test or self.splits.validation

    def seed(self, name: str) -> int:
        """A seed for one stage; stages share none, so that each can be redone alone."""
        digest = hashlib.sha256(f"{self.recipe.seed} {name}".encode()).digest()
        return int.from_bytes(digest[:4], "big")


def open_run(recipe: Recipe, folder: Path, reporter: Reporter, pool: Path | None = None) -> Run:
    """Check everything that can be checked before hours are spent, and write down the split.

    Args:
        recipe: what to do.
        folder: the run's.
        reporter: prints progress.
        pool: a folder of stages that several runs share; None for none.
    """
    batch_sizes = {name: each.batch_size for name, each in recipe.trainings().items()}
    processes = join_processes(folder, batch_sizes, bf16=recipe.precision == "bf16")
    folder = processes.folder
    with processes.one_rank_at_a_time():  # some pictures are drawn when they are first read
        splits = read_splits(recipe.data, recipe.model.input_size, recipe.seed)
        architecture = recipe_architecture(recipe, splits.train.classes)
        check_phases(recipe, architecture)
        check_norms(recipe, architecture, processes.rank.world_size)
        if recipe.model.weights:
            check_weights(architecture, recipe.model.weights, whole=recipe.train.steps == 0)
        task = task_of(recipe.data, recipe.evaluate)
        check_evaluation(task, splits, architecture)
        selects = [recipe.phase(number + 1)[2] for number in range(len(recipe.compress.phases))]
        for runtime in {select.runtime for select in selects if select.round_to == "auto"}:
            check_runtime(runtime)
        _warn_of_missing_classes(splits, reporter)
        for warning in untrainable(recipe, architecture):
            reporter.say(warning)
        described = describe_trained(splits, recipe.data.root)
        digest = hashlib.sha256(json.dumps(described).encode()).hexdigest()
        if recipe.model.weights and processes.rank.rank == 0 and pool is None:
            inputs = dense_inputs(recipe, architecture, digest)
            if not has_files(folder / "steps" / DENSE, fingerprint(inputs)):
                fetch_weights(recipe.model.weights)  # before a file of the run is replaced
        written = recipe.model_dump(mode="json")
        trail = Trail(folder / RUN.mark)  # the first file, by which a run's folder is recognised
        write_json(
            folder / "split.json",
            {name: [str(each[0]) for each in pictures] for name, pictures in described.items()},
        )
        write_json(folder / "recipe.json", written)
    processes.check_same(fingerprint([written, digest]))
    return Run(recipe, folder, task, splits, processes, reporter, digest, trail, pool)


def describe_trained(splits: Splits, root: Path) -> dict[str, Any]:
    """Describe the pictures that decide what a run makes: all but those for test."""
    parts = (("train", splits.train), ("validation", splits.validation))
    return {name: describe(part, root) for name, part in parts}


def dense_inputs(recipe: Recipe, architecture: Architecture, data_key: str) -> dict[str, Any]:
    """Give all that the files of the dense network depend on."""
    written = recipe.model_dump(mode="json")
    weights = recipe.model.weights
    return {
        "data": data_key,
        # With the classes and how pictures are read, which the recipe may leave to the data.
        "architecture": architecture.model_dump(mode="json"),
        "recipe": {name: written[name] for name in ("seed", "precision", "train")},
        "augmentation": recipe.data.augmentation.model_dump(),
        "weights": _file_digest(Path(weights)) if weights and Path(weights).is_file() else weights,
        "versions": [torch.__version__, torchvision.__version__],
    }


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_evaluation(task: Task, splits: Splits, architecture: Architecture) -> None:
    """Check that networks can be evaluated on these pictures.

    Raises:
        DataError: they cannot.
    """
    task.check(splits.validation, architecture, "validation")
    if splits.test is not None:
        task.check(splits.test, architecture, "test")


def _warn_of_missing_classes(splits: Splits, reporter: Reporter) -> None:
    """Warn of classes that cannot be learnt or validated, because they have no examples."""
    for part, pictures, consequence in (
        ("training", splits.train, "the network cannot learn them"),
        ("validation", splits.validation, "these classes do not affect validation"),
    ):
        missing = missing_classes(pictures)
        if missing:
            names = ", ".join(missing[:5]) + (" ..." if missing[5:] else "")
            reporter.say(
                f"{len(missing)} of {len(pictures.classes)} classes have no example among the "
                f"{part} pictures; {consequence}: {names}"
            )


def provenance() -> dict[str, Any]:
    """Say what made the result: versions, machine and date."""
    packages = ("secateur", "torch", "torchvision", "lightning")
    processes = own_rank().world_size
    return {
        "versions": {"python": platform.python_version()} | {p: version(p) for p in packages},
        "machine": {
            "system": platform.platform(),
            "processor": platform.processor() or platform.machine(),
            "threads": torch.get_num_threads(),
            "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            **({"processes": processes} if processes > 1 else {}),
        },
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
