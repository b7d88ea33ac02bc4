"""The recipe: what to compress, with which data, how far. Validated on load.

A recipe is a YAML file, without merge keys. Every key is known, typed and described here; an
unknown one is an error that names the nearest known key.
"""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from secateur.errors import RecipeError
from secateur.files.safe_yaml import parse_yaml

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Metric = Literal["AP50_area", "AP50_voc07", "AP_coco", "top1"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Augmentation(_Section):
    """How a detector's training pictures are varied."""

    photometric: bool = Field(True, description="distort light, contrast, saturation and hue")
    expand: Annotated[float, Field(ge=1)] = Field(
        4.0,
        description="largest canvas a picture is laid on, in its own sides; 1: never; not at "
        "native resolution",
    )
    crop: bool = Field(
        True,
        description="SSD's crops with some least overlap with the objects; at native resolution "
        "there are always crops, of the model's size",
    )
    flip: bool = Field(True, description="mirror half; false where left and right differ")
    zoom: Annotated[float, Field(ge=1)] = Field(
        1.25,
        description="native resolution: largest factor a crop is enlarged or reduced by; a picture "
        "smaller than size is enlarged to it",
    )


class DetectionData(_Section):
    """Pictures with boxes around their objects, for a detector."""

    format: Literal["voc", "coco", "yolo", "gtsdb", "signs"] = Field(
        description="layout of the folder; signs is drawn, and needs none"
    )
    root: Path = Field(description="the folder; relative to where the command runs")
    train: str = Field("train", description="name of the split to learn from")
    test: str | None = Field(
        "test", description="name of the split that is read once, at the end; null: none"
    )
    classes: tuple[str, ...] | Literal["43", "super", "sign"] | None = Field(
        None,
        description="names, in the order of the outputs; null: those of the data, for voc the 20 "
        "of Pascal VOC; for gtsdb 43, super (4 categories) or sign (1)",
    )
    validation: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.15, description="share of the training pictures that is kept for validation"
    )
    resize: bool = Field(
        True,
        description="true: pictures are resized to the model's size; false: training takes crops "
        "of that size, and evaluation whole pictures, at native resolution",
    )
    augmentation: Augmentation = Augmentation()
    workers: Annotated[int, Field(ge=0)] = Field(2, description="processes that load pictures")

    @model_validator(mode="after")
    def _classes_fit(self) -> Self:
        if isinstance(self.classes, str) != (self.format == "gtsdb" and self.classes is not None):
            raise ValueError("classes is 43, super or sign for gtsdb, and a list for the others")
        if isinstance(self.classes, tuple) and len(set(self.classes)) < len(self.classes):
            raise ValueError("classes names a class twice")
        return self


class ClassAugmentation(_Section):
    """How a classifier's training pictures are varied, each by chances of its own."""

    flip: bool = Field(True, description="mirror half; false where left and right differ")
    shift: Share = Field(0.1, description="largest move along each axis, in sides of the picture")
    zoom: Annotated[float, Field(ge=1)] = Field(
        1.1, description="largest factor a picture is enlarged or reduced by"
    )
    rotate: Annotated[float, Field(ge=0, le=180)] = Field(
        0.0, description="largest turn either way, degrees"
    )
    light: Share = Field(0.2, description="largest relative change of brightness and of contrast")


class ClassificationData(_Section):
    """Pictures of one object each, for a classifier; all are held in memory as bytes.

    Frames of one scene that are parted between training and validation flatter the latter.
    """

    format: Literal["folders", "cifar10", "gtsrb"] = Field(
        description="folders: SPLIT/CLASS/picture; the others are data sets in their own layouts"
    )
    root: Path = Field(description="the folder; relative to where the command runs")
    train: str = Field("train", description="name of the split to learn from")
    test: str | None = Field(
        "test", description="name of the split that is read once, at the end; null: none"
    )
    classes: tuple[str, ...] | None = Field(
        None, description="all names, in the order of the outputs; digits in quotes; null: sorted"
    )
    validation: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.15, description="share of the training pictures that is kept for validation"
    )
    augmentation: ClassAugmentation = ClassAugmentation()


