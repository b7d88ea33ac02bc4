import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Many small operators are quicker on one thread, beside other tests above all."""
    torch.set_num_threads(1)
