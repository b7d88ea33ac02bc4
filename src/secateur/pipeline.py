"""The whole flow over a run folder: data, dense network, phases, evaluation, summary.

Every step is an artifact (``run_folder.run_step``). A run that was stopped goes on behind the
last one that is whole; a changed recipe redoes what depends on the change, and no more.
"""

import hashlib
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, cast

import torch
import torchvision
from lightning.fabric import Fabric
from pydantic import ValidationError
from torch import Tensor, nn
from torchvision.models.detection.ssd import SSD

from secateur.data.detection_set import DetectionSet
from secateur.data.loading import training_batches
from secateur.data.source import Splits, describe, read_splits, training_transform
from secateur.errors import PruningError, RecipeError
from secateur.measuring import count_macs, count_params
from secateur.models.network_file import load_network, load_weights, save_network
from secateur.models.ssd import (
    VGG_MEAN,
    VGG_STD,
    RawSSD,
    SSDArchitecture,
    build_ssd,
    convolutions,
    ssd_architecture,
    widths,
)
from secateur.pruning.graph import ChannelGraph, channel_graph
from secateur.pruning.removal import prove_removal, remove_filters
from secateur.pruning.selection import Choice, select_by_budget, select_by_sparsity
from secateur.pruning.sparsity import (
    GroupProximal,
    L1Proximal,
    L1Subgradient,
    Penalty,
    apply_threshold,
    zero_share,
)
from secateur.pruning.threshold import search_threshold
from secateur.recipe import Model, Phase, Recipe, Select, Sparsify, Training
from secateur.run_folder import Step, run_step
from secateur.tasks.detection import METRICS, find_objects, measure_accuracy, ssd_loss
from secateur.training import Schedule, train
from secateur.whole_file import write_json


class Reporter(Protocol):
    """Where a run tells what it does."""

    def say(self, text: str) -> None:
        """Print a line."""

    def bar(self, title: str, total: int) -> AbstractContextManager[Callable[..., None]]:
        """Show progress; what it gives is called once for each unit done."""


@dataclass(frozen=True, slots=True)
class Network:
    """A network at some point of the run."""

    ssd: SSD
    architecture: SSDArchitecture
    path: Path
    key: str


@dataclass(frozen=True, slots=True)
class Budget:
    """What the whole network may have after a phase; None for any number."""

    params: int | None
    macs: int | None


@dataclass(frozen=True, slots=True)
class Run:
    """What every step of a run shares."""

    recipe: Recipe
    folder: Path
    splits: Splits
    fabric: Fabric
    reporter: Reporter
    data_key: str

    def step(
        self, name: str, depends_on: Mapping[str, Any], work: Callable[[Path], dict[str, Any]]
    ) -> Step:
        """Do a step in its own folder of the run."""
        return run_step(self.folder / "steps" / name, depends_on, work, say=self.reporter.say)

    def seed(self, name: str) -> int:
        """A seed for one step; steps do not share chances, so that each can be redone alone."""
        digest = hashlib.sha256(f"{self.recipe.seed} {name}".encode()).digest()
        return int.from_bytes(digest[:4], "big")


# ---- the main flow -------------------------------------------------------------------------


