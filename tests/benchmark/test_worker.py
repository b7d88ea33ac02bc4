import os
import signal
from multiprocessing import active_children
from pathlib import Path

import pytest

from secateur.benchmark.job import Job
from secateur.benchmark.pictures import random_batch
from secateur.benchmark.worker import running
from secateur.errors import ModelError
from secateur.runtimes.header import ExportHeader


def job(model: Path) -> Job:
    header = ExportHeader(
        task="detector", outputs="objects", classes=("dog", "cat"), size=96, resize=True
    )
    return Job(str(model), header, "torch", None, False, 1, random_batch((96, 96), 2, 0))


def test_the_error_names_a_process_that_dies(detector: Path) -> None:
    with running([job(detector), job(detector.with_name("gone.safetensors"))]) as workers:
        memory = workers[0].loaded()
        if memory is not None:
            assert 0 < memory.peak < memory.in_all
        with pytest.raises(ModelError, match=r"gone\.safetensors: no such network file"):
            workers[1].loaded()
        assert set(workers[0].burst(3)) == {"network", "whole"}
        for process in active_children():
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(ModelError, match=f"{detector} on torch in batches of 2: .* --batch"):
            workers[0].burst(1)
    assert not active_children()


def test_stopping_leaves_no_process(detector: Path) -> None:
    def stop() -> None:
        with running([job(detector)]):
            assert len(active_children()) == 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert not active_children()
