"""What is wanted of an export, and what its file will say of itself."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from secateur.errors import ExportError
from secateur.export.source import TORCHVISION, Source, source_macs
from secateur.runtimes.description import Description, Precision

Format = Literal["onnx", "openvino", "torch"]
SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "openvino": ".xml", "torch": ".safetensors"}


@dataclass(frozen=True, slots=True)
class Target:
    """What is wanted of an export.

    Attributes:
        format: of the file.
        precision: of its arithmetic; for ``torch``, which computes in single precision, of its
            weights.
        raw: give the network's own outputs, without decoding and NMS, or softmax.
        dynamic_batch: take any number of pictures at once; otherwise one.
        shape: height and width of the pictures of a network that takes them as they are; None
            for any.
        score: least confidence of an object that the file gives; None for the recipe's.
        max_drop: points of the metric that 8 bits may cost.
    """

    format: Format = "onnx"
    precision: Precision = "fp32"
    raw: bool = False
    dynamic_batch: bool = False
    shape: tuple[int, int] | None = None
    score: float | None = None
    max_drop: float = 1.0

    def file_for(self, model: str) -> Path:
        """Where the export of a network goes, if nobody says otherwise: beside its file."""
        if model.startswith(TORCHVISION):
            path = Path(model.removeprefix(TORCHVISION).partition("_Weights")[0].lower())
        else:
            path = Path(model).with_suffix("")
        kind = "plain" if self.format == "torch" else "raw" if self.raw else ""
        parts = [path.name, kind, "" if self.precision == "fp32" else self.precision]
        return path.with_name(".".join(filter(None, parts)) + SUFFIXES[self.format])


def described(source: Source, target: Target) -> Description:
    """Say what the file will be; refuse what does not go together."""
    if target.format == "torch":
        if target.precision == "int8":
            raise ExportError("torch files have no 8 bits here; take --format onnx or openvino")
        if target.raw or target.dynamic_batch or target.shape is not None:
            raise ExportError(
                "a torch file holds the network itself, which takes any batch and has no NMS "
                "inside; leave out --raw, --dynamic-batch and --shape"
            )
        if source.architecture is None:
            raise ExportError(f"{source.name}: is a torch network already; take another --format")
    if source.description.resize and target.shape is not None:
        raise ExportError(
            f"{source.name}: its pictures are resized to {source.description.size} pixels; leave "
            "out --shape"
        )
    side = source.description.least_side
    if target.shape is not None and min(target.shape) < side:
        raise ExportError(
            f"{source.name}: needs pictures of {side} pixels or more; enlarge --shape"
        )
    resized = (source.description.size,) * 2 if source.description.resize else None
    return source.description.model_copy(
        update={
            "outputs": "raw" if target.raw else source.description.outputs,
            "shape": resized or target.shape,
            "batch": None if target.dynamic_batch else 1,
            "precision": target.precision,
            "macs": source_macs(source),
        }
    )


def check_suffix(out: Path, wanted: Format) -> None:
    """Refuse a name that would hide what the file is.

    Raises:
        ExportError: it is so.
    """
    if out.suffix != SUFFIXES[wanted]:
        other = next((f for f, suffix in SUFFIXES.items() if suffix == out.suffix), None)
        cure = f"rename it, or take --format {other}" if other else "rename it"
        raise ExportError(f"{out}: a file of {wanted} ends in {SUFFIXES[wanted]}; {cure}")


def picture_shape(text: str | None) -> tuple[int, int] | None:
    """Read ``HEIGHTxWIDTH``, pixels.

    Raises:
        ExportError: it is none.
    """
    if text is None:
        return None
    height, x, width = text.lower().partition("x")
    if not (x and height.isdecimal() and width.isdecimal()):
        raise ExportError(f"--shape {text}: write height and width in pixels, such as 736x1280")
    return int(height), int(width)
