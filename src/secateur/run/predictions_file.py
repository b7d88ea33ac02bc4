"""A file of a network's predictions, so that they need not be computed again."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from secateur.errors import RunError
from secateur.files.atomic_write import atomic_write
from secateur.tasks.task import Task

PREDICTIONS_FILE = "predictions.safetensors"


def save_predictions(folder: Path, task: Task, predictions: Any) -> None:
    """Write a network's predictions into a stage's folder."""
    with atomic_write(folder / PREDICTIONS_FILE) as draft:
        save_file(task.to_tensors(predictions), draft)


def load_predictions(folder: Path, task: Task, dataset: Any) -> Any:
    """Read a network's predictions from a stage's folder.

    Args:
        folder: of the stage.
        task: whose predictions they are.
        dataset: the pictures they were made for.

    Raises:
        RunError: the file is missing or damaged.
    """
    path = folder / PREDICTIONS_FILE
    try:
        return task.from_tensors(load_file(path), dataset)
    except (OSError, SafetensorError, KeyError, ValueError):
        raise RunError(
            f"{path}: cannot be read; delete {folder} and give the command again"
        ) from None
