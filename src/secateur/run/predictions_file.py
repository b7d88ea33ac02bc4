"""What a network said of every picture, in a file, so that nothing has to be run again."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from secateur.errors import RunError
from secateur.files.atomic_write import atomic_write
from secateur.tasks.task import Task

PREDICTIONS_FILE = "predictions.safetensors"


def save_predictions(folder: Path, task: Task, predictions: Any) -> None:
    """Write a network's predictions into a step's folder."""
    with atomic_write(folder / PREDICTIONS_FILE) as draft:
        save_file(task.to_tensors(predictions), draft)


def load_predictions(folder: Path, task: Task, dataset: Any) -> Any:
    """Read a network's predictions from a step's folder.

    Args:
        folder: the step's.
        task: that they were for.
        dataset: that they are about.

    Raises:
        RunError: the file is missing or broken.
    """
    path = folder / PREDICTIONS_FILE
    try:
        return task.from_tensors(load_file(path), dataset)
    except (OSError, SafetensorError, KeyError, ValueError):
        raise RunError(
            f"{path}: cannot be read; remove {folder}, and the step is done again"
        ) from None
