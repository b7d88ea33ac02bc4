"""Collective calls of the processes of one run.

Every process runs the whole program and holds the networks in its own memory. Rank 0 alone looks
up finished steps, decides, writes results and prints. In a step that all processes share, rank 0
starts the others, each with a copy of the step's folder; what they write there is deleted. A
single process is rank 0 of one, and nothing is sent.
"""

import atexit
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins import MixedPrecision
from torch import distributed, nn

from secateur.distributed.rank import SINGLE, Rank, own_rank
from secateur.errors import LostError, RecipeError, RunError

T = TypeVar("T")
# Works in the folder of a step and returns the result of the step.
Work = Callable[[Path], Any]


@dataclass(frozen=True, slots=True)
class _Start:
    """The message of rank 0 that starts shared work: which function, and the step's folder."""

    work: int
    folder: Path


class Processes:
    """The processes of a run, seen from one of them.

    Attributes:
        rank: of this process.
        fabric: device, precision and communication.
        folder: where this process writes: the run's folder on rank 0, elsewhere one that is deleted
            when the process ends.
    """

    def __init__(self, rank: Rank, fabric: Fabric, folder: Path) -> None:
        self.rank = rank
        self.fabric = fabric
        self.folder = folder
        self._shared = False

    @property
    def step_rank(self) -> Rank:
        """The rank in the current step: ``SINGLE`` where rank 0 works alone."""
        return self.rank if self._shared else SINGLE

    @contextmanager
    def one_rank_at_a_time(self) -> Iterator[None]:
        """Run a block on rank 0, then on all other ranks."""
        if self.rank.rank > 0:
            self._wait()
        yield
        if self.rank.rank == 0:
            self._wait()

    def check_same(self, key: str) -> None:
        """Check that all processes have the same recipe and data.

        Args:
            key: fingerprint of both.

        Raises:
            RunError: this process has another key than rank 0.
        """
        if self._broadcast(key) != key:
            raise RunError(
                f"process {self.rank.rank}: its recipe or data differ from those of process 0; "
                "give all processes the same"
            )

    def step(self, do: Callable[..., T], *works: Work, shared: bool) -> T:
        """Do a step on rank 0 and return its result on all ranks.

        Args:
            do: called on rank 0 with ``works``; finds the result or calls some of them.
            works: functions of the step's folder, in the same order on all ranks.
            shared: all processes run the functions that ``do`` calls; otherwise rank 0 alone does.
        """
        if self.rank.rank == 0:
            leading = [self._leading(i, work) for i, work in enumerate(works)]
            return cast(T, self._broadcast(do(*(leading if shared else works))))
        while isinstance(message := self._broadcast(None), _Start):
            copy = self.folder / "steps" / message.folder.name
            shutil.copytree(message.folder, copy)  # with the checkpoint of a resumed training
            self._wait()
            with self._sharing():
                works[message.work](copy)
            shutil.rmtree(copy)
        return cast(T, message)

    def broadcast(self, value: T) -> T:
        """Give rank 0's value, so that rounding cannot make the processes decide differently."""
        return cast(T, self._broadcast(value)) if self._shared else value

    def gather(self, value: T) -> list[T]:
        """Give the values of all processes, in the order of their ranks."""
        values: list[Any] = [value] * self.step_rank.world_size
        if len(values) > 1:
            with _lost_connections_reported():
                distributed.all_gather_object(values, value)
        return values

    def broadcast_model(self, model: nn.Module) -> None:
        """Copy rank 0's weights and buffers into a model, which is on the CPU, of each process."""
        if self.step_rank.world_size > 1:
            model.load_state_dict(self.broadcast(model.state_dict()))

    def _leading(self, index: int, work: Work) -> Work:
        def lead(folder: Path) -> Any:
            self._broadcast(_Start(index, folder))
            self._wait()  # until the others have copied the folder
            with self._sharing():
                return work(folder)

        return lead

    @contextmanager
    def _sharing(self) -> Iterator[None]:
        self._shared = self.rank.world_size > 1
        try:
            with _lost_connections_reported():
                yield
        finally:
            self._shared = False

    def _broadcast(self, value: Any) -> Any:
        with _lost_connections_reported():
            return self.fabric.broadcast(value)

    def _wait(self) -> None:
        with _lost_connections_reported():
            self.fabric.barrier()


