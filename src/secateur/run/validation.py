"""Predictions of a run's networks, and their accuracy on validation."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from secateur.data.formats.format import PictureSet
from secateur.models.architecture import Architecture
from secateur.run.context import Run
from secateur.tasks.progressive_validation import ProgressiveValidation


def predictions(run: Run, model: nn.Module, architecture: Architecture, dataset: PictureSet) -> Any:
    """Predict for a set of pictures; the result has the task's format.

    The network is moved to the device and left there. With several processes, each predicts for a
    part of the pictures, and all receive all predictions.
    """
    task, rank = run.task, run.processes.step_rank

    def predict(pictures: PictureSet) -> Any:
        with run.reporter.bar("evaluating", len(pictures)) as advance:
            return task.predictions(model, architecture, pictures, advance=advance)

    model.to(run.fabric.device)
    if rank.world_size == 1:
        return predict(dataset)
    own = rank.sample_indices(len(dataset), run.recipe.evaluate.batch_size)
    predicted = task.to_tensors(predict(dataset.subset(own))) if own else {}
    by_position: dict[int, Any] = {}
    for positions, tensors in run.processes.gather((own, predicted)):
        if positions:
            part = task.from_tensors(tensors, dataset.subset(positions))
            by_position |= zip(positions, part, strict=True)
    return task.joined([by_position[position] for position in range(len(dataset))])


def validate(run: Run, model: nn.Module, architecture: Architecture) -> float:
    """Measure the recipe's metric on validation, in percent; the network is left on the CPU."""
    metric, dataset = run.recipe.evaluate.metric, run.splits.validation
    found = predictions(run, model, architecture, dataset)
    model.cpu()
    return run.processes.broadcast(run.task.measure(found, dataset, (metric,))[metric])


def growing_validation(
    run: Run, name: str, model: nn.Module, architecture: Architecture, metric: float, floor: float
) -> ProgressiveValidation:
    """Make the validation of a threshold search, which stops early if the metric is too low.

    Args:
        run: the run.
        name: of the seed that orders the pictures.
        model: the network that the search changes in place.
        architecture: of the dense network.
        metric: of the unchanged network on validation.
        floor: the least metric allowed.
    """
    dataset, metrics = run.splits.validation, (run.recipe.evaluate.metric,)

    def measure(predicted: Sequence[Any], positions: Sequence[int]) -> float:
        found = run.task.measure(run.task.joined(predicted), dataset.subset(positions), metrics)
        return run.processes.broadcast(found[metrics[0]])

    return ProgressiveValidation(
        len(dataset),
        lambda positions: predictions(run, model, architecture, dataset.subset(positions)),
        measure,
        metric,
        floor,
        run.seed(name),
    )
