"""The steps of a run, each an artifact in the run folder."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn

from secateur.config.architecture import recipe_architecture
from secateur.config.compress import Phase, Sparsify
from secateur.config.recipe import Recipe
from secateur.config.train import Retrain, Training
from secateur.data.source import describe
from secateur.files.atomic_write import write_json
from secateur.models.architecture import Architecture
from secateur.models.cost import count_macs, count_params
from secateur.models.network import build_network, example_input, layer_widths, raw_network
from secateur.models.network_file import load_network, save_network
from secateur.models.weights import load_weights
from secateur.pruning.baselines.torch_pruning import penalize_group_norms
from secateur.pruning.penalties import (
    Penalties,
    apply_threshold,
    make_penalty,
    penalize_scales,
    prunable_weights,
    zero_share,
)
from secateur.pruning.threshold import layer_deviations, search_threshold
from secateur.run.folder import UNFINISHED, Step
from secateur.run.phases import network_groups, phase_groups
from secateur.run.predictions_file import PREDICTIONS_FILE, save_predictions
from secateur.run.removing import Removal, removal_depends_on, remove, width_steps_line
from secateur.run.run import Network, Run, load_step
from secateur.run.validation import growing_validation, predictions, validate
from secateur.tasks.distillation import Teacher
from secateur.training.checkpoint import TrainingState
from secateur.training.log import DEAR_POINTS, POINTS, Log, is_point, training_log
from secateur.training.loop import Schedule, learning_rate_share, train

# Points of any metric under which a dense network is not worth compressing.
POOR = 10.0
# In the folder of a step whose network is made, whatever then comes of validating it.
LOSS_FILE = "loss.json"
REMOVAL_FILE = "removal.json"


def train_dense(run: Run) -> tuple[Network, Step]:
    """Train the dense network, from the weights the recipe names, or take them as they are."""
    recipe = run.recipe
    architecture = recipe_architecture(recipe, run.splits.train.classes)
    weights = recipe.model.weights

    def work(folder: Path) -> dict[str, Any]:
        torch.manual_seed(run.seed("dense"))
        model = build_network(architecture)
        fresh: list[str] = []
        if weights and _kept(folder / LOSS_FILE) is None:
            whole = recipe.train.steps == 0
            fresh = load_weights(model, weights, architecture.batch_norm, whole=whole)
            rest = f"; {len(fresh)} of its tensors start afresh" if fresh else ""
            run.reporter.say(f"  from {weights}{rest}")
        trained = train_network(run, folder, "dense", model, architecture, recipe.train)
        return {**trained, "fresh": fresh}

    depends_on = {
        "data": run.data_key,
        # With the classes and how pictures are read, which the recipe may leave to the data.
        "architecture": architecture.model_dump(mode="json"),
        "recipe": _entries(recipe, "seed", "precision", "train"),
        "augmentation": recipe.data.augmentation.model_dump(),
        "weights": _file_digest(Path(weights)) if weights and Path(weights).is_file() else weights,
        "versions": [torch.__version__, torchvision.__version__],
    }
    step = run.step("dense", depends_on, work, together=True, measured_by=_measuring(run))
    metric = step.result["metric"]
    run.reporter.say(f"dense: {recipe.evaluate.metric} {metric:.1f} on validation")
    # A classifier may guess.
    guessed = 120.0 / len(architecture.classes) if recipe.evaluate.metric == "top1" else 0.0
    if metric < max(POOR, guessed):
        cure = (
            "train it longer (train.steps), or from weights (model.weights)"
            if recipe.train.steps
            else "see that data.classes has the order of its outputs, and model.mean, model.std, "
            "scales and aspect_ratios are what it was trained with"
        )
        run.reporter.say(
            f"  that is next to nothing: what is cut from such a network tells little; {cure}"
        )
    return load_step(step), step


def sparsify_network(
    run: Run, name: str, phase: Phase, before: Network, settings: Sparsify
) -> tuple[Network, Step]:
    """Step 1: train with the penalty on the phase's layers."""

    def work(folder: Path) -> dict[str, Any]:
        model, architecture = load_network(before.path).model, before.architecture
        raw, graph = raw_network(model), network_groups(model, architecture)
        groups = phase_groups(phase, model, architecture, graph)
        if settings.penalty == "norm_scale":
            penalty = penalize_scales(raw, graph, groups, settings.strength)
        elif settings.penalty == "group_norm":
            example = example_input(architecture)
            penalty = penalize_group_norms(raw, graph, groups, settings.strength, example)
        else:
            penalty = make_penalty(
                raw,
                graph,
                groups,
                kind=settings.penalty,
                strength=settings.strength,
                group_strength=settings.group_strength,
            )
        step = f"{name}-sparsify"
        trained = train_network(run, folder, step, model, architecture, settings, penalty)
        return {**trained, "zeros": zero_share(penalty.weights.values())}

    depends_on = {"model": before.key, "layers": phase.layers, "sparsify": settings.model_dump()}
    step = run.step(
        f"{name}-sparsify", depends_on, work, together=True, measured_by=_measuring(run)
    )
    run.reporter.say(
        f"  sparsified: {step.result['zeros']:.1%} exact zeros, "
        f"{run.recipe.evaluate.metric} {step.result['metric']:.1f}"
    )
    return load_step(step), step