def join_processes(folder: Path, batch_sizes: Mapping[str, int], *, bf16: bool) -> Processes:
    """Connect to the other processes if torchrun started several.

    Args:
        folder: the run's folder.
        batch_sizes: of each training, by the name of its recipe section.
        bf16: as for ``open_fabric``.

    Raises:
        RecipeError: the number of processes does not divide a batch size.
        RunError: this machine has fewer GPUs than processes.
    """
    rank = own_rank()
    for name, size in batch_sizes.items():
        if size % rank.world_size:
            raise RecipeError(
                f"{name}.batch_size: {size} is not a multiple of the {rank.world_size} processes; "
                "choose a multiple, or another number of processes"
            )
    gpus = torch.cuda.device_count()
    if 0 < gpus < rank.local_world_size:
        raise RunError(
            f"{rank.local_world_size} processes on a machine with {gpus} GPUs; start one for each"
        )
    if rank.world_size > 1:  # each process would announce itself
        for name in ("lightning.fabric", "lightning.pytorch"):
            logging.getLogger(name).setLevel(logging.WARNING)
    fabric = open_fabric(rank, bf16=bf16)
    if rank.world_size > 1 and "LT_CLI_USED" not in os.environ:  # `fabric run` launches by itself
        with _lost_connections_reported():
            fabric.launch()
    if rank.rank > 0:
        folder = folder / f".process{rank.rank}"
        shutil.rmtree(folder, ignore_errors=True)  # left by a process that was killed
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Processes(rank, fabric, folder)


class Autocast(MixedPrecision):
    """Arithmetic in bfloat16 where autocast uses it; inputs keep their precision.

    Fabric's own plugin rounds all inputs, and therefore boxes in pixels.
    """

    def convert_input(self, data: Any) -> Any:
        """Return the input unchanged."""
        return data


def open_fabric(rank: Rank = SINGLE, *, bf16: bool = False) -> Fabric:
    """Choose the device: an accelerator if there is one; one GPU for each of several processes.

    Args:
        rank: of this process.
        bf16: train in mixed precision, with weights in float32.
    """
    # Several processes cannot share the work on Apple's GPUs.
    apple = rank.world_size == 1 and torch.backends.mps.is_available()
    device = "cuda" if torch.cuda.is_available() else "mps" if apple else "cpu"
    return Fabric(
        accelerator=device,
        devices=rank.local_world_size,
        num_nodes=rank.world_size // rank.local_world_size,
        strategy="ddp" if rank.world_size > 1 else "auto",
        **({"plugins": Autocast("bf16-mixed", device)} if bf16 else {"precision": "32-true"}),
    )


def is_connected() -> bool:
    """Whether this process is connected to the other processes of its run."""
    return distributed.is_available() and distributed.is_initialized()


@contextmanager
def _lost_connections_reported() -> Iterator[None]:
    """Raise ``LostError`` where a connection breaks."""
    try:
        yield
    except RuntimeError as error:
        # gloo raises plain RuntimeErrors.
        if not isinstance(error, distributed.DistError) and "gloo" not in str(error):
            raise
        # Without the position in gloo's source before it and the advice after it.
        line = re.sub(r"^\[[^]]*\] ", "", str(error).strip()).partition("\n")[0].partition(". ")[0]
        raise LostError(
            f"another process of this run has ended or cannot be reached ({line}); see its output, "
            "and give the same command again to resume from the last checkpoint"
        ) from error