class SSDModel(_Section):
    """An SSD detector."""

    network: Literal["ssd300", "ssd512"] = Field("ssd300", description="extra layers behind VGG16")
    size: Annotated[int, Field(ge=32)] | None = Field(
        None, description="side of the input, pixels; null: the network's own, 300 or 512"
    )
    widths: Annotated[float, Field(gt=0, le=4)] | dict[str, Count] = Field(
        1.0, description="share of the full number of filters, or filters by layer"
    )
    batch_norm: bool = Field(
        False, description="batch norm behind every convolution of the backbone"
    )
    detection_layers: Count | None = Field(
        None, description="keep only the first k and drop every layer behind; null: all"
    )
    scales: tuple[Positive, ...] | None = Field(
        None,
        description="default box size of each detection layer and one more, shares of size; null: "
        "SSD's own",
    )
    aspect_ratios: tuple[tuple[int, ...], ...] | None = Field(
        None,
        description="of the default boxes of each detection layer, beside 1; null: SSD's own",
    )
    mean: tuple[Share, Share, Share] | None = Field(
        None,
        description="of the input's channels, 0 to 1; null: 0.48235, 0.45882, 0.40784, that of "
        "torchvision's SSD300_VGG16_Weights and VGG16_Weights.IMAGENET1K_FEATURES; for its other "
        "weights give 0.485, 0.456, 0.406",
    )
    std: tuple[Positive, Positive, Positive] | None = Field(
        None, description="likewise; null: 1/255 each; for other weights 0.229, 0.224, 0.225"
    )
    weights: str | None = Field(
        None,
        description="start from a .safetensors or .pth file, or torchvision:NAME of its weights; "
        "null: from scratch",
    )

    @property
    def input_size(self) -> int:
        """Side of the input, pixels."""
        return self.size or int(self.network.removeprefix("ssd"))


class VGGModel(_Section):
    """A VGG16 classifier."""

    network: Literal["vgg16"] = Field("vgg16", description="13 convolutions and linear layers")
    size: Annotated[int, Field(ge=32)] = Field(
        224, description="side every picture is resized to, pixels"
    )
    widths: Annotated[float, Field(gt=0, le=4)] | dict[str, Count] = Field(
        1.0, description="share of the full number of filters, or filters by layer"
    )
    batch_norm: bool = Field(True, description="batch norm behind every convolution")
    hidden: Annotated[tuple[Count, ...], Field(max_length=2)] = Field(
        (4096, 4096),
        description="outputs of the linear layers fc6 and fc7 before the last, at widths 1; "
        "[512] on CIFAR-10",
    )
    pool: Count = Field(
        7, description="side of the map that the linear layers read; 1 on CIFAR-10, cells"
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.5, description="share of the linear layers' outputs that training leaves out"
    )
    mean: tuple[Share, Share, Share] = Field(
        (0.485, 0.456, 0.406), description="of the input's channels, 0 to 1"
    )
    std: tuple[Positive, Positive, Positive] = Field((0.229, 0.224, 0.225), description="likewise")
    weights: str | None = Field(
        None,
        description="start from a .safetensors or .pth file, or torchvision:NAME of its weights; "
        "null: from scratch",
    )

    @property
    def input_size(self) -> int:
        """Side of the input, pixels."""
        return self.size


def _values(section: type[_Section], entry: str) -> tuple[str, ...]:
    """The words that an entry can be."""
    return get_args(section.model_fields[entry].annotation)


