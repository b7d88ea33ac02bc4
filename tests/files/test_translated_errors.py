"""Errors of torch and of loading processes as one line."""

import os
import re
import signal
from collections.abc import Callable

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from secateur.errors import DataError, RunError
from secateur.files.translated_errors import translated_errors


class Samples(Dataset[int]):
    """Eight samples; the first is the result of a function."""

    def __init__(self, first: Callable[[], int]) -> None:
        self.first = first

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> int:
        return self.first() if index == 0 else index


def broken_picture() -> int:
    raise DataError("a.jpg: cannot be read; restore it")


def killed() -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def test_an_error_in_a_loading_process_has_one_line() -> None:
    with pytest.raises(DataError) as error, translated_errors():
        list(DataLoader(Samples(broken_picture), num_workers=1))
    assert str(error.value) == "a.jpg: cannot be read; restore it"


def test_a_loading_process_that_is_killed() -> None:
    with pytest.raises(RunError, match=r"was killed.*data\.workers"), translated_errors():
        list(DataLoader(Samples(killed), num_workers=1))


def test_more_memory_than_the_machine_has() -> None:
    with (
        pytest.raises(RunError, match=r"memory ran short; lower the batch_size"),
        translated_errors(),
    ):
        torch.empty(2**46)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "memory ran short"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), "memory ran short"),
        (
            RuntimeError(
                "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that "
                "dataloader's workers are out of shared memory. Please try to raise your shared "
                "memory limit."
            ),
            "shm-size",
        ),
    ],
)
def test_errors_of_torch(error: Exception, message: str) -> None:
    with pytest.raises(RunError, match=message), translated_errors():
        raise error


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), DataError("b.jpg: broken")])
def test_other_errors_are_not_translated(error: Exception) -> None:
    with pytest.raises(type(error), match=re.escape(str(error))) as raised, translated_errors():
        raise error
    assert raised.value is error
