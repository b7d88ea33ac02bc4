"""What every step of a run shares: its recipe, its pictures, its folder, its networks."""

import hashlib
import json
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning.fabric import Fabric
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor, nn

from secateur.config.architecture import recipe_architecture
from secateur.config.recipe import Recipe
from secateur.config.train import Training
from secateur.data.source import PictureSet, Splits, describe, missing_classes, read_splits
from secateur.distributed.processes import Processes, join_processes
from secateur.distributed.rank import own_rank
from secateur.errors import ModelError, RunError
from secateur.files.atomic_write import write_json
from secateur.files.translated_errors import translated_errors
from secateur.models.architecture import Architecture
from secateur.models.network_file import load_network
from secateur.models.weights import check_weights
from secateur.pruning.selection.measured_rounding import check_runtime
from secateur.run.folder import Step, Trail, Work, fingerprint, run_step
from secateur.run.phases import check_norms, check_phases
from secateur.tasks.task import Task, task_of


class Reporter(Protocol):
    """Where a run tells what it does."""

    def say(self, text: str) -> None:
        """Print a line."""

    def bar(
        self, title: str, total: int, done: int = 0
    ) -> AbstractContextManager[Callable[..., None]]:
        """Show progress; what it gives is called once for each unit done."""


@dataclass(frozen=True, slots=True)
class Network:
    """A network at some point of the run."""

    model: nn.Module
    architecture: Architecture
    path: Path
    key: str


@dataclass(frozen=True, slots=True)
class Run:
    """What every step of a run shares."""

    recipe: Recipe
    folder: Path
    task: Task
    splits: Splits
    processes: Processes
    reporter: Reporter
    data_key: str
    trail: Trail
    pool: Path | None = None

    def step(
        self,
        name: str,
        depends_on: Mapping[str, Any],
        work: Work,
        *,
        together: bool = False,
        measured_by: Mapping[str, Any] | None = None,
    ) -> Step:
        """Do a step in its own folder of the run.

        Args:
            name: its own, and its folder's.
            depends_on: as for ``run_step``.
            work: likewise.
            together: the work trains or evaluates, and all processes do it, each its share;
                otherwise the first does it alone.
            measured_by: as for ``run_step``.
        """

        def do(work: Work) -> Step:
            folder = self.folder / "steps" / name
            return run_step(
                folder,
                depends_on,
                work,
                measured_by=measured_by,
                say=self.reporter.say,
                pool=self.pool,
            )

        with translated_errors():
            step = self.processes.step(do, work, shared=together)
        self.trail.add(name)
        return step

    @property
    def fabric(self) -> Fabric:
        """Device, precision, and processes."""
        return self.processes.fabric

    @property
    def evaluated(self) -> PictureSet:
        """The pictures that both networks are held against at the end."""
        return self.splits.test or self.splits.validation

    def seed(self, name: str) -> int:
        """A seed for one step; steps do not share chances, so that each can be redone alone."""
        digest = hashlib.sha256(f"{self.recipe.seed} {name}".encode()).digest()
        return int.from_bytes(digest[:4], "big")


def open_run(recipe: Recipe, folder: Path, reporter: Reporter, pool: Path | None = None) -> Run:
    """Check everything that can be checked before hours are spent, and write down the split.

    Args:
        recipe: what to do.
        folder: the run's.
        reporter: told of what goes on.
        pool: a folder of steps that several runs share; None for none.
    """
    batch_sizes = {name: each.batch_size for name, each in recipe.trainings().items()}
    processes = join_processes(folder, batch_sizes, bf16=recipe.precision == "bf16")
    folder = processes.folder
    with processes.one_rank_at_a_time():  # for some pictures are drawn when they are first read
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
        _tell_of_missing_classes(splits, reporter)
        root = recipe.data.root
        described = {
            name: describe(part, root)
            for name, part in (("train", splits.train), ("validation", splits.validation))
        }
        written = recipe.model_dump(mode="json")
        write_json(
            folder / "split.json",
            {name: [str(each[0]) for each in pictures] for name, pictures in described.items()},
        )
        write_json(folder / "recipe.json", written)
    digest = hashlib.sha256(json.dumps(described).encode()).hexdigest()
    processes.check_same(fingerprint([written, digest]))
    trail = Trail(folder / "steps.json")
    return Run(recipe, folder, task, splits, processes, reporter, digest, trail, pool)


def check_evaluation(task: Task, splits: Splits, architecture: Architecture) -> None:
    """See that networks can be measured on what is there for it.

    Raises:
        DataError: they cannot.
    """
    task.check(splits.validation, architecture, "validation")
    if splits.test is not None:
        task.check(splits.test, architecture, "test")


def _tell_of_missing_classes(splits: Splits, reporter: Reporter) -> None:
    """Say so where a class cannot be learnt, or its accuracy not be seen, for want of examples."""
    for part, pictures, consequence in (
        ("training", splits.train, "the network will not learn them"),
        ("validation", splits.validation, "no decision will heed them"),
    ):
        missing = missing_classes(pictures)
        if missing:
            names = ", ".join(missing[:5]) + (" ..." if missing[5:] else "")
            reporter.say(
                f"{len(missing)} of {len(pictures.classes)} classes have no example among the "
                f"{part} pictures, and {consequence}: {names}"
            )


def load_step(step: Step) -> Network:
    """Read the network a step wrote.

    Raises:
        RunError: it went missing or is broken.
    """
    path = step.folder / "network.safetensors"
    try:
        file = load_network(path)
    except ModelError:
        raise RunError(
            f"{path}: is missing or broken; delete {step.folder} and give the command again"
        ) from None
    return Network(file.model, file.architecture, path, step.made)


def batch_losses(
    run: Run,
    model: nn.Module,
    architecture: Architecture,
    training: Training,
    batches: int,
    seed: int,
) -> Iterator[Tensor]:
    """Give the loss of some training batches, each a forward pass made when it is asked for.

    Args:
        run: the run.
        model: a network; its mode is left as it is, and in the end it is on the CPU.
        architecture: its own.
        training: whose batches are taken.
        batches: how many.
        seed: of their choice and augmentation.
    """
    device = run.fabric.device
    settings = training.model_copy(update={"steps": batches})
    loss = run.task.loss(architecture)
    model.to(device)
    for batch in run.task.batches(run.splits.train, architecture, settings, seed, device):
        yield loss(model, *move_data_to_device(batch, device))
    model.cpu()


def provenance() -> dict[str, Any]:
    """Say what made the result: versions, machine and date."""
    packages = ("secateur", "torch", "torchvision", "lightning")
    return {
        "versions": {"python": platform.python_version()} | {p: version(p) for p in packages},
        "machine": {
            "system": platform.platform(),
            "processor": platform.processor() or platform.machine(),
            "threads": torch.get_num_threads(),
            "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            **({"processes": count} if (count := own_rank().world_size) > 1 else {}),
        },
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
