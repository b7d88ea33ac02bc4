"""Jobs for a network: on each runtime and with each batch size, exported where necessary."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from secateur.benchmark.job import Job
from secateur.benchmark.pictures import picture_batches, random_batch
from secateur.errors import ExportError, ModelError
from secateur.export.table import EXPORTS, write_file
from secateur.files.optional import require
from secateur.inference.predictor import load_file
from secateur.inference.torch_network import TORCHVISION, TorchNetwork
from secateur.runtimes.exported_file import ExportedFile
from secateur.runtimes.header import ExportHeader
from secateur.runtimes.table import RUNTIMES, readers


@dataclass(frozen=True, slots=True)
class Conditions:
    """How networks are measured.

    Attributes:
        runtimes: names from ``RUNTIMES``; each network is measured on those of them that can run
            it. None: the default of its format.
        batches: batch sizes.
        threads: CPU threads; None for one per core.
        shape: height and width of the pictures, pixels, for networks that do not resize them;
            None for their nominal size.
        compiled: compile networks that torch runs.
        seconds: approximate time for each network, runtime and batch size.
        runs: counted runs of each; replaces ``seconds``.
        data: a folder of pictures; None for random bytes.
        seed: of the random bytes.
    """

    runtimes: Sequence[str] = ()
    batches: Sequence[int] = (1,)
    threads: int | None = None
    shape: tuple[int, int] | None = None
    compiled: bool = False
    seconds: float = 10.0
    runs: int | None = None
    data: Path | None = None
    seed: int = 0


def prepare_jobs(name: str, conditions: Conditions, threads: int, folder: Path) -> list[Job]:
    """Load a network and prepare a job for each batch size and runtime.

    Args:
        name: a network file of any format, or ``torchvision:`` and the name of trained weights.
        conditions: how to measure.
        threads: CPU threads.
        folder: where a network that is not exported is written, in single precision, for runtimes
            other than torch; used for no other network.

    Raises:
        ModelError: the network cannot be loaded or run as asked.
        ExportError: the network cannot be exported, or does not take such pictures.
        DataError: the pictures cannot be read.
        MissingExtraError: a runtime is not installed.
    """
    runtimes = runtimes_for(name, conditions.runtimes)
    if name.startswith(TORCHVISION):
        loaded: TorchNetwork | ExportedFile = TorchNetwork.load(name)
    elif readers(Path(name).suffix)[0] == "torch":
        loaded = load_file(Path(name))
    else:
        loaded = load_file(Path(name), runtimes[0])
    header = loaded.header
    if isinstance(loaded, TorchNetwork):
        header = header.model_copy(update={"macs": loaded.macs()})
    shape = shape_for(name, header, conditions.shape)
    jobs = []
    for batch in conditions.batches:
        if isinstance(loaded, ExportedFile):
            check_batch(name, header, batch)
        if conditions.data is not None:
            pictures = picture_batches(conditions.data, shape, batch)
        else:
            pictures = random_batch(shape, batch, conditions.seed)
        for runtime in runtimes:
            torch = runtime == "torch"
            file = None if torch else Path(name)
            if not torch and isinstance(loaded, TorchNetwork):
                exported = header.model_copy(update={"shape": shape, "batch": batch})
                file = _export(loaded, exported, runtime, folder)
            compiled = torch and conditions.compiled
            jobs.append(Job(name, header, runtime, file, compiled, threads, pictures))
    return jobs


def runtimes_for(name: str, wanted: Sequence[str]) -> tuple[str, ...]:
    """Return those of the wanted runtimes that can run a network, or its format's default.

    Raises:
        ModelError: none of them can.
        MissingExtraError: one is not installed.
    """
    suffix = "" if name.startswith(TORCHVISION) else Path(name).suffix
    able = readers(suffix)
    if able[0] == "torch":  # the others run an export of it
        able = tuple(RUNTIMES)
    chosen = tuple(each for each in dict.fromkeys(wanted) if each in able) or able[:1]
    if wanted and chosen[0] not in wanted:
        raise ModelError(
            f"{name}: runs on {' or '.join(able)} only; add --runtime {able[0]} or leave it out"
        )
    for runtime in chosen:
        require(RUNTIMES[runtime].package)
    return chosen


def shape_for(name: str, header: ExportHeader, wanted: tuple[int, int] | None) -> tuple[int, int]:
    """Return the height and width of the pictures that a network gets, pixels.

    Args:
        name: of the network, for errors.
        header: of the network.
        wanted: by the user; None for the nominal size.

    Raises:
        ExportError: the network does not take such pictures.
    """
    if header.shape is not None or header.resize:
        fixed = header.shape or (header.size, header.size)
        if wanted not in (None, fixed):
            raise ExportError(
                f"{name}: takes pictures of {fixed[0]} by {fixed[1]} pixels only; leave out "
                "--shape, or measure this network in another benchmark"
            )
        return fixed
    height, width = wanted or (max(header.size, header.least_side),) * 2
    if min(height, width) < header.least_side:
        raise ExportError(
            f"{name}: needs pictures of at least {header.least_side} pixels; enlarge --shape"
        )
    return height, width


def check_batch(name: str, header: ExportHeader, batch: int) -> None:
    """Check that an exported file takes a batch size.

    Raises:
        ModelError: it takes another.
    """
    takes = header.batch
    if takes not in (None, batch):
        raise ModelError(
            f"{name}: takes batches of {takes}, not of {batch}; export it with --dynamic-batch, or "
            "leave out --batch"
        )


def _export(network: TorchNetwork, header: ExportHeader, runtime: str, folder: Path) -> Path:
    """Export to the first format that a runtime reads, unless it is already done."""
    suffixes = RUNTIMES[runtime].suffixes
    name = next((n for n, each in EXPORTS.items() if each.suffix in suffixes), None)
    if name is None:
        raise ExportError(
            f"{network.name}: no export format that {runtime} reads; measure an exported file"
        )
    path = folder / f"{header.batch}{EXPORTS[name].suffix}"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_file(network, path, name, header)
    return path