def threshold_network(run: Run, name: str, phase: Phase, sparse: Network, reference: float) -> Step:
    """Step 1, second half: find and apply the largest global threshold within the drop.

    The drop is taken from ``reference``, the metric of the sparse network before the threshold.
    """
    settings = run.recipe.compress.threshold

    def work(folder: Path) -> dict[str, Any]:
        model, architecture = load_network(sparse.path).model, sparse.architecture
        graph = network_groups(model, architecture)
        groups = phase_groups(phase, model, architecture, graph)
        weights = prunable_weights(raw_network(model), graph, groups)
        units = layer_deviations(weights) if settings.scope == "layer" else None
        floor = reference - settings.max_drop
        validation = growing_validation(
            run, f"{name} threshold", model, architecture, reference, floor
        )
        found = search_threshold(weights, validation, floor, settings.resolution, units)
        apply_threshold(weights, found.value, units)
        model.cpu()
        save_network(
            folder / "network.safetensors", model, architecture, {"step": f"{name}-threshold"}
        )
        return {
            "threshold": found.value,
            "zeros": found.zeros,
            "metric": found.metric,
            "status": found.status,
            "trace": [[trial.threshold, trial.zeros, trial.metric] for trial in found.trace],
            "pictures": validation.evaluated,
        }

    depends_on = {
        "model": sparse.key,
        "layers": phase.layers,
        "threshold": settings.model_dump(),
        "evaluate": _measuring(run),
    }
    step = run.step(f"{name}-threshold", depends_on, work, together=True)
    run.reporter.say(
        f"  threshold {step.result['threshold']:.3g}: {step.result['zeros']:.1%} zeros, "
        f"{run.recipe.evaluate.metric} {step.result['metric']:.1f}"
        + ("" if step.result["status"] == "found" else " (no threshold holds the drop)")
    )
    return step


def remove_from_network(run: Run, removal: Removal) -> Step:
    """Steps 2 and 3: select on the thresholded weights, remove from the unthresholded ones."""

    def work(folder: Path) -> dict[str, Any]:
        found = _kept(folder / REMOVAL_FILE)
        if found is None:
            found = remove(run, removal, folder)
            write_json(folder / REMOVAL_FILE, found)
        slim = load_network(folder / "network.safetensors")
        return {"metric": validate(run, slim.model, slim.architecture), **found}

    step = run.step(
        removal.name, removal_depends_on(run, removal), work, measured_by=_measuring(run)
    )
    if "width_steps" in step.result:
        run.reporter.say(width_steps_line(step.result["width_steps"]))
    run.reporter.say(
        f"  removed {step.result['removed']} filters: {step.result['params'] / 1e6:.3f} M "
        f"parameters, {step.result['macs'] / 1e9:.3f} GMACs, "
        f"{run.recipe.evaluate.metric} {step.result['metric']:.1f}"
    )
    return step


def retrain_network(run: Run, name: str, slim: Network, settings: Retrain, dense: Network) -> Step:
    """Step 4: train with the original loss, without the penalty; from the dense network if said."""

    def work(folder: Path) -> dict[str, Any]:
        model, architecture = load_network(slim.path).model, slim.architecture
        teacher = None
        if settings.distill:
            taught = load_network(dense.path).model.requires_grad_(False).eval()
            teacher = Teacher(taught.to(run.fabric.device), settings.distill)
        return train_network(run, folder, name, model, architecture, settings, teacher=teacher)

    depends_on = {"model": slim.key, "retrain": settings.model_dump()}
    if settings.distill:
        depends_on["teacher"] = dense.key
    step = run.step(name, depends_on, work, together=True, measured_by=_measuring(run))
    run.reporter.say(
        f"  retrained: {run.recipe.evaluate.metric} {step.result['metric']:.1f} on validation"
    )
    return step


