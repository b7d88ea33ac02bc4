"""A network written for another runtime, and tried before it is handed over."""

import copy
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torchvision.models.detection.ssd import SSD

from secateur.errors import ExportError, RunError
from secateur.evaluation import NamedPictures, evaluate_network
from secateur.exporting.agreement import (
    Agreement,
    Tolerance,
    compare_detections,
    compare_scores,
)
from secateur.exporting.graph import Classifier, Detector, Graph, RawClassifier, RawDetector
from secateur.exporting.int8 import quantise_onnx, quantise_openvino
from secateur.exporting.openvino_file import read_onnx_as_openvino, write_openvino
from secateur.exporting.pictures import pictures_for
from secateur.exporting.source import TORCHVISION, Source, source_macs
from secateur.exporting.suppression import onnx_translations
from secateur.models.network_file import save_network
from secateur.recipe import Evaluate
from secateur.runtimes.description import Description, Precision
from secateur.runtimes.onnx_file import finish_onnx, write_onnx
from secateur.runtimes.opened import (
    OpenNetwork,
    class_probabilities,
    open_model,
    open_network,
)
from secateur.whole_file import write_json

Format = Literal["onnx", "openvino", "torch"]
FORMATS: tuple[Format, ...] = get_args(Format)
SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "openvino": ".xml", "torch": ".safetensors"}

# Counterparts must be this near; 8 bits are judged by accuracy instead.
TOLERANCES: dict[Precision, Tolerance] = {
    "fp32": Tolerance(pixels=0.5, score=1e-3, share=0.998),
    "fp16": Tolerance(pixels=2.0, score=2e-2, share=0.99),
}
# Pictures that 8 bits are calibrated on.
CALIBRATION = 100

Bar = Callable[[str, int], AbstractContextManager[Callable[..., None]]]


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


@dataclass(frozen=True, slots=True)
class Export:
    """What was written, and how it was found to behave.

    Attributes:
        file: its name.
        bytes: of the file, and of the weights beside it.
        description: what stands in its metadata.
        checked_on: which pictures, in words.
        agreement: with the network it came from; None for 8 bits.
        metric: name of what was measured on annotated pictures, None where it was not.
        before: of the network it came from, percent.
        after: of the export, percent.
    """

    file: str
    bytes: int
    description: dict[str, Any]
    checked_on: str
    agreement: Agreement | None
    metric: str | None = None
    before: float | None = None
    after: float | None = None


def export(
    source: Source,
    out: Path,
    target: Target = Target(),  # it cannot change
    *,
    data: Path | None = None,
    split: str | None = None,
    bar: Bar = lambda _title, _total: nullcontext(lambda *_: None),
) -> Export:
    """Write a network for another runtime, check it, and only then put it in place.

    In single and half precision the objects must have their counterparts among those of the
    network it came from (``TOLERANCES``). With 8 bits the metric on annotated pictures is measured
    instead.

    Args:
        source: the network.
        out: the file to write; beside it, ``out.json`` tells what was found.
        target: what is wanted of it.
        data: a recipe or a folder of annotated pictures; None for the recipe of the run that the
            network's file lies in, or else for drawn pictures.
        split: which of them.
        bar: shows progress.

    Raises:
        ExportError: what is wanted cannot be had, or the export does not do what the network
            does; then nothing is left of it.
        DataError: the pictures cannot be read.
        MissingExtraError: the format needs a package that is not installed.
        RunError: the file cannot be written.
    """
    description = described(source, target)
    _check_suffix(out, target.format)
    pictures = pictures_for(source, description.shape, data, split)
    settings = pictures.named.settings if pictures.named else own_settings(source.model)
    if target.score is not None:
        settings = settings.model_copy(update={"score": target.score})
    if target.precision == "int8" and pictures.named is None:
        raise ExportError(
            f"{source.name}: 8 bits are calibrated on pictures like those it is for; name them by "
            "--data RECIPE or --data FOLDER"
        )
    original = open_model(
        Path(source.name), source.model, source.description, source.mean, source.std, settings
    )
    with _staged(out) as draft:
        with bar(f"writing {out.name}", 1) as advance:
            write_file(source, draft, target, description, pictures.batches)
            advance(1)
        written = open_network(draft, settings=settings)
        size = sum(file.stat().st_size for file in draft.parent.iterdir())
        checked: dict[str, Any]
        if pictures.named and target.precision == "int8":
            checked = _measure(original, written, pictures.named, target.max_drop, out, bar)
        else:
            tolerance = TOLERANCES[target.precision]
            agreement = _compare(original, written, pictures.batches, settings, tolerance, bar)
            checked = {"agreement": agreement}
            if not agreement.within(tolerance):
                raise ExportError(_disagreement(out, agreement, tolerance, pictures.origin))
    result = Export(
        file=out.name,
        bytes=size,
        description=description.model_dump(mode="json"),
        checked_on=pictures.origin,
        **{"agreement": None, **checked},
    )
    write_json(out.with_name(f"{out.name}.json"), asdict(result))
    return result


