"""Several processes at one run: the first leads, and the others help it train and evaluate.

All go through the whole flow, each with the networks in its own memory. The first alone looks for
steps that are done, decides, writes and speaks. A step that all do together they begin at its word,
from copies of what it has; what the others write goes into folders of their own that nobody reads.
One process is the first of one, and nothing is sent.
"""

import atexit
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins import MixedPrecision
from torch import distributed, nn

from secateur.config.recipe import Recipe
from secateur.distributed.rank import SINGLE, Rank, own_rank
from secateur.errors import LostError, RecipeError, RunError
from secateur.run.folder import Step, Work

T = TypeVar("T")


class Processes:
    """The processes of a run, seen from one of them.

    Attributes:
        place: this one's.
        fabric: device, precision, and the way to the others.
        folder: where this one writes: the run's, or one that goes when the process ends.
    """

    def __init__(self, place: Rank, fabric: Fabric, folder: Path) -> None:
        self.place = place
        self.fabric = fabric
        self.folder = folder
        self._together = False

    @property
    def share(self) -> Rank:
        """Its part in the work at hand, which is all of it where the first works alone."""
        return self.place if self._together else SINGLE

    @contextmanager
    def one_rank_at_a_time(self) -> Iterator[None]:
        """Let the first go ahead, and the others follow when it is through."""
        if self.place.rank > 0:
            self._wait()
        yield
        if self.place.rank == 0:
            self._wait()

    def agree(self, key: str) -> None:
        """Make sure that all have read the same.

        Raises:
            RunError: this one has not.
        """
        if self._tell(key) != key:
            raise RunError(
                f"process {self.place.rank}: its recipe or its pictures are not those of the first "
                "process; give the same to all"
            )

    def step(self, do: Callable[[Work], Step], work: Work, *, together: bool) -> Step:
        """Have the first do a step, which finds it or calls ``work``; all get what it gave.

        Args:
            do: finds the step, or does it by the work that it is given.
            work: what there is to do.
            together: all do it, each its share; otherwise the first alone, and the others wait.
        """
        if self.place.rank == 0:
            return cast(Step, self._tell(do(self._led(work) if together else work)))
        while isinstance(said := self._tell(None), Path):
            copy = self.folder / "steps" / said.name
            shutil.copytree(said, copy)  # with the state of a training that is gone on with
            self._wait()
            with self._joined():
                work(copy)
            shutil.rmtree(copy)
        return cast(Step, said)

    def broadcast(self, value: T) -> T:
        """Give the first's value, so that none decides otherwise for a last digit."""
        return cast(T, self._tell(value)) if self._together else value

    def gather(self, value: T) -> list[T]:
        """Give what each has, in the order of the processes."""
        values: list[Any] = [value] * self.share.count
        if len(values) > 1:
            with _loss_told():
                distributed.all_gather_object(values, value)
        return values

    def broadcast_model(self, model: nn.Module) -> None:
        """Make a model, which is on the CPU, the first's in all, to the last digit."""
        if self.share.count > 1:
            model.load_state_dict(self.broadcast(model.state_dict()))

    def _led(self, work: Work) -> Work:
        def lead(folder: Path) -> dict[str, Any]:
            self._tell(folder)
            self._wait()  # until the others have their copies
            with self._joined():
                return work(folder)

        return lead

    @contextmanager
    def _joined(self) -> Iterator[None]:
        self._together = self.place.count > 1
        try:
            with _loss_told():
                yield
        finally:
            self._together = False

    def _tell(self, value: Any) -> Any:
        with _loss_told():
            return self.fabric.broadcast(value)

    def _wait(self) -> None:
        with _loss_told():
            self.fabric.barrier()


def join_processes(recipe: Recipe, folder: Path) -> Processes:
    """Meet the other processes that torchrun started, if it did.

    Args:
        recipe: what they are to do.
        folder: the run's.

    Raises:
        RecipeError: a batch cannot be divided among them.
        RunError: there are more of them on this machine than GPUs.
    """
    place = own_rank()
    _check_batches(recipe, place.count)
    gpus = torch.cuda.device_count()
    if 0 < gpus < place.local_count:
        raise RunError(
            f"{place.local_count} processes on a machine with {gpus} GPUs; start one for each"
        )
    if place.count > 1:  # they would tell of each process that it has come
        for name in ("lightning.fabric", "lightning.pytorch"):
            logging.getLogger(name).setLevel(logging.WARNING)
    fabric = open_fabric(place, bf16=recipe.precision == "bf16")
    if place.count > 1 and "LT_CLI_USED" not in os.environ:  # `fabric run` launches by itself
        with _loss_told():
            fabric.launch()
    if place.rank > 0:
        folder = folder / f".process{place.rank}"
        shutil.rmtree(folder, ignore_errors=True)  # of one that was killed
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Processes(place, fabric, folder)


class Autocast(MixedPrecision):
    """Arithmetic in bfloat16 wherever autocast takes it.

    Fabric's own rounds all that goes into a network too, and with it boxes, which are in pixels.
    """

    def convert_input(self, data: Any) -> Any:
        """Leave it as it is."""
        return data


def open_fabric(place: Rank = SINGLE, *, bf16: bool = False) -> Fabric:
    """Choose the device: the accelerator if there is one; of several processes, a GPU each.

    Args:
        place: this process's.
        bf16: compute in bfloat16 where that serves, with weights in single precision.
    """
    # Apple's GPUs take no part in the work of several processes.
    apple = place.count == 1 and torch.backends.mps.is_available()
    device = "cuda" if torch.cuda.is_available() else "mps" if apple else "cpu"
    return Fabric(
        accelerator=device,
        devices=place.local_count,
        num_nodes=place.count // place.local_count,
        strategy="ddp" if place.count > 1 else "auto",
        **({"plugins": Autocast("bf16-mixed", device)} if bf16 else {"precision": "32-true"}),
    )


def have_met() -> bool:
    """Whether this process has met the others of its run."""
    return distributed.is_available() and distributed.is_initialized()


def _check_batches(recipe: Recipe, count: int) -> None:
    for name, training in recipe.trainings().items():
        size = training.batch_size
        if size % count:
            raise RecipeError(
                f"{name}.batch_size: {size} pictures cannot be divided among {count} processes; "
                "name a multiple, or start another number of processes"
            )


@contextmanager
def _loss_told() -> Iterator[None]:
    """Say what a broken connection means."""
    try:
        yield
    except RuntimeError as error:
        # gloo has no class of its own for it.
        if not isinstance(error, distributed.DistError) and "gloo" not in str(error):
            raise
        # Behind a place in gloo's source, and before its good advice.
        line = re.sub(r"^\[[^]]*\] ", "", str(error).strip()).partition("\n")[0].partition(". ")[0]
        raise LostError(
            f"another process of this run has ended or cannot be reached ({line}); see what it "
            "said, and give the same command again: it goes on from what was last saved"
        ) from error
