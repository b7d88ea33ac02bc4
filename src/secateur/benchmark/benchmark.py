"""Networks timed side by side, each on the runtimes that are to run it."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import torch

from secateur.benchmark.job import Job
from secateur.benchmark.memory import Memory
from secateur.benchmark.pictures import RANDOM, picture_batches, random_batch
from secateur.benchmark.rounds import Taken, runs_by_round, runs_within, take_turns
from secateur.benchmark.subject import Subject, load_subject
from secateur.benchmark.times import Times, times_of
from secateur.benchmark.worker import running
from secateur.errors import ModelError
from secateur.export.target import Target
from secateur.export.writing import write_file
from secateur.files.progress import Bar, no_bar
from secateur.run.run import provenance
from secateur.runtimes.description import Precision
from secateur.runtimes.session import Pictures
from secateur.runtimes.table import Runtime


@dataclass(frozen=True, slots=True)
class Measurement:
    """One network on one runtime with one size of batch.

    Attributes:
        model: as the user named it.
        runtime: what ran it.
        compiled: whether torch compiled it.
        precision: of its arithmetic.
        batch: pictures at once.
        shape: height and width of them, pixels.
        macs: multiply-adds for one picture of the nominal size; None of an exported file that
            does not tell.
        network: from bytes to raw outputs; None of a classifier.
        whole: to objects behind NMS, or to probabilities; None of a file with raw outputs.
        pictures_per_second: of the whole, or else of the network, at its median.
        memory: that the whole took; None where the system does not tell.
        compared_with: place of the measurement that the following refer to, from 0: the first
            network's on this runtime, or else its first; with this size of batch.
        network_times_faster: by medians; None where either has none.
        whole_times_faster: likewise.
        times_fewer_macs: likewise.
    """

    model: str
    runtime: Runtime
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
    """What was measured, and how.

    Attributes:
        measurements: one for each network, runtime and size of batch.
        threads: of each process.
        pictures: what the networks were given, in words.
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
    runtimes: Sequence[Runtime] = (),
    batches: Sequence[int] = (1,),
    threads: int | None = None,
    *,
    shape: tuple[int, int] | None = None,
    compiled: bool = False,
    seconds: float = 10.0,
    runs: int | None = None,
    data: Path | None = None,
    seed: int = 0,
    bar: Bar = no_bar,
) -> Benchmark:
    """Time networks on the processor.

    Each network, runtime and size of batch has a process of its own. They take turns in short
    bursts, so that what else the machine does falls on all of them, and medians are compared. A
    script that calls this must do so under ``if __name__ == "__main__"``, for the processes import
    it.

    Args:
        models: network files of any format, and ``torchvision:`` with names of trained weights.
            For ONNX Runtime and OpenVINO, a network that is not exported is, for the time of the
            measurement, in single precision.
        runtimes: each network is measured on those that can run it; none for its format's own.
        batches: pictures at once.
        threads: of the processor; None for one a core.
        shape: height and width of the pictures, for networks that take them as they are; None for
            their nominal size. Pixels.
        compiled: have torch compile what it runs.
        seconds: for each network, runtime and size of batch, about.
        runs: that are counted of each; instead of ``seconds``.
        data: a folder of pictures; None for random bytes.
        seed: of those.
        bar: shows progress.

    Raises:
        ModelError: a network cannot be loaded or run as asked; the message names it.
        ExportError: one cannot be exported.
        DataError: the pictures cannot be read.
        MissingExtraError: a runtime is not installed.
    """
    threads = threads or torch.get_num_threads()
    with bar("loading", len(models)) as advance:
        subjects = []
        for name in models:
            subjects.append(load_subject(name, runtimes))
            advance(1)
    _check(subjects, batches, shape, compiled)
    with tempfile.TemporaryDirectory() as folder:
        cases: list[tuple[Subject, Job]] = []
        with bar("preparing", len(batches) * len(subjects)) as advance:
            for batch in batches:
                for subject in subjects:
                    sides = subject.shape(shape)
                    pictures = (
                        picture_batches(data, sides, batch)
                        if data
                        else random_batch(sides, batch, seed)
                    )
                    file = Path(folder, f"{len(cases)}.onnx")
                    jobs = _jobs(subject, pictures, threads, compiled, file)
                    cases.extend((subject, job) for job in jobs)
                    advance(1)
        order = list(dict.fromkeys(job.runtime for _, job in cases))
        cases.sort(key=lambda case: (len(case[1].pictures[0]), order.index(case[1].runtime)))
        memories, taken = _timed([job for _, job in cases], seconds, runs, bar)
    measured = [
        _measurement(subject, job, memory, own)
        for (subject, job), memory, own in zip(cases, memories, taken, strict=True)
    ]
    origin = f"pictures of {data}" if data else RANDOM
    return Benchmark(compared(measured), threads, origin, seed, _made_by(measured))