def compress(recipe: Recipe, folder: Path, reporter: Reporter) -> dict[str, Any]:
    """Train, compress phase by phase, evaluate once on test, and write the summary.

    Args:
        recipe: what to do.
        folder: the run's; made if absent, gone on with if present.
        reporter: told of what goes on.

    Returns:
        The summary, as in ``summary.json``.

    Raises:
        SecateurError: anything is wrong with the recipe, the data or the run; nothing of what
            was done before is lost.
    """
    run = open_run(recipe, folder, reporter)
    dense, trained = train_dense(run)
    model, phases, steps = dense, [], [trained]
    for number in range(1, len(recipe.compress.phases) + 1):
        model, record, done = run_phase(run, number, dense, model, trained.result["metric"])
        phases.append(record)
        steps += done
    evaluations = {}
    for name, network in (("dense", dense), ("slim", model)):
        done_step = evaluate_network(run, name, network)
        evaluations[name] = done_step.result
        steps.append(done_step)
    summary = {
        "name": recipe.name,
        "metric": recipe.evaluate.metric,
        "split": recipe.data.test or "validation",
        "dense": evaluations["dense"],
        "slim": evaluations["slim"],
        "phases": phases,
        "detection_layers": model.architecture.detection_layers,
        "input": evaluations["dense"].pop("input"),
        "seed": recipe.seed,
        "recipe": recipe.model_dump(mode="json"),
        "provenance": provenance(),
        "seconds": {step.folder.name: step.seconds for step in steps},
    }
    evaluations["slim"].pop("input")
    for name, network in (("dense", dense), ("slim", model)):
        save_network(
            folder / f"{name}.safetensors",
            network.ssd,
            network.architecture,
            {
                "run": recipe.name,
                "role": name,
                "metric": recipe.evaluate.metric,
                "split": summary["split"],
                "value": summary[name][recipe.evaluate.metric],
            },
        )
    write_json(folder / "summary.json", summary)
    return summary


def open_run(recipe: Recipe, folder: Path, reporter: Reporter) -> Run:
    """Check everything that can be checked before hours are spent, and write down the split."""
    splits = read_splits(recipe.data, recipe.model.size, recipe.seed)
    architecture = model_architecture(recipe.model, splits.train.classes, recipe.data.resize)
    for number in range(1, len(recipe.compress.phases) + 1):
        phase_layers(recipe.phase(number)[0], architecture)
    root = recipe.data.root
    described = {
        name: describe(part, root)
        for name, part in (("train", splits.train), ("validation", splits.validation))
    }
    write_json(
        folder / "split.json",
        {name: [str(picture[0]) for picture in pictures] for name, pictures in described.items()},
    )
    write_json(folder / "recipe.json", recipe.model_dump(mode="json"))
    digest = hashlib.sha256(json.dumps(described).encode()).hexdigest()
    fabric = Fabric(
        accelerator="auto",
        devices=1,
        precision="bf16-mixed" if recipe.precision == "bf16" else "32-true",
    )
    return Run(recipe, folder, splits, fabric, reporter, digest)


def train_dense(run: Run) -> tuple[Network, Step]:
    """Train the dense network, or start from the weights the recipe names."""
    recipe = run.recipe
    architecture = model_architecture(recipe.model, run.splits.train.classes, recipe.data.resize)

    def work(folder: Path) -> dict[str, Any]:
        torch.manual_seed(run.seed("dense"))
        ssd = build_ssd(architecture)
        fresh = (
            load_weights(ssd, recipe.model.weights, architecture.batch_norm)
            if recipe.model.weights
            else []
        )
        trace = train_network(run, "dense", ssd, architecture, recipe.train)
        metric = validate(run, ssd, architecture)
        save_network(folder / "network.safetensors", ssd, architecture, {"step": "dense"})
        return {"metric": metric, "loss": trace, "fresh": fresh}

    weights = recipe.model.weights
    depends_on = {
        "data": run.data_key,
        "recipe": _entries(recipe, "seed", "precision", "model", "train", "evaluate"),
        "augmentation": recipe.data.augmentation.model_dump(),
        "weights": _file_digest(Path(weights)) if weights and Path(weights).is_file() else weights,
        "versions": [torch.__version__, torchvision.__version__],
    }
    step = run.step("dense", depends_on, work)
    run.reporter.say(f"dense: {recipe.evaluate.metric} {step.result['metric']:.1f} on validation")
    return load_step(step), step


