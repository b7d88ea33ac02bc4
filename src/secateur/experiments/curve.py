"""The curve: what a trained network can do at several sizes, without any training.

For each size, filters are removed and what reads them is reconstructed from a few pictures. The
criterion looks at the dense network alone, so its importances are computed once for all sizes.
"""

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from secateur.benchmark.job import parts, pictures_for
from secateur.benchmark.preparation import Conditions, prepare_jobs
from secateur.benchmark.timing import Taken, Times, runs_within, take_turns, times_of
from secateur.data.source import describe
from secateur.errors import BudgetError, ModelError, RecipeError
from secateur.experiments.curve_pictures import (
    CurvePictures,
    batches,
    read_curve_pictures,
    with_predictions,
)
from secateur.files.atomic_write import write_json
from secateur.files.lock import lock
from secateur.inference.evaluate import evaluate_predictor
from secateur.inference.predictor import best_device, predictor_of
from secateur.inference.torch_network import TorchNetwork
from secateur.models.copying import copy_model
from secateur.models.cost import count_params
from secateur.models.network import example_input, layers, raw_network
from secateur.models.network_file import save_network
from secateur.pruning.criteria.importance import Importance, Scored
from secateur.pruning.phase import Network, cut
from secateur.pruning.selection.budget import divide_budget
from secateur.pruning.selection.rounding import fewest_channels
from secateur.pruning.selection.select import choose_by_importance
from secateur.pruning.settings import SelectionSettings
from secateur.pruning.verification import fix_unverified
from secateur.run.context import Reporter, provenance
from secateur.run.folder import CURVE, check_folder
from secateur.run.phases import network_groups
from secateur.run.stage import fingerprint
from secateur.tasks.normalisation import normalised

RESULT_FILE = CURVE.mark
SIZES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
# Shares of a layer's filters that are removed from it alone.
REMOVED = (0.25, 0.5, 0.75)
SETTINGS = SelectionSettings("reconstruction")


@dataclass(frozen=True, slots=True)
class CurveSettings:
    """What is measured, and how.

    Attributes:
        sizes: shares of the MACs that are kept, above 0 and below 1.
        by_layer: also measure what each layer can lose alone.
        pictures: how many are used to reconstruct.
        split: to measure on; None for a recipe's validation, or a folder's test.
        runtime: what the networks are timed on; None for torch.
        seconds: approximate time for each network on it.
    """

    sizes: Sequence[float] = SIZES
    by_layer: bool = False
    pictures: int = 256
    split: str | None = None
    runtime: str | None = None
    seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class Size:
    """The network at one size.

    Attributes:
        keep: share of the MACs that was asked for; 1 for the dense network.
        file: name of the network's file in the folder; None for the dense network.
        params: parameters.
        macs: multiply-adds for one picture.
        value: the metric, in percent; None where the pictures have nothing to measure it on.
        milliseconds: time for one picture, with NMS; None where nothing was timed.
    """

    keep: float
    file: str | None
    params: int
    macs: int
    value: float | None
    milliseconds: Times | None = None


@dataclass(frozen=True, slots=True)
class LayerLoss:
    """The network where one channel group lost filters, and no other did.

    Attributes:
        layer: name of the group's first layer.
        removed: share of its filters that was asked for.
        filters: left in the layer.
        of: filters that it had.
        params: parameters of the network.
        macs: multiply-adds for one picture.
        value: the metric, in percent.
    """

    layer: str
    removed: float
    filters: int
    of: int
    params: int
    macs: int
    value: float | None


@dataclass(frozen=True, slots=True)
class Curve:
    """The result.

    Attributes:
        model: the dense network's file.
        metric: what ``value`` is.
        agreement: whether it is measured against the dense network's predictions, not labels.
        split: what was measured on.
        measured: number of pictures measured on.
        seen: number of pictures to reconstruct with.
        sizes: from the dense network to the smallest.
        layers: by layer, in the order the network runs; empty where not asked for.
        note: what limits the meaning of the values; empty if nothing does.
    """

    model: str
    metric: str
    agreement: bool
    split: str
    measured: int
    seen: int
    sizes: list[Size]
    layers: list[LayerLoss] = field(default_factory=list)
    note: str = ""