def _kind(*sections: type[_Section], entry: str) -> Discriminator:
    """Tell which section is meant by one entry, whose values no two sections share."""
    kinds = {value: section.__name__ for section in sections for value in _values(section, entry)}
    names = list(kinds)

    def kind(section: Any) -> str | None:
        if isinstance(section, BaseModel):
            return type(section).__name__
        default = sections[0].model_fields[entry].default
        value = section.get(entry, default) if isinstance(section, dict) else None
        return kinds.get(value) if isinstance(value, str) else None

    return Discriminator(
        kind,
        custom_error_type="unknown_kind",
        custom_error_message=f"{entry} must be {', '.join(names[:-1])} or {names[-1]}",
    )


Data = Annotated[
    Annotated[DetectionData, Tag("DetectionData")]
    | Annotated[ClassificationData, Tag("ClassificationData")],
    _kind(DetectionData, ClassificationData, entry="format"),
]
Model = Annotated[
    Annotated[SSDModel, Tag("SSDModel")] | Annotated[VGGModel, Tag("VGGModel")],
    _kind(SSDModel, VGGModel, entry="network"),
]
_KINDS = {kind.__name__: kind for kind in (DetectionData, ClassificationData, SSDModel, VGGModel)}


class Training(_Section):
    """One training: dense, sparsifying or retraining."""

    steps: Count = Field(description="optimiser steps")
    batch_size: Count = Field(32, description="pictures a step, over all processes")
    optimizer: Literal["sgd", "adamw"] = Field("sgd", description="sgd has a momentum of 0.9")
    lr: Positive = Field(1e-3, description="highest learning rate")
    weight_decay: Annotated[float, Field(ge=0)] = Field(5e-4, description="of weights, not norms")
    warmup: Share = Field(0.05, description="share of the steps over which lr rises")
    decay: Literal["cosine", "step", "constant"] = Field(
        "cosine",
        description="how lr falls: to zero; to a tenth at 2/3 and again at 5/6; not at all",
    )
    clip: Positive | None = Field(10.0, description="largest norm of the gradient; null: any")


class DenseTraining(Training):
    """The training of the dense network, before all phases."""

    steps: Annotated[int, Field(ge=0)] = Field(
        description="optimiser steps; 0: none, the dense network is model.weights as they are"
    )


class Sparsify(Training):
    """Step 1: training with a penalty that makes weights zero."""

    penalty: Literal["subgradient", "proximal", "norm_scale", "group_norm"] = Field(
        "proximal",
        description="L1 by its subgradient, as published, or by its proximal step (exact zeros); "
        "norm_scale: on the scales of batch norms; group_norm: Torch-Pruning's, on whole channels; "
        "each for the criterion of that name",
    )
    strength: Annotated[float, Field(ge=0)] = Field(
        1e-3, description="λ of the L1 penalty on the weights, in units of the loss"
    )
    group_strength: Annotated[float, Field(ge=0)] = Field(
        0.0, description="λ of the penalty on whole blocks F and G beside it; 0: none"
    )
    decay: Literal["cosine", "step", "constant"] = Field("constant", description="how lr falls")


class ThresholdSearch(_Section):
    """Step 1, second half: the threshold."""

    max_drop: Annotated[float, Field(ge=0)] = Field(
        1.0, description="points of the metric the thresholded network may lose on validation"
    )
    resolution: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.01, description="how near the search comes, in shares of the phase's weights"
    )
    scope: Literal["global", "layer"] = Field(
        "global",
        description="one threshold for all of a phase's layers; or one in units of each layer's "
        "standard deviation, for comparison",
    )