def run_phase(
    run: Run, number: int, dense: Network, model: Network, dense_metric: float
) -> tuple[Network, dict[str, Any], list[Step]]:
    """Sparsify, threshold, select, remove and retrain over one run of layers.

    Returns:
        The network after the phase, what the summary says of it, and its steps.
    """
    recipe = run.recipe
    phase, sparsify, select, retrain = recipe.phase(number)
    name = f"phase{number}"
    run.reporter.say(f"{name}: {phase.layers}")
    sparse, sparsified = sparsify_network(run, name, phase, model, sparsify)
    thresholded_step = threshold_network(run, name, phase, sparse, model.key)
    thresholded = load_step(thresholded_step)
    steps = [sparsified, thresholded_step]

    def attempt(tag: str, way: Select | Budget) -> tuple[Network, list[Step]]:
        removed = remove_from_network(run, f"{name}-{tag}remove", phase, sparse, thresholded, way)
        slim = load_step(removed)
        step = retrain_network(run, f"{name}-{tag}retrain", slim, retrain)
        return load_step(step), [removed, step]

    if select.max_drop is not None:
        floor = dense_metric - select.max_drop * number / len(recipe.compress.phases)
        after, done, trace = _smallest_within(run, attempt, model, select.attempts, floor)
    else:
        way: Select | Budget = select
        if select.s_F is None:
            way = phase_budget(run, number, dense)
        after, done = attempt("", way)
        trace = []
    steps += done
    removal, retraining = done[-2:] if done else (None, None)
    record = {
        "layers": phase.layers,
        "penalty": sparsify.penalty,
        "strength": sparsify.strength,
        "group_strength": sparsify.group_strength,
        "zeros": sparsified.result["zeros"],
        "threshold": thresholded_step.result["threshold"],
        "threshold_status": thresholded_step.result["status"],
        "threshold_trace": thresholded_step.result["trace"],
        "filters_before": widths(model.ssd),
        "filters_after": widths(after.ssd),
        "metric": {
            "sparsified": sparsified.result["metric"],
            "thresholded": thresholded_step.result["metric"],
            "removed": removal.result["metric"] if removal else None,
            "retrained": retraining.result["metric"] if retraining else None,
        },
        "slim_minus_masked": removal.result["slim_minus_masked"] if removal else 0.0,
        "attempts": trace,
    }
    return after, record, steps


# ---- the steps of a phase ------------------------------------------------------------------


def sparsify_network(
    run: Run, name: str, phase: Phase, model: Network, settings: Sparsify
) -> tuple[Network, Step]:
    """Step 1: train with the penalty on the phase's layers."""

    def work(folder: Path) -> dict[str, Any]:
        ssd = load_network(model.path).ssd
        weights, blocks = penalised(phase, ssd, model.architecture)
        penalties = make_penalties(settings, weights, blocks)
        step = f"{name}-sparsify"
        trace = train_network(run, step, ssd, model.architecture, settings, penalties)
        metric = validate(run, ssd, model.architecture)
        save_network(folder / "network.safetensors", ssd, model.architecture, {"step": step})
        return {"metric": metric, "zeros": zero_share(weights), "loss": trace}

    depends_on = {"model": model.key, "layers": phase.layers, "sparsify": settings.model_dump()}
    step = run.step(f"{name}-sparsify", depends_on, work)
    run.reporter.say(
        f"  sparsified: {step.result['zeros']:.1%} exact zeros, "
        f"{run.recipe.evaluate.metric} {step.result['metric']:.1f}"
    )
    return load_step(step), step


