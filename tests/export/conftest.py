import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Small operators run faster on one thread, especially next to other tests."""
    torch.set_num_threads(1)