class Select(_Section):
    """Step 2: which filters go. Either the published levels, or a budget, or a largest drop."""

    s_F: Share | None = Field(None, description="sparsity level of F that is enough by itself")
    s_F_both: Share | None = Field(None, description="the paper's s'_F: enough beside s_G")
    s_G: Share | None = Field(None, description="sparsity level of G")
    keep_params: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="share of the dense network's parameters left after the last phase"
    )
    keep_macs: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="share of the dense network's MACs left after the last phase"
    )
    max_drop: Positive | None = Field(
        None, description="points of the metric the slim network may lose on validation"
    )
    attempts: Count = Field(4, description="sizes tried a phase to find the smallest, for max_drop")
    criterion: Literal[
        "sparsity",
        "sparsity_F",
        "sparsity_G",
        "l1",
        "l2",
        "geometric_median",
        "norm_scale",
        "taylor",
        "group_norm",
        "random",
    ] = Field(
        "sparsity",
        description="what a filter is worth, for a budget; all but sparsity are for comparison, "
        "and but for sparsity_F, sparsity_G, norm_scale and group_norm they sparsify nothing",
    )
    allocation: Literal["cost", "share", "importance"] | None = Field(
        None,
        description="how a budget is shared out: least loss a cost saved first; the same share of "
        "every layer; all layers at one importance; null: as is usual for the criterion",
    )
    balance: Annotated[float, Field(ge=0)] = Field(
        2.0,
        description="how much dearer filters become as their layer empties, for allocation cost; "
        "0: not at all, which empties costly layers; the higher, the more even the shares kept",
    )
    min_filters: Count = Field(4, description="filters kept in every layer")
    round_to: Count | Literal["auto"] = Field(
        1,
        description="what the filters kept in a layer that loses some are a multiple of; runtimes "
        "often compute in blocks of 8 or 16; auto: measured for each layer on this machine",
    )
    runtime: Literal["onnxruntime", "openvino", "torch"] = Field(
        "onnxruntime", description="what auto measures on"
    )

    @field_validator("round_to", mode="before")
    @classmethod
    def _is_a_step(cls, value: Any) -> Any:
        if value != "auto" and (not isinstance(value, int) or value < 1):
            raise ValueError("must be a whole number, 1 or more, or auto")
        return value

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        levels = [self.s_F, self.s_F_both, self.s_G]
        budget = self.keep_params is not None or self.keep_macs is not None
        ways = [any(v is not None for v in levels), budget, self.max_drop is not None]
        if sum(ways) != 1:
            raise ValueError(
                "say one of: s_F, s_F_both and s_G; keep_params and/or keep_macs; max_drop"
            )
        if ways[0] and None in levels:
            raise ValueError("s_F, s_F_both and s_G go together")
        if self.s_F is not None and self.s_F_both is not None and self.s_F_both > self.s_F:
            raise ValueError("s_F_both must not be above s_F")
        if ways[0] and (self.criterion != "sparsity" or self.allocation is not None):
            raise ValueError("a criterion or an allocation needs a budget or max_drop, not levels")
        if self.way_of_allocation != "cost" and self.round_to != 1:
            raise ValueError("round_to needs allocation: cost")
        return self

    @property
    def way_of_allocation(self) -> Literal["cost", "share", "importance"]:
        """The allocation, or the criterion's usual one."""
        if self.allocation is not None:
            return self.allocation
        if self.by_sparsity:
            return "cost"
        return "importance" if self.criterion in ("norm_scale", "taylor", "group_norm") else "share"

    @property
    def by_sparsity(self) -> bool:
        """Whether the criterion reads sparsity levels, and so needs a threshold."""
        return self.criterion in ("sparsity", "sparsity_F", "sparsity_G")

    @property
    def sparsifies(self) -> bool:
        """Whether the criterion has a use for the training with a penalty."""
        return self.by_sparsity or self.criterion in ("norm_scale", "group_norm")

    @property
    def least_round_to(self) -> int:
        """The width step that holds in any case: what auto will find is not known beforehand."""
        return 1 if self.round_to == "auto" else self.round_to


class Remove(_Section):
    """Step 3: what is done about what a removal upsets."""

    fold_means: bool = Field(
        True, description="put what the removed filters gave on average into the next biases"
    )
    reestimate_norms: bool = Field(
        True, description="measure the batch norms' means and variances anew behind a removal"
    )
    batches: Count = Field(50, description="training batches that both look at")


