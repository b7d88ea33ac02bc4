"""The stages before and after the phases: the dense network, and the evaluations."""

import hashlib
import json
from pathlib import Path
from typing import Any, cast

import torch

from secateur.data.source import describe
from secateur.files.atomic_write import write_json
from secateur.models.cost import count_macs, count_params
from secateur.models.network import build_network, example_input, layer_widths, raw_network
from secateur.models.network_file import load_network
from secateur.models.weights import load_weights
from secateur.pruning.verification import fix_unverified
from secateur.run.context import DENSE, Handle, Run, dense_inputs
from secateur.run.phases import network_groups, recipe_phases
from secateur.run.predictions_file import PREDICTIONS_FILE, save_predictions
from secateur.run.records import TrainingRecord
from secateur.run.stage import Stage, Step
from secateur.run.training import (
    NETWORK_FILE,
    StageTraining,
    evaluation_settings,
    measure_network,
)
from secateur.run.validation import predictions

# Points of a metric below which a dense network is not worth compressing.
POOR = 10.0


def train_dense(run: Run) -> tuple[Handle, Step]:
    """Train the dense network from the weights the recipe names, or take them as they are."""
    recipe, architecture = run.recipe, run.architecture
    weights = recipe.model.weights

    def make(folder: Path) -> dict[str, Any]:
        fixed = unverified_groups(run)
        torch.manual_seed(run.seed(DENSE))
        model = build_network(architecture)
        fresh: list[str] = []
        if weights:
            whole = recipe.train.steps == 0
            fresh = load_weights(model, weights, whole=whole)
            rest = f"; {len(fresh)} of its tensors start from scratch" if fresh else ""
            run.reporter.say(f"  from {weights}{rest}")
        loss = StageTraining(run, DENSE, recipe.train, folder).fit(model)
        return {"kind": "dense", "loss": loss, "fresh": fresh, "fixed": fixed}

    def measure(folder: Path) -> dict[str, Any]:
        model = load_network(folder / NETWORK_FILE).model
        return measure_network(run, folder, model, recipe.train.steps)

    depends_on = dense_inputs(recipe, architecture, run.data_key)
    stage = Stage(DENSE, depends_on, make, evaluation_settings(run), measure, shared=True)
    step = run.do(stage)
    metric = cast(TrainingRecord, step.result).metrics[recipe.evaluate.metric] or 0.0
    run.reporter.say(f"dense: {recipe.evaluate.metric} {metric:.1f} on validation")
    # A classifier may guess.
    guessed = 120.0 / len(architecture.classes) if recipe.evaluate.metric == "top1" else 0.0
    if metric < max(POOR, guessed):
        cure = (
            "train it longer (train.steps), or from weights (model.weights)"
            if recipe.train.steps
            else "check that data.classes has the order of its outputs, and model.mean, model.std, "
            "scales and aspect_ratios are those it was trained with"
        )
        run.reporter.say(f"  accuracy is too low for pruning results to mean anything; {cure}")
    return Handle(step.folder / NETWORK_FILE, step.output_key, architecture), step


def evaluate_network(run: Run, name: str, network: Handle) -> Step:
    """Evaluate a network on test, or on validation where the recipe names no test split.

    Its predictions for every picture, and its accuracy by class, go into files of their own.
    """
    dataset = run.evaluated

    def make(folder: Path) -> dict[str, Any]:
        model = network.load()
        example = run.task.evaluation_input(network.architecture, dataset)
        found = predictions(run, model, network.architecture, dataset)
        model.cpu()
        save_predictions(folder, run.task, found)
        write_json(folder / "by_class.json", run.task.by_class(found, dataset))
        return {
            "kind": "evaluate",
            "network": name,
            "params": count_params(model),
            "macs": count_macs(raw_network(model), example),
            "bytes": network.path.stat().st_size,
            "metrics": run.task.measure(found, dataset, run.task.metrics),
            "filters": layer_widths(model),
            "input": list(example.shape[1:]),
        }

    described = json.dumps(describe(dataset, run.recipe.data.root))
    depends_on = {
        "model": network.key,
        "test": hashlib.sha256(described.encode()).hexdigest(),
        "evaluate": evaluation_settings(run),
        "writes": [PREDICTIONS_FILE, "by_class.json"],
    }
    return run.do(Stage(f"evaluate-{name}", depends_on, make, shared=True))


def unverified_groups(run: Run) -> dict[str, str]:
    """Find the channel groups from which no removal can be verified, and why.

    The phases are resolved without these groups, so that a budget that cannot be met is reported
    before any training.

    Raises:
        PruningError: no removal from the network can be verified.
        BudgetError: without these groups a budget cannot be met.
    """
    model, architecture = build_network(run.architecture).eval(), run.architecture
    graph = network_groups(model, architecture)
    batch = torch.randn(example_input(architecture).shape)
    verified = fix_unverified(raw_network(model), graph, batch)
    recipe_phases(run.recipe, model, verified)
    return {
        name: str(group.fixed)
        for name, group in verified.groups.items()
        if group.fixed is not None and graph.groups[name].fixed is None
    }
