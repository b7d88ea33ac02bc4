"""A job: one network on one runtime with one batch size, measured in its own process."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection.ssd import SSD

from secateur.benchmark.timing import Part
from secateur.errors import ModelError
from secateur.export.graph import export_graph
from secateur.inference.torch_network import TorchNetwork
from secateur.runtimes.exported_file import ExportedFile, Pictures
from secateur.runtimes.header import ExportHeader
from secateur.runtimes.table import open_file
from secateur.tasks.detection.outputs import RawOutputs
from secateur.tasks.detection.postprocessing import PostprocessSettings, postprocess

# Runs a part once on pictures that ``pictures_for`` returned.
Run = Callable[[Any], object]


@dataclass(frozen=True, slots=True)
class Job:
    """All that a process needs to know.

    Attributes:
        model: the network's name, as the user gave it.
        header: of the network or its exported file.
        runtime: what runs it, a name from ``RUNTIMES``.
        file: the exported file; None if torch runs the network itself.
        compiled: whether torch compiles it.
        threads: CPU threads.
        pictures: batches, used in turn.
    """

    model: str
    header: ExportHeader
    runtime: str
    file: Path | None
    compiled: bool
    threads: int
    pictures: list[Pictures]

    def __str__(self) -> str:
        """Return the name for messages."""
        batch = len(self.pictures[0])
        return f"{self.model} on {self.runtime}" + (f" in batches of {batch}" if batch > 1 else "")


def pictures_for(job: Job) -> list[Any]:
    """Return the batches in the form that the runtime takes."""
    if job.file is not None:
        return list(job.pictures)
    form = torch.channels_last
    return [torch.from_numpy(each).contiguous(memory_format=form) for each in job.pictures]


def parts(job: Job) -> Iterator[tuple[Part, Run]]:
    """Load the parts of a network one by one, first the part that users run.

    Raises:
        SecateurError: a part cannot be loaded.
    """
    return _parts_in_torch(job) if job.file is None else _parts_of_file(job, job.file)


def _parts_of_file(job: Job, path: Path) -> Iterator[tuple[Part, Run]]:
    file = open_file(path, job.runtime, job.threads)
    assert isinstance(file, ExportedFile)  # noqa: S101 # torch's jobs have no file
    if file.header.outputs == "raw":
        yield "network", file.run
        return
    yield "whole", file.run
    if file.header.outputs == "objects" and (network := file.load_network()) is not None:
        yield "network", network


def _parts_in_torch(job: Job) -> Iterator[tuple[Part, Run]]:
    torch.set_num_threads(job.threads)
    loaded = TorchNetwork.load(job.model)
    ssd = loaded.model
    height, width = job.pictures[0].shape[-2:]
    wanted = {"outputs": "raw"} if isinstance(ssd, SSD) else {}
    header = loaded.header.model_copy(update={"shape": (height, width), **wanted})
    # Channels-last is much faster for SSD300 in single precision (measured).
    graph = export_graph(loaded, header).eval().to(memory_format=torch.channels_last)
    run = _compiled(graph, job) if job.compiled else graph

    def network(pictures: Tensor) -> Any:
        with torch.inference_mode():
            return run(pictures)

    if not isinstance(ssd, SSD):
        yield "whole", network
        return

    def whole(pictures: Tensor) -> object:
        logits, offsets, boxes = network(pictures)
        return postprocess(
            RawOutputs(logits, offsets, boxes), (height, width), PostprocessSettings.of(ssd)
        )

    yield "whole", whole
    yield "network", network


def _compiled(graph: torch.nn.Module, job: Job) -> Callable[[Tensor], Any]:
    # Worker processes would outlive the compilation and count as memory.
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    compiled: Callable[[Tensor], Any] = torch.compile(graph)
    try:
        with torch.inference_mode():
            compiled(pictures_for(job)[0])
    except Exception as error:  # torch raises many classes here
        reason = next(filter(None, str(error).splitlines()), type(error).__name__)[:200]
        raise ModelError(
            f"{job.model}: torch.compile fails ({reason}); it needs a C++ compiler, such as g++; "
            "install one, or leave out --compile"
        ) from None
    return compiled