class Retrain(Training):
    """Step 4: training without the penalty."""

    distill: Annotated[float, Field(ge=0)] = Field(
        0.0,
        description="weight of the dense network's predictions beside the labels; 0: labels alone",
    )


class Phase(_Section):
    """One pass of the four steps over a stretch of consecutive layers."""

    layers: str = Field(
        description="first and last layer, conv1_1-conv4_3; the last gives only its G blocks "
        "unless no layer that can lose filters comes behind it"
    )
    sparsify: dict[str, Any] = Field({}, description="entries that differ from compress.sparsify")
    retrain: dict[str, Any] = Field({}, description="entries that differ from compress.retrain")
    select: dict[str, Any] = Field({}, description="takes the place of compress.select, whole")


class Compress(_Section):
    """The phases, and what their steps have in common."""

    phases: tuple[Phase, ...] = Field(min_length=1, description="in the order they run")
    sparsify: Sparsify
    threshold: ThresholdSearch = ThresholdSearch()
    select: Select
    remove: Remove = Remove()
    retrain: Retrain


class Evaluate(_Section):
    """How accuracy is measured."""

    metric: Metric = Field(
        "AP50_area",
        description="what every decision on validation goes by; a classifier's is top1",
    )
    batch_size: Count = Field(16, description="pictures at once")
    score: Share = Field(0.01, description="least confidence of a detection")
    nms: Share = Field(0.45, description="IoU above which the lesser box of a class goes")
    candidates: Count = Field(400, description="best boxes of a class that enter NMS")
    boxes: Count = Field(200, description="boxes kept a picture")