def threshold_network(run: Run, name: str, phase: Phase, sparse: Network, before: str) -> Step:
    """Step 1, second half: find and apply the largest global threshold within the drop."""
    settings = run.recipe.compress.threshold

    def work(folder: Path) -> dict[str, Any]:
        ssd = load_network(sparse.path).ssd
        weights, _ = penalised(phase, ssd, sparse.architecture)
        reference = validate(run, ssd, sparse.architecture)
        found = search_threshold(
            weights,
            lambda: validate(run, ssd, sparse.architecture),
            reference - settings.max_drop,
            settings.resolution,
        )
        apply_threshold(weights, found.value)
        save_network(
            folder / "network.safetensors", ssd, sparse.architecture, {"step": f"{name}-threshold"}
        )
        return {
            "threshold": found.value,
            "zeros": found.zeros,
            "metric": found.metric,
            "status": found.status,
            "trace": [[trial.threshold, trial.zeros, trial.metric] for trial in found.trace],
        }

    depends_on = {"model": sparse.key, "layers": phase.layers, "threshold": settings.model_dump()}
    step = run.step(f"{name}-threshold", {**depends_on, "before": before}, work)
    run.reporter.say(
        f"  threshold {step.result['threshold']:.3g}: {step.result['zeros']:.1%} zeros, "
        f"{run.recipe.evaluate.metric} {step.result['metric']:.1f}"
        + ("" if step.result["status"] == "found" else " (no threshold holds the drop)")
    )
    return step


def remove_from_network(
    run: Run,
    name: str,
    phase: Phase,
    sparse: Network,
    thresholded: Network,
    way: Select | Budget,
) -> Step:
    """Steps 2 and 3: select on the thresholded weights, remove from the unthresholded ones."""
    select = run.recipe.compress.select
    budget = way if isinstance(way, Budget) else None

    def work(folder: Path) -> dict[str, Any]:
        raw = RawSSD(sparse.ssd)
        example = example_input(sparse.architecture)
        graph = channel_graph(raw, example)
        names = phase_groups(phase, sparse, graph)
        tensors = dict(thresholded.ssd.named_parameters())
        if budget is not None:
            choice = select_by_budget(
                graph,
                names,
                tensors,
                params=budget.params,
                macs=budget.macs,
                min_filters=select.min_filters,
            )
        else:
            levels = cast(Select, way)
            choice = select_by_sparsity(
                graph,
                names,
                tensors,
                s_F=cast(float, levels.s_F),
                s_F_both=cast(float, levels.s_F_both),
                s_G=cast(float, levels.s_G),
                min_filters=levels.min_filters,
            )
        slim_raw = cast(RawSSD, remove_filters(raw, graph, choice.kept))
        batch = torch.randn(2, *example.shape[1:], generator=torch.Generator().manual_seed(0))
        difference = prove_removal(raw, slim_raw, graph, choice.kept, batch)
        architecture = sparse.architecture.model_copy(update={"widths": widths(slim_raw)})
        ssd = build_ssd(architecture)
        ssd.load_state_dict(slim_raw.state_dict())
        removed = sum(graph.groups[g].channels - len(kept) for g, kept in choice.kept.items())
        if removed == 0:
            run.reporter.say("  nothing was removed: lower the levels, or raise the strength")
        save_network(folder / "network.safetensors", ssd, architecture, {"step": name})
        return {
            "metric": validate(run, ssd, architecture),
            "slim_minus_masked": difference,
            "removed": removed,
            "params": count_params(ssd),
            "macs": count_macs(RawSSD(ssd), example),
            "selection": _selection_record(choice),
        }

    depends_on = {
        "sparse": sparse.key,
        "thresholded": thresholded.key,
        "layers": phase.layers,
        "way": asdict(way) if isinstance(way, Budget) else way.model_dump(),
        "min_filters": select.min_filters,
    }
    step = run.step(name, depends_on, work)
    run.reporter.say(
        f"  removed {step.result['removed']} filters: {step.result['params'] / 1e6:.3f} M "
        f"parameters, {step.result['macs'] / 1e9:.3f} GMACs, "
        f"{run.recipe.evaluate.metric} {step.result['metric']:.1f}"
    )
    return step