def measure_curve(
    model: Path, data: Path | None, folder: Path, settings: CurveSettings, reporter: Reporter
) -> Curve:
    """Cut a trained network to several sizes without training, and measure each.

    Each network is a file ``keep-PERCENT.safetensors`` in the folder. ``curve.json`` is written
    after every measurement; a stopped command resumes after the last one. Times are measured at
    the end, all networks in turns.

    Args:
        model: a network file.
        data: a recipe, or a folder of pictures with or without labels; None for the recipe of the
            run folder that holds the model.
        folder: created if it is missing.
        settings: what is measured.
        reporter: shows progress.

    Raises:
        ModelError: the file is not a network, or its classes differ from the pictures'.
        DataError: a picture or an annotation is wrong, or the split is missing.
        RecipeError: the recipe is wrong.
        BudgetError: no size is within reach.
        RunError: the folder holds anything but a curve.
    """
    check_folder(folder, CURVE)
    network = TorchNetwork.load(model)
    pictures = read_curve_pictures(model, network.header, data, settings.split, settings.pictures)
    with lock(folder):
        subject = _open(model, network, pictures)
        result = _Resumed(folder / RESULT_FILE, _key(model, pictures, settings), subject.empty())
        _measure_sizes(subject, result, folder, settings.sizes, reporter)
        if settings.by_layer:
            _measure_layers(subject, result, reporter)
        files = [model, *(folder / each.file for each in result.curve.sizes if each.file)]
        times = _times(files, settings, reporter)
        result.curve.sizes[:] = [
            replace(each, milliseconds=own)
            for each, own in zip(result.curve.sizes, times, strict=True)
        ]
        result.write()
    return result.curve


def parse_sizes(text: str) -> list[float]:
    """Parse shares of the MACs, such as ``0.7,0.5``, in descending order.

    Raises:
        RecipeError: the text has another form, or a share is not between 0 and 1.
    """
    try:
        shares = sorted({float(part) for part in text.split(",")}, reverse=True)
    except ValueError:
        shares = []
    if not shares or not all(0 < share < 1 for share in shares):
        raise RecipeError(
            f"--keep {text}: give shares of the MACs between 0 and 1, such as 0.7,0.5"
        )
    return shares


@dataclass(frozen=True, slots=True)
class _Subject:
    """The dense network, and all that is needed to cut and measure it.

    Attributes:
        path: its file.
        file: the network and its header, on the CPU.
        network: as a phase sees it, on the device.
        names: of the groups that may lose channels, in the order the network runs.
        importance: of every unit of each group, computed once.
        inputs: what to reconstruct with, on the device.
        pictures: to measure on; without labels, with the dense network's predictions.
    """

    path: Path
    file: TorchNetwork
    network: Network
    names: tuple[str, ...]
    importance: Importance
    inputs: list[Tensor]
    pictures: CurvePictures

    @property
    def metric(self) -> str:
        """What is measured."""
        return self.pictures.measured.settings.metric

    def cut(self, kept: dict[str, Tensor]) -> nn.Module:
        """Remove, verify and reconstruct; the slim network is on the CPU."""
        slim, _, _ = cut(self.network, kept, self.inputs)
        return slim.cpu()

    def value(self, model: nn.Module) -> float | None:
        """Measure a network, which stays on the CPU."""
        named = self.pictures.measured
        predictor = predictor_of(self.path, replace(self.file, model=model), named.settings)
        value = evaluate_predictor(predictor, named).metrics[self.metric]
        model.cpu()
        return value

    def empty(self) -> Curve:
        """The result before anything is measured."""
        pictures = self.pictures
        return Curve(
            str(self.path),
            self.metric,
            not pictures.labelled,
            pictures.measured.split,
            len(pictures.measured.pictures),
            len(pictures.seen),
            [],
            [],
            pictures.note,
        )