def evaluate_network(run: Run, name: str, network: Network) -> Step:
    """Measure a network on test, or on validation where the recipe names no test split.

    What it said of every picture, and its accuracy by class, go into files of their own.
    """
    dataset = run.evaluated

    def work(folder: Path) -> dict[str, Any]:
        example = run.task.evaluation_input(network.architecture, dataset)
        found = predictions(run, network.model, network.architecture, dataset)
        network.model.cpu()
        save_predictions(folder, run.task, found)
        write_json(folder / "by_class.json", run.task.by_class(found, dataset))
        return {
            "params": count_params(network.model),
            "macs": count_macs(raw_network(network.model), example),
            "bytes": network.path.stat().st_size,
            **run.task.measure(found, dataset, run.task.metrics),
            "widths": layer_widths(network.model),
            "input": list(example.shape[1:]),
        }

    root = run.recipe.data.root
    depends_on = {
        "model": network.key,
        "test": hashlib.sha256(json.dumps(describe(dataset, root)).encode()).hexdigest(),
        "evaluate": _measuring(run),
        "writes": [PREDICTIONS_FILE, "by_class.json"],
    }
    return run.step(f"evaluate-{name}", depends_on, work, together=True)


def train_network(
    run: Run,
    folder: Path,
    name: str,
    model: nn.Module,
    architecture: Architecture,
    settings: Training,
    penalty: Penalties | None = None,
    teacher: Teacher | None = None,
) -> dict[str, Any]:
    """Train in place, write the network into the step's folder, and validate.

    A training that was stopped is gone on with, and one that is through only validated.
    TensorBoard shows both.

    Returns:
        ``metric``, the recipe's on validation, in percent, and ``loss``, averaged over about a
        hundredth of the steps each.
    """
    steps = settings.steps
    state = TrainingState(folder / UNFINISHED / "training.safetensors", run.recipe.checkpoint)
    loss = (_kept(folder / LOSS_FILE) or {}).get("loss")
    done = state.steps_done(steps) if loss is None else steps
    with training_log(run.folder / "logs" / name, done) as log:
        if loss is None:
            trace = (
                _train(run, name, model, architecture, settings, state, log, penalty, teacher)
                if steps
                else []
            )
            span = max(1, len(trace) // 100)
            parts = [trace[i : i + span] for i in range(0, len(trace), span)]
            loss = [round(sum(part) / len(part), 4) for part in parts]
            save_network(folder / "network.safetensors", model, architecture, {"step": name})
            write_json(folder / LOSS_FILE, {"loss": loss})
        else:
            model.load_state_dict(load_network(folder / "network.safetensors").model.state_dict())
        metric = validate(run, model, architecture)
        log({run.recipe.evaluate.metric: metric}, steps)
    return {"metric": metric, "loss": loss}


def _train(
    run: Run,
    name: str,
    model: nn.Module,
    architecture: Architecture,
    settings: Training,
    state: TrainingState,
    log: Log,
    penalty: Penalties | None,
    teacher: Teacher | None,
) -> list[float]:
    """Train in place, from the state on; the network ends on the CPU. Gives each step's loss."""
    seed, steps = run.seed(name), settings.steps
    torch.manual_seed(seed)
    done = state.steps_done(steps)
    if done:
        run.reporter.say(f"  goes on behind step {done} of {steps}")
    batches = run.task.batches(
        run.splits.train,
        architecture,
        settings,
        seed,
        run.fabric.device,
        done,
        run.processes.step_rank,
    )
    schedule = Schedule(
        settings.optimizer,
        settings.lr,
        settings.weight_decay,
        settings.warmup,
        settings.decay,
        settings.clip,
    )
    with run.reporter.bar(name, steps, done) as advance:

        def on_step(step: int, loss: float) -> None:
            advance(1, f"loss {loss:.2f}")
            if is_point(step, steps, POINTS):
                rate = schedule.lr * learning_rate_share(schedule, step, steps)
                log({"loss": loss, "lr": rate}, step)
            if penalty is not None and is_point(step, steps, DEAR_POINTS):
                log({"zeros": zero_share(penalty.weights.values())}, step)

        trace = train(
            run.fabric,
            model,
            run.task.loss(architecture, teacher),
            batches,
            schedule,
            penalty=penalty,
            on_step=on_step,
            state=state,
        )
    model.cpu()
    run.processes.broadcast_model(model)
    return trace


def _kept(path: Path) -> dict[str, Any] | None:
    """What a step wrote when its network was made; None before that."""
    try:
        kept = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return kept if isinstance(kept, dict) else None


def _measuring(run: Run) -> dict[str, Any]:
    """What every accuracy depends on beside network and pictures."""
    return run.recipe.evaluate.model_dump(exclude={"batch_size"})


def _entries(recipe: Recipe, *names: str) -> dict[str, Any]:
    return {name: value for name, value in recipe.model_dump(mode="json").items() if name in names}


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