class Recipe(_Section):
    """All that a run needs to know."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="the run's name")
    seed: Annotated[int, Field(ge=0)] = Field(0, description="of every chance there is")
    precision: Literal["32", "bf16"] = Field("32", description="of training arithmetic")
    checkpoint: Positive = Field(
        5.0, description="minutes of training that are lost at most when a run is killed"
    )
    data: Data
    model: Model
    train: DenseTraining
    compress: Compress
    evaluate: Evaluate = Evaluate()

    @field_validator("precision", mode="before")
    @classmethod
    def _is_text(cls, value: Any) -> Any:
        return "32" if value == 32 else value  # as YAML reads it without quotes

    def phase(self, number: int) -> tuple[Phase, Sparsify, Select, Retrain]:
        """Give a phase, from 1, and its steps' entries with the phase's own put in."""
        phase = self.compress.phases[number - 1]
        common = self.compress
        return (
            phase,
            Sparsify(**{**common.sparsify.model_dump(), **phase.sparsify}),
            Select(**phase.select) if phase.select else common.select,
            Retrain(**{**common.retrain.model_dump(), **phase.retrain}),
        )

    def trainings(self) -> dict[str, Training]:
        """Give those that take place, by what they are called in a message."""
        found: dict[str, Training] = {"train": self.train} if self.train.steps else {}
        for number in range(1, len(self.compress.phases) + 1):
            _, sparsify, select, retrain = self.phase(number)
            if select.sparsifies:
                found[f"phase {number}: sparsify"] = sparsify
            found[f"phase {number}: retrain"] = retrain
        return found

    @model_validator(mode="before")
    @classmethod
    def _kinds_fit(cls, content: Any) -> Any:
        """See first that network and data agree, for entries of the one are unknown to the other.

        A classifier has one metric, which need not be named.
        """
        sections = [content.get(entry, {}) for entry in ("model", "data", "evaluate")]
        if not all(isinstance(section, dict) for section in sections):
            return content  # wrong, and said so later
        model, data_section, evaluate = sections
        network = model.get("network", SSDModel.model_fields["network"].default)
        pairs = ((SSDModel, DetectionData), (VGGModel, ClassificationData))
        wanted = [data for kind, data in pairs if network in _values(kind, "network")]
        given = [data for _, data in pairs if data_section.get("format") in _values(data, "format")]
        if wanted and given and wanted != given:
            raise ValueError(
                f"{network} cannot learn from data of format {data_section['format']}; it needs "
                f"{', '.join(_values(wanted[0], 'format'))}"
            )
        if network == "vgg16":
            return {**content, "evaluate": {"metric": "top1", **evaluate}}
        return content

    @model_validator(mode="after")
    def _metric_fits(self) -> Self:
        detector = isinstance(self.model, SSDModel)
        if detector == (self.evaluate.metric == "top1"):
            metrics = "AP50_area, AP50_voc07 or AP_coco" if detector else "top1"
            raise ValueError(f"evaluate.metric of {self.model.network} must be {metrics}")
        return self

    @model_validator(mode="after")
    def _has_a_dense_network(self) -> Self:
        if self.train.steps == 0 and self.model.weights is None:
            raise ValueError(
                "train.steps is 0, so the dense network must be there: name its file in "
                "model.weights, or train it"
            )
        return self

    @model_validator(mode="after")
    def _phases_hold(self) -> Self:
        for number in range(1, len(self.compress.phases) + 1):
            try:
                self.phase(number)
            except ValidationError as error:
                sections = {kind.__name__: kind for kind in (Sparsify, Select, Retrain)}
                place = ("compress", "phases", number - 1, error.title.lower())
                raise ValueError(_first_error(error, place, sections[error.title])) from None
        return self


def load_recipe(path: Path, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe, with some entries changed.

    Args:
        path: the YAML file.
        changes: ``key.sub=value`` each, the value in YAML; ``compress.phases.0.layers=…`` reaches
            into a list.

    Raises:
        RecipeError: the file is missing, not YAML, or an entry is unknown or out of range.
    """
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such recipe; 'secateur init' writes one") from None
    except IsADirectoryError:
        raise RecipeError(
            f"{path}: is a folder; 'secateur init {path}' writes a recipe for its pictures"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read ({error}); save it again as UTF-8") from None
    except ValueError as error:
        raise RecipeError(f"{path}: is not valid YAML ({error}); mend it there") from None
    if not isinstance(content, dict):
        raise RecipeError(f"{path}: a recipe is a mapping of name, data, model, train, compress")
    for change in changes:
        _change(content, change)
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise RecipeError(f"{path}: {_first_error(error)}") from None


def _change(content: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    if not equals:
        raise RecipeError(f"--set {change}: write key=value, such as train.steps=100")
    *way, last = key.split(".")
    here: Any = content
    try:
        for part in way:
            here = here[int(part)] if isinstance(here, list) else here.setdefault(part, {})
        value = parse_yaml(text)
        if isinstance(here, list):
            here[int(last)] = value
        else:
            here[last] = value
    except (AttributeError, IndexError, TypeError, ValueError):
        raise RecipeError(f"--set {change}: there is no such place in the recipe") from None


def _first_error(
    error: ValidationError, place: Sequence[str | int] = (), root: type[BaseModel] | None = None
) -> str:
    """Say what is wrong first, and where: of a section, ``root``, at its place in the recipe."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in (*place, *first["loc"]) if part not in _KINDS)
    if first["type"] == "extra_forbidden":
        section = _section(first["loc"][:-1], root or Recipe)
        near = difflib.get_close_matches(str(first["loc"][-1]), section, 1, 0)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"unknown entry {where}{hint}"
    if first["type"] == "missing":
        return f"{where} is missing; add it"
    words = first["msg"].removeprefix("Value error, ")
    return f"{where}: {words}" if where else words


def _section(path: Sequence[str | int], root: type[BaseModel]) -> list[str]:
    """Names of the entries known at a place below a section."""
    model: Any = root
    for part in path:
        if part in _KINDS:
            model = _KINDS[str(part)]
        elif not isinstance(part, int) and part in getattr(model, "model_fields", {}):
            model = Phase if part == "phases" else model.model_fields[part].annotation
    return list(model.model_fields)