def _open(path: Path, file: TorchNetwork, pictures: CurvePictures) -> _Subject:
    """Trace a network and score its channels."""
    architecture, header = file.architecture, file.header
    if architecture is None:
        raise ModelError(f"{path}: not a network file; give one that secateur wrote")
    example = example_input(architecture)
    noise = torch.randn(2, *example.shape[1:], generator=torch.Generator().manual_seed(0))
    graph = network_groups(file.model, architecture)
    graph = fix_unverified(raw_network(file.model), graph, noise)
    device = best_device()
    if not pictures.labelled:
        predictor = predictor_of(path, file, pictures.measured.settings)
        pictures = replace(pictures, measured=with_predictions(predictor, pictures.measured))
    model = copy_model(file.model).to(device)
    file.model.cpu()
    size = header.size if header.resize else None
    inputs = [
        normalised(each.to(device), file.mean, file.std) for each in batches(pictures.seen, size)
    ]
    names = tuple(graph.prunable())
    scored = Scored(
        raw_network(model),
        graph,
        names,
        noise,
        SETTINGS.min_filters,
        inputs=lambda: iter(inputs),
    )
    importance = SETTINGS.ranks_by.importance(scored)
    network = Network(model, graph, noise, raw_network)
    return _Subject(path, file, network, names, importance, inputs, pictures)


class _Resumed:
    """A result in a file, which is written after every measurement."""

    def __init__(self, path: Path, key: str, empty: Curve) -> None:
        self.path, self.key, self.curve = path, key, empty
        self.earlier: dict[str, Any] = {}
        try:
            content = json.loads(path.read_bytes())
            if content["key"] == key:
                self.earlier = {_id(row): row for row in content["sizes"] + content["layers"]}
        except (OSError, ValueError, KeyError, TypeError):
            pass  # there is none, or it is damaged: everything is measured

    def write(self) -> None:
        """Write what is known."""
        content = {**asdict(self.curve), "key": self.key, "provenance": provenance()}
        write_json(self.path, content)


def _id(row: dict[str, Any]) -> str:
    """What identifies a measurement."""
    return f"{row['layer']} {row['removed']}" if "layer" in row else f"{row['keep']}"


def _key(model: Path, pictures: CurvePictures, settings: CurveSettings) -> str:
    """A fingerprint of all that the measurements depend on."""
    with model.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    root, named = Path("/"), pictures.measured
    return fingerprint(
        [
            digest,
            describe(pictures.seen, root),
            describe(named.pictures, root),
            named.settings.model_dump(exclude={"batch_size"}),
            pictures.labelled,
            asdict(SETTINGS),
            settings.pictures,
            torch.__version__,
        ]
    )


def _measure_sizes(
    subject: _Subject,
    result: _Resumed,
    folder: Path,
    sizes: Sequence[float],
    reporter: Reporter,
) -> None:
    graph, dense = subject.network.graph, subject.file.model
    tensors = dict(raw_network(subject.network.model).named_parameters(remove_duplicate=False))
    rows = result.curve.sizes
    sizes = sorted(set(sizes), reverse=True)
    with reporter.bar("sizes", 1 + len(sizes)) as advance:
        earlier = result.earlier.get("1.0")
        value = earlier["value"] if earlier else subject.value(dense)
        rows.append(Size(1.0, None, *graph.cost(), value))
        advance(1)
        for keep in sizes:
            name = f"keep-{100 * keep:g}.safetensors"
            earlier = result.earlier.get(str(keep))
            if earlier and (folder / name).is_file():
                rows.append(Size(keep, name, earlier["params"], earlier["macs"], earlier["value"]))
                advance(1)
                continue
            (budget,) = divide_budget(graph, [subject.names], None, keep)
            try:
                choice = choose_by_importance(
                    graph, subject.names, tensors, budget, subject.importance, SETTINGS
                )
            except BudgetError as error:
                if len(rows) == 1:
                    raise
                reporter.say(f"{keep:.0%} of the MACs and below: {error}")
                break
            slim = subject.cut(choice.kept)
            value = subject.value(slim)
            counts = {group: len(kept) for group, kept in choice.kept.items()}
            _save(subject, slim, folder / name, keep, value)
            rows.append(Size(keep, name, count_params(slim), graph.cost(counts)[1], value))
            result.write()
            advance(1)