def compared(measured: Sequence[Measurement]) -> list[Measurement]:
    """Give each measurement its ratios to that of the first network.

    That is the one on the same runtime, or where there is none the first of all; with batches of
    the same size.
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
    """Read ``1,8``.

    Raises:
        ModelError: it is not so.
    """
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) for part in parts):
        raise ModelError(f"--batch {text}: write numbers of pictures, such as 1 or 1,8")
    return sorted(set(map(int, parts)))


def _check(
    subjects: Sequence[Subject],
    batches: Sequence[int],
    shape: tuple[int, int] | None,
    compiled: bool,
) -> None:
    """Refuse what cannot be measured, before hours of it are."""
    for subject in subjects:
        subject.shape(shape)
        for batch in batches:
            subject.check_batch(batch)
    if compiled and not any("torch" in subject.runtimes for subject in subjects):
        raise ModelError("--compile: torch runs none of these networks; leave it out")


def _jobs(
    subject: Subject, pictures: list[Pictures], threads: int, compiled: bool, file: Path
) -> list[Job]:
    """One for each runtime of a network; writes ``file`` if one needs it."""
    exported = Path(subject.name)
    if subject.source is not None and set(subject.runtimes) != {"torch"}:
        batch, _, height, width = pictures[0].shape
        description = subject.description.model_copy(
            update={"shape": (height, width), "batch": batch}
        )
        write_file(subject.source, file, Target("onnx"), description)
        exported = file
    return [
        Job(subject.name, runtime, None, compiled, threads, pictures)
        if runtime == "torch"
        else Job(subject.name, runtime, exported, False, threads, pictures)
        for runtime in subject.runtimes
    ]


def _timed(
    jobs: Sequence[Job], seconds: float, runs: int | None, bar: Bar
) -> tuple[list[Memory | None], list[Taken]]:
    """Run all jobs, each in a process of its own."""
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
                plans.append(runs_within(seconds, once) if runs is None else runs_by_round(runs))
                advance(1)
        with bar("measuring", len(jobs) * len(plans[0])) as advance:
            taken = take_turns([worker.burst for worker in workers], plans, advance)
    return memories, taken


def _measurement(subject: Subject, job: Job, memory: Memory | None, taken: Taken) -> Measurement:
    batch, _, height, width = job.pictures[0].shape
    times = {part: times_of(seconds) for part, seconds in taken.items()}
    network, whole = times.get("network"), times.get("whole")
    used = whole or network
    assert used is not None  # noqa: S101 # every network has one part at least
    return Measurement(
        model=job.model,
        runtime=job.runtime,
        compiled=job.compiled,
        precision=subject.description.precision,
        batch=batch,
        shape=(height, width),
        macs=subject.macs,
        network=network,
        whole=whole,
        pictures_per_second=1000 * batch / used.median,
        memory=memory,
    )


def _ratio(before: Times | None, after: Times | None) -> float | None:
    return before.median / after.median if before and after else None


def _made_by(measured: Sequence[Measurement]) -> dict[str, Any]:
    made_by, packages = provenance(), packages_distributions()
    for runtime in {each.runtime for each in measured}:
        # onnxruntime comes in onnxruntime-gpu and others too.
        made_by["versions"][runtime] = version(packages[runtime][0])
    return made_by
