"""The benchmark: networks measured side by side on the CPU, on one or several runtimes."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import torch

from secateur.benchmark.job import Job
from secateur.benchmark.memory import Memory
from secateur.benchmark.pictures import RANDOM
from secateur.benchmark.preparation import Conditions, prepare_jobs
from secateur.benchmark.timing import (
    Taken,
    Times,
    runs_by_round,
    runs_within,
    take_turns,
    times_of,
)
from secateur.benchmark.worker import running
from secateur.errors import ModelError
from secateur.files.progress import Bar, no_bar
from secateur.run.context import provenance
from secateur.runtimes.header import Precision
from secateur.runtimes.table import RUNTIMES


@dataclass(frozen=True, slots=True)
class Measurement:
    """One network on one runtime with one batch size.

    Attributes:
        model: the network's name, as the user gave it.
        runtime: what ran it, a name from ``RUNTIMES``.
        compiled: whether torch compiled it.
        precision: of the arithmetic.
        batch: pictures per batch.
        shape: height and width of the pictures, pixels.
        macs: multiply-adds for one picture of the nominal size; None if an exported file does not
            say.
        network: from bytes to raw outputs; None for a classifier.
        whole: to objects after NMS, or to probabilities; None for a file with raw outputs.
        pictures_per_second: at the median of ``whole``, or else of ``network``.
        memory: peak of the whole; None if the operating system does not report it.
        compared_with: index of the measurement that the ratios below refer to: the first network
            with this batch size on this runtime or, if it does not run there, on its first.
        network_times_faster: ratio of medians; None if either is missing.
        whole_times_faster: ratio of medians; None if either is missing.
        times_fewer_macs: ratio of MACs; None if either is missing.
    """

    model: str
    runtime: str
    compiled: bool
    precision: Precision
    batch: int
    shape: tuple[int, int]
    macs: int | None
    network: Times | None
    whole: Times | None
    pictures_per_second: float
    memory: Memory | None
    compared_with: int = 0
    network_times_faster: float | None = None
    whole_times_faster: float | None = None
    times_fewer_macs: float | None = None


@dataclass(frozen=True, slots=True)
class Benchmark:
    """The result of a benchmark.

    Attributes:
        measurements: one for each network, runtime and batch size.
        threads: CPU threads of each process.
        pictures: what the networks ran on, in words.
        seed: of random pictures.
        made_by: versions, machine and date.
    """

    measurements: list[Measurement]
    threads: int
    pictures: str
    seed: int
    made_by: dict[str, Any]


def benchmark(
    models: Sequence[str],
    conditions: Conditions = Conditions(),  # noqa: B008 # immutable
    bar: Bar = no_bar,
) -> Benchmark:
    """Measure networks side by side on the CPU.

    Each network, runtime and batch size has its own process. The processes take turns in short
    bursts, so that other load on the machine affects all alike; medians are compared. A script
    must call this under ``if __name__ == "__main__"``, because the processes import the script.

    Args:
        models: network files of any format, and ``torchvision:`` with names of trained weights. A
            network that is not exported is exported in single precision for runtimes other than
            torch.
        conditions: runtimes, batch sizes, threads, pictures and duration.
        bar: shows progress.

    Raises:
        ModelError: a network cannot be loaded or run as asked; the message names it.
        ExportError: a network cannot be exported, or does not take such pictures.
        DataError: the pictures cannot be read.
        MissingExtraError: a runtime is not installed.
    """
    threads = conditions.threads or torch.get_num_threads()
    jobs: list[Job] = []
    with tempfile.TemporaryDirectory() as folder:
        with bar("preparing", len(models)) as advance:
            for number, name in enumerate(models):
                jobs += prepare_jobs(name, conditions, threads, Path(folder, str(number)))
                advance(1)
        if conditions.compiled and not any(job.compiled for job in jobs):
            raise ModelError("--compile: torch runs none of these networks; leave it out")
        order = list(dict.fromkeys(job.runtime for job in jobs))
        jobs.sort(key=lambda job: (len(job.pictures[0]), order.index(job.runtime)))
        memories, taken = _timed(jobs, conditions, bar)
    measured = [_measurement(*each) for each in zip(jobs, memories, taken, strict=True)]
    origin = f"pictures of {conditions.data}" if conditions.data else RANDOM
    return Benchmark(compared(measured), threads, origin, conditions.seed, _made_by(measured))


def compared(measured: Sequence[Measurement]) -> list[Measurement]:
    """Give each measurement its ratios to the first network's with the same batch size.

    That is the first network on the same runtime or, if it does not run there, on its first.
    """
    found = []
    for each in measured:
        first = [
            (other.runtime == each.runtime, -place)
            for place, other in enumerate(measured)
            if other.batch == each.batch and other.model == measured[0].model
        ]
        place = -max(first)[1]
        other = measured[place]
        found.append(
            replace(
                each,
                compared_with=place,
                network_times_faster=_ratio(other.network, each.network),
                whole_times_faster=_ratio(other.whole, each.whole),
                times_fewer_macs=other.macs / each.macs if other.macs and each.macs else None,
            )
        )
    return found


def batch_sizes(text: str) -> list[int]:
    """Parse batch sizes such as ``1,8``.

    Raises:
        ModelError: the text has another form.
    """
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) for part in parts):
        raise ModelError(f"--batch {text}: write batch sizes, such as 1 or 1,8")
    return sorted(set(map(int, parts)))


def _timed(
    jobs: Sequence[Job], conditions: Conditions, bar: Bar
) -> tuple[list[Memory | None], list[Taken]]:
    """Run each job in its own process."""
    runs = conditions.runs
    with running(jobs) as workers:
        memories = []
        with bar("starting", len(jobs)) as advance:
            for worker in workers:
                memories.append(worker.loaded())
                advance(1)
        plans = []
        with bar("warming up", len(jobs)) as advance:
            for worker in workers:
                once = worker.warm_up()
                plans.append(
                    runs_within(conditions.seconds, once) if runs is None else runs_by_round(runs)
                )
                advance(1)
        with bar("measuring", len(jobs) * len(plans[0])) as advance:
            taken = take_turns([worker.burst for worker in workers], plans, advance)
    return memories, taken


def _measurement(job: Job, memory: Memory | None, taken: Taken) -> Measurement:
    batch, _, height, width = job.pictures[0].shape
    times = {part: times_of(seconds) for part, seconds in taken.items()}
    network, whole = times.get("network"), times.get("whole")
    used = whole or network
    assert used is not None  # noqa: S101 # every network has at least one part
    return Measurement(
        model=job.model,
        runtime=job.runtime,
        compiled=job.compiled,
        precision=job.header.precision,
        batch=batch,
        shape=(height, width),
        macs=job.header.macs,
        network=network,
        whole=whole,
        pictures_per_second=1000 * batch / used.median,
        memory=memory,
    )


def _ratio(before: Times | None, after: Times | None) -> float | None:
    return before.median / after.median if before and after else None


def _made_by(measured: Sequence[Measurement]) -> dict[str, Any]:
    made_by, distributions = provenance(), packages_distributions()
    for runtime in {each.runtime for each in measured}:
        # Several distributions provide one package, such as onnxruntime-gpu.
        package = RUNTIMES[runtime].package.partition(".")[0]
        made_by["versions"][runtime] = version(distributions[package][0])
    return made_by
