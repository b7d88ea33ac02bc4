"""Fixtures that all tests share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real data sets: SECATEUR_DATA, or shared/data beside the repository."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SECATEUR_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set SECATEUR_DATA to the folder that has them")
    return folder
