"""A network to measure, and whether it can be measured as asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from secateur.errors import ExportError, ModelError
from secateur.export.source import TORCHVISION, Source, load_source, source_macs
from secateur.files.optional import require
from secateur.inference.predictor import description_of, load_any
from secateur.runtimes.description import Description
from secateur.runtimes.table import RUNTIMES, Runtime

# Its own runtime comes first.
_READERS: dict[str, tuple[Runtime, ...]] = {
    ".onnx": ("onnxruntime", "openvino"),
    ".xml": ("openvino",),
}


@dataclass(frozen=True, slots=True)
class Subject:
    """A network to measure.

    Attributes:
        name: as the user named it.
        description: what it is.
        runtimes: what is to run it.
        macs: multiply-adds for one picture of the nominal size; None of an exported file that
            does not tell.
        source: the network itself; None of an exported file.
    """

    name: str
    description: Description
    runtimes: tuple[Runtime, ...]
    macs: int | None
    source: Source | None

    def shape(self, wanted: tuple[int, int] | None) -> tuple[int, int]:
        """Height and width of the pictures it is given, pixels.

        Args:
            wanted: by the user, of a network that takes pictures as they are; None for its
                nominal size.

        Raises:
            ExportError: it does not take such pictures.
        """
        takes = self.description
        if takes.shape is not None or takes.resize:
            height, width = takes.shape or (takes.size, takes.size)
            if wanted not in (None, (height, width)):
                raise ExportError(
                    f"{self.name}: takes pictures of {height} by {width} pixels only; leave out "
                    "--shape, or measure it alone"
                )
            return height, width
        height, width = wanted or (max(takes.size, takes.least_side),) * 2
        if min(height, width) < takes.least_side:
            raise ExportError(
                f"{self.name}: needs pictures of {takes.least_side} pixels or more; enlarge --shape"
            )
        return height, width

    def check_batch(self, batch: int) -> None:
        """Refuse more pictures at once than an exported file takes.

        Raises:
            ModelError: it is so.
        """
        takes = self.description.batch
        if self.source is None and takes not in (None, batch):
            raise ModelError(
                f"{self.name}: takes {takes} picture{'s' if takes > 1 else ''} at once, not "
                f"{batch}; export it with --dynamic-batch, or leave out --batch"
            )


def load_subject(name: str, wanted: Sequence[Runtime]) -> Subject:
    """Load a network file of any format, or ``torchvision:`` and the name of trained weights.

    Args:
        name: as the user named it.
        wanted: runtimes, of which those that can run it do; none for the format's own.

    Raises:
        ModelError: the file is missing, unreadable or foreign, or none of the runtimes can run it.
        MissingExtraError: a runtime is not installed.
    """
    suffix = "" if name.startswith(TORCHVISION) else Path(name).suffix
    able = _READERS.get(suffix, RUNTIMES)
    runtimes = tuple(each for each in dict.fromkeys(wanted) if each in able) or able[:1]
    if wanted and runtimes[0] not in wanted:
        raise ModelError(
            f"{name}: is run by {' or '.join(able)} only; add --runtime {able[0]} or leave it out"
        )
    for runtime in runtimes:
        require(runtime)
    if suffix in _READERS:
        description = description_of(load_any(Path(name), runtimes[0]))
        return Subject(name, description, runtimes, description.macs, None)
    source = load_source(name)
    return Subject(name, source.description, runtimes, source_macs(source), source)
