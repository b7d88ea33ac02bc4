"""What a run's networks say of pictures, and how well they do on validation."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from secateur.data.formats.format import PictureSet
from secateur.models.architecture import Architecture
from secateur.run.context import Run
from secateur.tasks.progressive_validation import ProgressiveValidation


def predictions(run: Run, model: nn.Module, architecture: Architecture, dataset: PictureSet) -> Any:
    """Give a network's predictions for a set of pictures, in the task's format.

    The network is moved to the device and stays there. Each of several processes predicts its part
    of the pictures, and all get all predictions.
    """
    task, rank = run.task, run.processes.step_rank

    def ask(pictures: PictureSet) -> Any:
        with run.reporter.bar("evaluating", len(pictures)) as advance:
            return task.predictions(model, architecture, pictures, advance=advance)

    model.to(run.fabric.device)
    if rank.world_size == 1:
        return ask(dataset)
    own = rank.sample_indices(len(dataset), run.recipe.evaluate.batch_size)
    said = task.to_tensors(ask(dataset.subset(own))) if own else {}
    answered: dict[int, Any] = {}
    for positions, tensors in run.processes.gather((own, said)):
        if positions:
            parted = task.from_tensors(tensors, dataset.subset(positions))
            answered |= zip(positions, parted, strict=True)
    return task.joined([answered[position] for position in range(len(dataset))])


def validate(run: Run, model: nn.Module, architecture: Architecture) -> float:
    """The recipe's metric on validation, in percent."""
    metric, dataset = run.recipe.evaluate.metric, run.splits.validation
    found = predictions(run, model, architecture, dataset)
    model.cpu()
    return run.processes.broadcast(run.task.measure(found, dataset, (metric,))[metric])


def growing_validation(
    run: Run, name: str, model: nn.Module, architecture: Architecture, metric: float, floor: float
) -> ProgressiveValidation:
    """Validation of what a model will be, which has ``metric`` as it is, against a floor."""
    dataset, metrics = run.splits.validation, (run.recipe.evaluate.metric,)

    def measure(said: Sequence[Any], positions: Sequence[int]) -> float:
        found = run.task.measure(run.task.joined(said), dataset.subset(positions), metrics)
        return run.processes.broadcast(found[metrics[0]])

    return ProgressiveValidation(
        len(dataset),
        lambda positions: predictions(run, model, architecture, dataset.subset(positions)),
        measure,
        metric,
        floor,
        run.seed(name),
    )
