"""Fixtures that all tests share."""

import math
import os
import signal
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings

from commands import Outcome
from secateur.cli.console import ConsoleReporter
from secateur.cli.main import main

# A machine that pauses for a moment must not fail a test.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(autouse=True)
def _undisturbed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Isolate each test from the machine's speed and from signal handlers and threads of others."""
    monkeypatch.setattr(ConsoleReporter, "patience", math.inf)  # no progress lines
    torch.set_num_threads(1)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def secateur(capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the command line in this process, because torch takes seconds to import."""

    def run(*arguments: object) -> Outcome:
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        found = capfd.readouterr()
        assert isinstance(end.value.code, int)
        return Outcome(end.value.code, found.out, found.err)

    return run


@pytest.fixture
def benchmark_module(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Import a module of the benchmarks."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    return import_module


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real data sets: SECATEUR_DATA, or shared/data beside the repository."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SECATEUR_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set SECATEUR_DATA to the folder that has them")
    return folder
