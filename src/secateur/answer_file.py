"""What a network said of every picture, in a file, so that nothing has to be run again."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from secateur.errors import RunError
from secateur.tasks.task import Task
from secateur.whole_file import whole_file

ANSWER_FILE = "answers.safetensors"


def save_answers(folder: Path, task: Task, answers: Any) -> None:
    """Write a network's answers into a step's folder."""
    with whole_file(folder / ANSWER_FILE) as draft:
        save_file(task.to_tensors(answers), draft)


def load_answers(folder: Path, task: Task, dataset: Any) -> Any:
    """Read a network's answers from a step's folder.

    Args:
        folder: the step's.
        task: that they were for.
        dataset: that they are about.

    Raises:
        RunError: the file is missing or broken.
    """
    path = folder / ANSWER_FILE
    try:
        return task.from_tensors(load_file(path), dataset)
    except (OSError, SafetensorError, KeyError, ValueError):
        raise RunError(
            f"{path}: cannot be read; remove {folder}, and the step is done again"
        ) from None