def write_file(
    source: Source,
    path: Path,
    target: Target,
    description: Description,
    batches: Sequence[Tensor] = (),
) -> None:
    """Write a network as it is wanted, and check nothing.

    Args:
        source: the network.
        path: of the file; an OpenVINO file's weights go beside it.
        target: its format and precision.
        description: goes into its metadata; says which pictures it takes and what it gives.
        batches: pictures, (1, 3, H, W) uint8 each, to calibrate 8 bits on.

    Raises:
        ExportError: torch cannot trace the network.
        MissingExtraError: the format needs a package that is not installed.
    """
    model = copy.deepcopy(source.model)
    half = target.precision == "fp16"
    if target.format == "torch":
        save_network(
            path,
            model.half() if half else model,
            source.architecture,
            description.provenance,
        )
        return
    with tempfile.TemporaryDirectory() as folder:
        single, eight = Path(folder, "single.onnx"), Path(folder, "eight.onnx")
        # OpenVINO halves the weights itself, and computes in what the processor does best.
        graph = _graph(source, model, description, half and target.format == "onnx")
        example, free = _example(description)
        write_onnx(single, graph, graph.outputs, example, free, onnx_translations())
        calibration = [pixels.numpy() for pixels in batches[:CALIBRATION]]
        if target.format == "openvino":
            network = read_onnx_as_openvino(single)
            if target.precision == "int8":
                network = quantise_openvino(network, calibration)
            write_openvino(path, network, description, graph.inner)
            return
        if target.precision == "int8":
            quantise_onnx(single, eight, calibration)
            single = eight
        finish_onnx(single, path, description, graph.inner)


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


def own_settings(model: nn.Module) -> Evaluate:
    """The scores and NMS that a torchvision SSD carries; the defaults for any other network."""
    if not isinstance(model, SSD):
        return Evaluate()
    return Evaluate(
        score=model.score_thresh,
        nms=model.nms_thresh,
        candidates=model.topk_candidates,
        boxes=model.detections_per_img,
    )


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
            f"{source.name}: its pictures are squeezed to {source.description.size} pixels; leave "
            "out --shape"
        )
    side = source.description.least_side
    if target.shape is not None and min(target.shape) < side:
        raise ExportError(
            f"{source.name}: needs pictures of {side} pixels or more; enlarge --shape"
        )
    squeezed = (source.description.size,) * 2 if source.description.resize else None
    return source.description.model_copy(
        update={
            "outputs": "raw" if target.raw else source.description.outputs,
            "shape": squeezed or target.shape,
            "batch": None if target.dynamic_batch else 1,
            "precision": target.precision,
            "macs": source_macs(source),
        }
    )


def _check_suffix(out: Path, wanted: Format) -> None:
    if out.suffix != SUFFIXES[wanted]:
        raise ExportError(f"{out}: a file of {wanted} ends in {SUFFIXES[wanted]}; rename it")


def _graph(source: Source, model: nn.Module, description: Description, half: bool) -> Graph:
    raw = description.outputs == "raw"
    if isinstance(model, SSD):
        return (RawDetector if raw else Detector)(model, description.shape, half)
    return (RawClassifier if raw else Classifier)(model, source.mean, source.std, half)


def _example(description: Description) -> tuple[Tensor, dict[int, Any]]:
    """Pictures to trace with, and which of their dimensions are free."""
    free = torch.export.Dim.DYNAMIC
    dims: dict[int, Any] = {} if description.batch else {0: free}
    # What is free must differ, and must not be 1, or the trace would take it for fixed or equal.
    height, width = description.shape or (0, 0)
    if description.shape is None:
        height = max(description.size, description.least_side)
        width = height + 40
        dims |= {2: free, 3: free}
    return torch.zeros(description.batch or 2, 3, height, width, dtype=torch.uint8), dims


def _compare(
    original: OpenNetwork,
    written: OpenNetwork,
    batches: Sequence[Tensor],
    settings: Evaluate,
    tolerance: Tolerance,
    bar: Bar,
) -> Agreement:
    """Run both on the same pictures."""
    ours: list[Any] = []
    theirs: list[Any] = []
    with bar("checking", len(batches)) as advance:
        for pixels in batches:
            for network, answers in ((original, ours), (written, theirs)):
                find = network.find
                answers.extend(find(pixels) if find else [class_probabilities(network, pixels)])
            advance(1)
    if original.find is None:
        return compare_scores(torch.cat(ours), torch.cat(theirs), tolerance)
    return compare_detections(ours, theirs, tolerance, least=settings.score, most=settings.boxes)


def _measure(
    original: OpenNetwork,
    written: OpenNetwork,
    named: NamedPictures,
    max_drop: float,
    out: Path,
    bar: Bar,
) -> dict[str, Any]:
    """Measure both on annotated pictures; refuse the export where it lost too much."""
    metric = named.settings.metric if original.find else "top1"
    values = []
    for network, title in ((original, "measuring fp32"), (written, "measuring int8")):
        with bar(title, len(named.pictures)) as advance:
            values.append(evaluate_network(network, named, advance).metrics[metric])
    before, after = values
    if before is not None and after is not None and before - after > max_drop:
        raise ExportError(
            f"{out}: not written: {metric} on {named.split} is {after:.2f} with 8 bits and "
            f"{before:.2f} without; allow more by --max-drop, or take --precision fp16"
        )
    return {"metric": metric, "before": before, "after": after}


def _disagreement(out: Path, found: Agreement, tolerance: Tolerance, origin: str) -> str:
    apart = f"{tolerance.pixels:g} pixels and {tolerance.score:g} of score"
    return (
        f"{out}: not written: on {origin}, {found.objects - found.matched} of {found.objects} "
        f"answers lie further than {apart} from those of the network; take --precision fp32, or "
        "if that is it, report the network to us"
    )


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """Give a path in a folder of its own beside ``out``; move all of it there at the end."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=out.parent) as folder:
            draft = Path(folder, out.name)
            yield draft
            # The file that names the others comes last.
            for file in sorted(Path(folder).iterdir(), key=lambda file: file == draft):
                file.replace(out.with_name(file.name))
    except OSError as error:
        raise RunError(f"{out}: cannot be written ({error.strerror}); make room there") from error
