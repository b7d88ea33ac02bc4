"""The target of an export: its format, its precision and its options."""

from dataclasses import dataclass
from pathlib import Path

from secateur.errors import ExportError
from secateur.export.table import EXPORTS
from secateur.files.arguments import check_fields
from secateur.inference.torch_network import TORCHVISION, TorchNetwork
from secateur.runtimes.header import ExportHeader


@dataclass(frozen=True, slots=True)
class Target:
    """What to export to.

    Attributes:
        format: a name from ``EXPORTS``.
        precision: of the arithmetic; of the weights alone in a file of format ``torch``.
        raw: give the network's own outputs, without decoding and NMS, or without softmax.
        dynamic_batch: take any number of pictures per batch; otherwise one.
        shape: height and width of the pictures, of a network that does not resize them; None for
            any size.
        score: score threshold inside the file; None for the recipe's.
        max_drop: points of the metric that int8 may lose.
    """

    format: str = "onnx"
    precision: str = "fp32"
    raw: bool = False
    dynamic_batch: bool = False
    shape: tuple[int, int] | None = None
    score: float | None = None
    max_drop: float = 1.0

    def __post_init__(self) -> None:
        check_fields(self)

    def file_for(self, model: str) -> Path:
        """Return the default path of a network's export: next to the network's file."""
        if model.startswith(TORCHVISION):
            path = Path(model.removeprefix(TORCHVISION).partition("_Weights")[0].lower())
        else:
            path = Path(model).with_suffix("")
        kind = EXPORTS[self.format]
        # A file of weights has the suffix of the network's own file.
        variant = "raw" if self.raw else "" if kind.traced else "plain"
        precision = "" if self.precision == "fp32" else self.precision
        return path.with_name(".".join(filter(None, (path.name, variant, precision))) + kind.suffix)


def export_header(network: TorchNetwork, target: Target) -> ExportHeader:
    """Return the header of the exported file.

    Raises:
        ExportError: the network cannot be exported to this target.
    """
    _check(network, target)
    own = network.header
    return own.model_copy(
        update={
            "outputs": "raw" if target.raw else own.outputs,
            "shape": (own.size, own.size) if own.resize else target.shape,
            "batch": None if target.dynamic_batch else 1,
            "precision": target.precision,
            "macs": network.macs(),
        }
    )


def _check(network: TorchNetwork, target: Target) -> None:
    kind, own = EXPORTS.get(target.format), network.header
    if kind is None:
        raise ExportError(f"no such format: {target.format}; use one of {', '.join(EXPORTS)}")
    if target.precision not in kind.precisions:
        able = [name for name, each in EXPORTS.items() if target.precision in each.precisions]
        raise ExportError(
            f"the format {target.format} has no {target.precision}; use --format "
            f"{' or '.join(able)}"
        )
    if not kind.traced:
        if target.raw or target.dynamic_batch or target.shape is not None:
            raise ExportError(
                f"a file of format {target.format} contains the network alone, which takes any "
                "batch and has no NMS; leave out --raw, --dynamic-batch and --shape"
            )
        if network.architecture is None:
            raise ExportError(
                f"{network.name}: secateur did not build this network and cannot write it as "
                f"{target.format}; use another --format"
            )
    if target.shape is not None:
        if own.resize:
            raise ExportError(
                f"{network.name}: its pictures are resized to {own.size} pixels; leave out --shape"
            )
        if min(target.shape) < own.least_side:
            raise ExportError(
                f"{network.name}: needs pictures of at least {own.least_side} pixels; enlarge "
                "--shape"
            )


def check_suffix(out: Path, wanted: str) -> None:
    """Refuse a path whose suffix does not fit the format.

    Raises:
        ExportError: it does not fit.
    """
    suffix = EXPORTS[wanted].suffix
    if out.suffix != suffix:
        other = next((n for n, each in EXPORTS.items() if each.suffix == out.suffix), None)
        cure = f"rename it, or use --format {other}" if other else "rename it"
        raise ExportError(f"{out}: a file of format {wanted} ends in {suffix}; {cure}")


def picture_shape(text: str | None) -> tuple[int, int] | None:
    """Parse ``HEIGHTxWIDTH``, in pixels.

    Raises:
        ExportError: the text has another form.
    """
    if text is None:
        return None
    height, x, width = text.lower().partition("x")
    if not (x and height.isdecimal() and width.isdecimal()):
        raise ExportError(f"--shape {text}: write height and width in pixels, such as 736x1280")
    return int(height), int(width)