def retrain_network(run: Run, name: str, slim: Network, settings: Training) -> Step:
    """Step 4: train with the original loss, without the penalty."""

    def work(folder: Path) -> dict[str, Any]:
        ssd = load_network(slim.path).ssd
        trace = train_network(run, name, ssd, slim.architecture, settings)
        save_network(folder / "network.safetensors", ssd, slim.architecture, {"step": name})
        return {"metric": validate(run, ssd, slim.architecture), "loss": trace}

    step = run.step(name, {"model": slim.key, "retrain": settings.model_dump()}, work)
    run.reporter.say(
        f"  retrained: {run.recipe.evaluate.metric} {step.result['metric']:.1f} on validation"
    )
    return step


def evaluate_network(run: Run, name: str, network: Network) -> Step:
    """Measure a network on test, or on validation where the recipe names no test split."""
    dataset = run.splits.test or run.splits.validation

    def work(_: Path) -> dict[str, Any]:
        example = evaluation_input(network.architecture, dataset)
        return {
            "params": count_params(network.ssd),
            "macs": count_macs(RawSSD(network.ssd), example),
            "bytes": network.path.stat().st_size,
            **measure(run, network.ssd, network.architecture, dataset, METRICS),
            "widths": widths(network.ssd),
            "input": list(example.shape[1:]),
        }

    root = run.recipe.data.root
    depends_on = {
        "model": network.key,
        "test": hashlib.sha256(json.dumps(describe(dataset, root)).encode()).hexdigest(),
        "evaluate": run.recipe.evaluate.model_dump(),
    }
    return run.step(f"evaluate-{name}", depends_on, work)


# ---- what the steps share ------------------------------------------------------------------


