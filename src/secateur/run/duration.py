"""Estimate of a recipe's training time on this machine, from a few steps of the dense network."""

import os
import time
from dataclasses import dataclass

import torch
from lightning.fabric.utilities import move_data_to_device

from secateur.config.architecture import recipe_architecture
from secateur.config.data import DetectionData
from secateur.config.recipe import Recipe
from secateur.data.formats.format import PictureSet
from secateur.distributed.processes import open_fabric
from secateur.files.translated_errors import translated_errors
from secateur.models.network import build_network
from secateur.tasks.task import task_of
from secateur.training.loop import train
from secateur.training.schedule import Schedule

# Steps with each batch size; only the last is timed.
_STEPS = 3
# Seconds of a step after which larger batches are not tried.
_LONG = 0.5


@dataclass(frozen=True, slots=True)
class Duration:
    """Training time of a recipe.

    Attributes:
        device: name of the device.
        dense: seconds to train the dense network.
        phases: seconds of each phase's trainings with the dense network, an upper bound because
            the network shrinks.
    """

    device: str
    dense: float
    phases: tuple[float, ...]


def measure_duration(recipe: Recipe, pictures: PictureSet) -> Duration:
    """Time a few training steps of the dense network, and scale them to the recipe's trainings.

    Evaluations and threshold searches are not included.

    Args:
        recipe: to estimate.
        pictures: its training set.

    Raises:
        DataError: a picture cannot be read.
        RunError: memory runs short.
    """
    with translated_errors():
        pace, device = _seconds_a_picture(recipe, pictures)
    seconds = []
    for number in range(1, len(recipe.compress.phases) + 1):
        _, sparsify, select, retrain = recipe.phase(number)
        attempts = 1 if select.max_drop is None else select.attempts
        seen = attempts * retrain.steps * retrain.batch_size if recipe.compress.training else 0
        if select.settings.ranks_by.sparsifies:
            seen += sparsify.steps * sparsify.batch_size
        seconds.append(pace * seen)
    dense = pace * recipe.train.steps * recipe.train.batch_size
    return Duration(device, dense, tuple(seconds))


def _seconds_a_picture(recipe: Recipe, pictures: PictureSet) -> tuple[float, str]:
    """Time a step with batches of growing size, up to the recipe's or until a step is long.

    Returns:
        Seconds for each picture, and the name of the device.
    """
    fabric = open_fabric(bf16=recipe.precision == "bf16")
    architecture = recipe_architecture(recipe, pictures.classes)
    model = build_network(architecture)
    data, workers = recipe.data, 0
    if isinstance(data, DetectionData):
        # Loaded in this process, so that loading can be timed.
        data, workers = data.model_copy(update={"workers": 0}), data.workers
    task = task_of(data, recipe.evaluate)
    schedule = Schedule(recipe.train.optimizer, 1e-12, 0.0, 0.0, "constant", recipe.train.clip)
    size = min(2, recipe.train.batch_size)  # a batch norm may see one cell of each picture
    while True:
        settings = recipe.train.model_copy(update={"steps": _STEPS, "batch_size": size})
        start = time.perf_counter()
        batches = list(task.batches(pictures, architecture, settings, 0, fabric.device))
        loading = (time.perf_counter() - start) / (_STEPS * size)
        ends: list[float] = []
        train(
            fabric,
            model,
            task.loss(architecture),
            move_data_to_device(batches, fabric.device),
            schedule,
            on_step=lambda _step, _loss, ends=ends: ends.append(time.perf_counter()),  # type: ignore[misc]
        )
        step = ends[-1] - ends[-2]
        if size == recipe.train.batch_size or step > _LONG:
            break
        size = min(2 * size, recipe.train.batch_size)
    training = step / size
    if fabric.device.type != "cpu":
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "the accelerator"
        # Worker processes load while the device trains.
        return max(training, loading / workers) if workers else training + loading, device
    threads = torch.get_num_threads()
    device = f"this processor ({threads} thread{'s' if threads > 1 else ''})"
    return training + loading / max(1, min(workers, os.cpu_count() or 1)), device