def _save(subject: _Subject, slim: nn.Module, path: Path, keep: float, value: float | None) -> None:
    architecture, pictures = subject.file.architecture, subject.pictures
    assert architecture is not None  # noqa: S101 # checked when it was opened
    made_by = {
        "run": f"curve of {subject.path}",
        "role": "slim",
        "keep_macs": keep,
        "training": False,
        "metric": subject.metric if pictures.labelled else f"agreement, {subject.metric}",
        "split": pictures.measured.split,
        "value": value,
    }
    save_network(path, slim, architecture, made_by)


def _measure_layers(subject: _Subject, result: _Resumed, reporter: Reporter) -> None:
    """Remove filters from one group at a time."""
    graph, rows = subject.network.graph, result.curve.layers
    aliases = {path: alias for alias, path in layers(subject.file.model).items()}
    fewest = fewest_channels(graph, subject.names, SETTINGS.min_filters)
    with reporter.bar("layers", len(subject.names) * len(REMOVED)) as advance:
        for name in subject.names:
            group, importance = graph.groups[name], subject.importance[name]
            layer = aliases.get(group.producers[0], name)
            for removed in REMOVED:
                least = -(-fewest[name] // group.unit_size)
                units = max(least, round((1 - removed) * group.units))
                earlier = result.earlier.get(f"{layer} {removed}")
                if earlier:
                    rows.append(LayerLoss(**earlier))
                elif units < group.units:
                    best = importance.argsort(descending=True, stable=True)[:units]
                    kept = {name: group.channels_of(best)}
                    slim = subject.cut(kept)
                    filters = len(kept[name])
                    cost = count_params(slim), graph.cost({name: filters})[1]
                    value = subject.value(slim)
                    rows.append(LayerLoss(layer, removed, filters, group.channels, *cost, value))
                    result.write()
                advance(1)


def _times(
    files: Sequence[Path], settings: CurveSettings, reporter: Reporter
) -> list[Times | None]:
    """Time networks in turns, in this process."""
    runtimes = () if settings.runtime is None else (settings.runtime,)
    conditions = Conditions(runtimes=runtimes, seconds=settings.seconds)
    bursts, plans = [], []
    with tempfile.TemporaryDirectory() as folder:
        with reporter.bar("preparing", len(files)) as advance:
            for number, file in enumerate(files):
                threads = torch.get_num_threads()
                (job,) = prepare_jobs(str(file), conditions, threads, Path(folder, str(number)))
                _, run = next(parts(job))
                burst = partial(_burst, run, pictures_for(job)[0])
                once = burst(1)["whole"][0]
                bursts.append(burst)
                plans.append(runs_within(settings.seconds, once))
                advance(1)
        with reporter.bar("timing", len(files) * len(plans[0])) as advance:
            taken = take_turns(bursts, plans, advance)
    return [times_of(each["whole"]) for each in taken]


def _burst(run: Callable[[Any], object], pictures: Any, count: int) -> Taken:
    """Time some runs after one that is not counted."""
    seconds = []
    for _ in range(count + 1):
        start = time.perf_counter()
        run(pictures)
        seconds.append(time.perf_counter() - start)
    return {"whole": seconds[1:]}