def train_network(
    run: Run,
    name: str,
    ssd: SSD,
    architecture: SSDArchitecture,
    settings: Training,
    penalties: Sequence[Penalty] = (),
) -> list[float]:
    """Train in place; gives the loss, averaged over about a hundredth of the steps each."""
    seed = run.seed(name)
    torch.manual_seed(seed)
    batches = training_batches(
        run.splits.train.pictures,
        training_transform(run.recipe.data, architecture.size),
        steps=settings.steps,
        batch_size=settings.batch_size,
        seed=seed,
        workers=run.recipe.data.workers,
    )
    schedule = Schedule(
        settings.optimizer,
        settings.lr,
        settings.weight_decay,
        settings.warmup,
        settings.decay,
        settings.clip,
    )
    with run.reporter.bar(name, settings.steps) as advance:
        trace = train(
            run.fabric,
            ssd,
            ssd_loss,
            batches,
            schedule,
            penalties=penalties,
            on_step=lambda _step, loss: advance(1, f"loss {loss:.2f}"),
        )
    ssd.cpu()
    span = max(1, len(trace) // 100)
    parts = [trace[i : i + span] for i in range(0, len(trace), span)]
    return [round(sum(part) / len(part), 4) for part in parts]


def measure(
    run: Run,
    ssd: SSD,
    architecture: SSDArchitecture,
    dataset: DetectionSet,
    metrics: tuple[str, ...],
) -> dict[str, float]:
    """Find the objects of a set and give the metrics named, in percent."""
    settings = run.recipe.evaluate
    ssd.score_thresh, ssd.nms_thresh = settings.score, settings.nms
    ssd.topk_candidates, ssd.detections_per_img = settings.candidates, settings.boxes
    device = run.fabric.device
    with run.reporter.bar("evaluating", len(dataset.pictures)) as advance:
        detections = find_objects(
            ssd.to(device),
            dataset.pictures,
            resize=architecture.resize,
            batch_size=settings.batch_size,
            device=device,
            advance=advance,
        )
    ssd.cpu()
    return measure_accuracy(detections, dataset, metrics)


def validate(run: Run, ssd: SSD, architecture: SSDArchitecture) -> float:
    """The recipe's metric on validation, in percent."""
    metric = run.recipe.evaluate.metric
    return measure(run, ssd, architecture, run.splits.validation, (metric,))[metric]


def penalised(
    phase: Phase, ssd: SSD, architecture: SSDArchitecture
) -> tuple[list[nn.Parameter], list[tuple[nn.Parameter, int]]]:
    """The weights a phase makes sparse, and its blocks F_i and G_i.

    They are those of its layers, and of the heads that read a channel which may go: a head's
    weights are part of G, and the paper lets the heads take part as consumers.
    """
    raw = RawSSD(ssd)
    graph = channel_graph(raw, example_input(architecture))
    paths = convolutions(ssd)
    wanted = {f"{paths[layer]}.weight": None for layer in phase_layers(phase, architecture)}
    blocks = []
    parameters = dict(raw.named_parameters())
    for name in phase_groups(phase, Network(ssd, architecture, Path(), ""), graph):
        for member in graph.groups[name].members:
            if member.role != "follower":
                wanted[member.name] = None
                blocks.append((parameters[member.name], member.dim))
    return [parameters[name] for name in wanted], blocks


def make_penalties(
    settings: Sparsify, weights: list[nn.Parameter], blocks: list[tuple[nn.Parameter, int]]
) -> list[Penalty]:
    """Build the penalties a recipe asks for."""
    penalties: list[Penalty] = []
    if settings.strength > 0:
        kind = L1Subgradient if settings.penalty == "subgradient" else L1Proximal
        penalties.append(kind(weights, settings.strength))
    if settings.group_strength > 0:
        penalties.append(GroupProximal(blocks, settings.group_strength))
    return penalties


def phase_layers(phase: Phase, architecture: SSDArchitecture) -> list[str]:
    """The layers from a phase's first to its last, by the paper's names.

    Raises:
        RecipeError: a name is unknown, or the order is wrong.
    """
    names = list(architecture.widths)
    first, _, last = phase.layers.partition("-")
    for name in (first, last or first):
        if name not in names:
            raise RecipeError(
                f"phase {phase.layers}: the network has no layer {name!r}; "
                f"it has {', '.join(names)}"
            )
    layers = names[names.index(first) : names.index(last or first) + 1]
    if len(layers) < 2:
        raise RecipeError(f"phase {phase.layers}: name a first and a later last layer")
    return layers


def phase_groups(phase: Phase, network: Network, graph: ChannelGraph) -> list[str]:
    """Channel groups whose filters a phase may remove, in the order the network runs.

    The phase's last layer only gives G blocks, its own filters go in the next phase; but the
    network's last layer has no next phase, and loses filters too.
    """
    layers = phase_layers(phase, network.architecture)
    if layers[-1] != list(network.architecture.widths)[-1]:
        layers = layers[:-1]
    paths = convolutions(network.ssd)
    producers = {paths[layer] for layer in layers}
    return [n for n, g in graph.prunable().items() if producers & set(g.producers)]


def phase_budget(run: Run, number: int, dense: Network) -> Budget:
    """Share a budget for the end of the run out to its phases.

    A layer that n phases visit should keep the share b of its cost in the end, so b^(m/n) after
    the m-th visit. The last phase meets the budget itself.
    """
    recipe, select = run.recipe, run.recipe.phase(number)[2]
    graph = channel_graph(RawSSD(dense.ssd), example_input(dense.architecture))
    visits = [
        set(phase_layers(recipe.phase(i + 1)[0], dense.architecture))
        for i in range(len(recipe.compress.phases))
    ]
    paths = {path: layer for layer, path in convolutions(dense.ssd).items()}
    last = number == len(visits)

    def allowed(keep: float | None, costs: Mapping[str, int]) -> int | None:
        if keep is None:
            return None
        total = sum(costs.values())
        if last:
            return int(keep * total)
        left = 0.0
        for weight, cost in costs.items():
            layer = paths.get(weight.rpartition(".")[0])
            n = sum(layer in layers for layers in visits)
            m = sum(layer in layers for layers in visits[:number])
            left += cost * (keep ** (m / n) if n else 1.0)
        return int(left)

    params = {n: torch.Size(graph.shapes[n]).numel() for n in graph.parameters}
    macs = {n: torch.Size(graph.shapes[n]).numel() * k for n, k in graph.positions.items()}
    return Budget(allowed(select.keep_params, params), allowed(select.keep_macs, macs))


def model_architecture(model: Model, classes: tuple[str, ...], resize: bool) -> SSDArchitecture:
    """Build the architecture a recipe asks for.

    Raises:
        RecipeError: its entries do not fit together.
    """
    try:
        return ssd_architecture(
            model.network,
            classes,
            size=model.size,
            resize=resize,
            batch_norm=model.batch_norm,
            detection_layers=model.detection_layers,
            widths=model.widths,
            scales=model.scales,
            aspect_ratios=model.aspect_ratios,
            mean=model.mean or VGG_MEAN,
            std=model.std or VGG_STD,
        )
    except ValueError as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise RecipeError(f"model: {str(reason).removeprefix('Value error, ')}") from None


def example_input(architecture: SSDArchitecture) -> Tensor:
    """A picture of the network's nominal size, (1, 3, size, size)."""
    return torch.zeros(1, 3, architecture.size, architecture.size)


def evaluation_input(architecture: SSDArchitecture, dataset: DetectionSet) -> Tensor:
    """A picture as evaluation meets it: of native size where pictures are not squeezed."""
    if architecture.resize:
        return example_input(architecture)
    return torch.zeros(1, 3, dataset.pictures[0].height, dataset.pictures[0].width)


def load_step(step: Step) -> Network:
    """Read the network a step wrote."""
    path = step.folder / "network.safetensors"
    file = load_network(path)
    return Network(file.ssd, file.architecture, path, step.key)


def provenance() -> dict[str, Any]:
    """Say what made the result: versions, machine and date."""
    packages = ("secateur", "torch", "torchvision", "lightning", "faster-coco-eval")
    return {
        "versions": {"python": platform.python_version()} | {p: version(p) for p in packages},
        "machine": {
            "system": platform.platform(),
            "processor": platform.processor() or platform.machine(),
            "threads": torch.get_num_threads(),
            "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _smallest_within(
    run: Run,
    attempt: Callable[[str, Select | Budget], tuple[Network, list[Step]]],
    model: Network,
    attempts: int,
    floor: float,
) -> tuple[Network, list[Step], list[list[float]]]:
    """Halve the interval of kept MACs and parameters for the least that stays above the floor.

    Each size is removed and retrained in full, so what is promised is what was measured. Where
    no attempt holds, the phase leaves the network as it was.
    """
    params = count_params(model.ssd)
    macs = count_macs(RawSSD(model.ssd), example_input(model.architecture))
    low, high = 0.0, 1.0
    best: tuple[Network, list[Step]] = (model, [])
    trace = []
    for number in range(1, attempts + 1):
        keep = (low + high) / 2
        try:
            network, steps = attempt(f"try{number}-", Budget(int(params * keep), int(macs * keep)))
        except PruningError:
            low = keep  # not even the least number of filters is small enough
            continue
        metric = steps[-1].result["metric"]
        trace.append([keep, metric])
        if metric >= floor:
            best, high = (network, steps), keep
        else:
            low = keep
    if not best[1]:
        run.reporter.say("  no size holds the drop: the phase leaves the network as it was")
    return *best, trace


def _selection_record(choice: Choice) -> dict[str, Any]:
    """Every filter's levels and fate, by group."""
    return {
        name: {
            "kept": kept.tolist(),
            "F": [round(v, 4) for v in choice.levels[name].F.tolist()],
            "G": [round(v, 4) for v in choice.levels[name].G.tolist()],
        }
        for name, kept in choice.kept.items()
    }


def _entries(recipe: Recipe, *names: str) -> dict[str, Any]:
    return {name: value for name, value in recipe.model_dump(mode="json").items() if name in names}


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
