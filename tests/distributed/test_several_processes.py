"""Runs of several processes on the CPU, started by torchrun."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from lightning.fabric import Fabric
from safetensors.torch import load_file
from torch import Tensor

from commands import Outcome, one_error
from secateur.config.data import DetectionData
from secateur.config.evaluate import Evaluate
from secateur.data.cached_batches import CachedBatches, augment
from secateur.data.classification_set import ClassificationSet
from secateur.data.formats.voc import read_voc
from secateur.data.loaders import training_batches
from secateur.data.transforms.augmentation import SSDAugmentation
from secateur.distributed.processes import Processes
from secateur.distributed.rank import Rank, own_rank
from secateur.errors import LostError, RunError
from secateur.models.network_file import load_network
from secateur.tasks.task import task_of
from shapes import draw_class_folders, draw_voc_folder
from tiny_recipe import TINY, write_recipe

# Without norms and dropout, the mean gradient of the processes is that of the whole batch.
CLASSIFIER: dict[str, Any] = {
    "name": "classes",
    "seed": 1,
    "checkpoint": 1e-6,  # after every step
    "data": {"format": "folders", "validation": 0.25, "augmentation": {"shift": 0.1}},
    "model": {
        "network": "vgg16",
        "size": 32,
        "widths": 0.06,
        "hidden": [],
        "pool": 1,
        "batch_norm": False,
    },
    "train": {"steps": 60, "batch_size": 8, "optimizer": "sgd", "lr": 0.01},
    "compress": {
        "phases": [{"layers": "conv1_1-conv3_3"}],
        "sparsify": {"steps": 1, "batch_size": 8, "strength": 0.01},
        "select": {"keep_params": 0.95},
        "retrain": {"steps": 1, "batch_size": 8},
    },
}
Secateur = Callable[..., Outcome]


def torchrun(*arguments: object) -> "subprocess.Popen[str]":
    """Start a command in two processes."""
    starter = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.Popen(
        [*starter, "-m", "--", "secateur", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def finish(process: "subprocess.Popen[str]") -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def result_of(step: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((step / "step.json").read_text("utf-8"))["result"]
    return result


def read(out: str, pattern: str) -> str:
    (found,) = re.findall(pattern, out)
    return str(found)


# ---- each rank's part --------------------------------------------------------------------


@given(st.integers(1, 8), st.integers(0, 70), st.integers(1, 9))
def test_every_batch_is_evaluated_by_one_rank(count: int, pictures: int, batch_size: int) -> None:
    parts = [Rank(rank, count).sample_indices(pictures, batch_size) for rank in range(count)]
    assert sorted(at for part in parts for at in part) == list(range(pictures))
    batches = [range(start, start + batch_size) for start in range(0, pictures, batch_size)]
    for batch in batches:
        whole = set(batch) & set(range(pictures))
        assert sum(whole <= set(part) for part in parts) == 1


@pytest.mark.parametrize("done", [0, 2])
def test_ranks_read_the_batches_of_a_single_process(tmp_path: Path, done: int) -> None:
    draw_voc_folder(tmp_path)
    pictures = read_voc(tmp_path, "train", ("square", "disc")).pictures
    give = partial(
        training_batches,
        pictures,
        SSDAugmentation(64, photometric=True, expand=1.5, crop=True, flip=True),
        steps=5,
        batch_size=6,
        seed=3,
        workers=0,
        done=done,
    )
    parts = [give(rank=Rank(rank, 3)) for rank in range(3)]
    assert {len(part) for part in parts} == {5 - done}
    for whole, *shares in zip(give(), *parts, strict=True):
        for tensor, *portions in zip(whole, *shares, strict=True):
            assert torch.equal(torch.cat(portions), tensor)


def test_ranks_augment_the_cached_batches_of_a_single_process() -> None:
    pixels = torch.randint(0, 256, (10, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    dataset = ClassificationSet(
        ("a",), pixels.to(torch.uint8), torch.arange(10), tuple("abcdefghij")
    )

    def give(rank: Rank) -> Iterator[tuple[Tensor, Tensor]]:
        options = {"flip": True, "shift": 0.2, "zoom": 1.2, "rotate": 5.0, "light": 0.2}

        def augmentation(pixels: Tensor, generator: torch.Generator) -> Tensor:
            return augment(pixels, **options, generator=generator, rank=rank)

        return iter(
            CachedBatches(
                dataset,
                steps=4,
                batch_size=6,
                seed=2,
                augmentation=augmentation,
                device=torch.device("cpu"),
                rank=rank,
            )
        )

    parts = [give(Rank(rank, 2)) for rank in range(2)]
    for whole, *shares in zip(give(Rank()), *parts, strict=True):
        for number, tensor in enumerate(whole):
            assert torch.equal(torch.cat([share[number] for share in shares]), tensor)


# ---- refused -----------------------------------------------------------------------


@pytest.fixture
def third_of_three(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Set the environment of one rank of three."""

    def put(rank: int) -> None:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        for name, value in zip(names, (rank, 3, rank, 3), strict=True):
            monkeypatch.setenv(name, str(value))
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")

    return put


def test_a_process_without_torchrun_is_single() -> None:
    assert own_rank() == Rank(0, 1, 0, 1)


def test_a_batch_that_cannot_be_divided(
    secateur: Secateur, tmp_path: Path, third_of_three: Callable[[int], None]
) -> None:
    recipe = write_recipe(tmp_path, TINY)
    third_of_three(0)
    command = ("compress", recipe, "--run", tmp_path / "run")
    one_error(secateur(*command), "train.batch_size: 4", "3 processes")
    one_error(secateur(*command, "--set", "train.batch_size=6"), "phase 1: sparsify.batch_size: 4")
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
    third_of_three(2)
    assert secateur(*command) == Outcome(2, "", ""), "rank 0 prints the error"


def test_a_command_that_runs_in_one_process(
    secateur: Secateur, tmp_path: Path, third_of_three: Callable[[int], None]
) -> None:
    third_of_three(0)
    one_error(secateur("init", tmp_path), "secateur init runs in one process", "torchrun")


class FirstRank:
    """Stands for the connection to rank 0: gives its messages in order, or raises."""

    def __init__(self, *messages: object) -> None:
        self.messages = list(messages)

    def broadcast(self, _value: object) -> object:
        message = self.messages.pop(0)
        if isinstance(message, Exception):
            raise message
        return message

    def barrier(self) -> None:
        pass


def second_rank(*messages: object, folder: Path = Path("nowhere")) -> Processes:
    return Processes(Rank(1, 2, 1, 2), cast(Fabric, FirstRank(*messages)), folder)


def test_process_with_other_data_is_refused() -> None:
    second_rank("key").check_same("key")
    with pytest.raises(RunError, match="process 1: its recipe or data differ from those of"):
        second_rank("key").check_same("another")


def test_broken_connection_is_reported_and_other_errors_are_not_hidden() -> None:
    closed = RuntimeError("[/gloo/transport/tcp/pair.cc:553] Connection closed by peer")
    with pytest.raises(
        LostError, match=r"cannot be reached \(Connection closed by peer\); .* same"
    ):
        second_rank(closed).check_same("key")
    with pytest.raises(RuntimeError, match="shapes differ"):
        second_rank(RuntimeError("shapes differ")).check_same("key")


def test_step_starts_work_on_other_ranks_in_copies_and_gives_the_result(tmp_path: Path) -> None:
    class Recorder(FirstRank):
        def broadcast(self, value: object) -> object:
            self.messages.append(value)
            return value

    calls: list[tuple[str, int, Path]] = []
    source = tmp_path / "steps" / "dense"
    source.mkdir(parents=True)
    (source / "network").touch()

    def works(processes: Processes) -> list[Callable[[Path], str]]:
        def work(name: str, folder: Path) -> str:
            assert (folder / "network").is_file()
            calls.append((name, processes.step_rank.rank, folder))
            return name

        return [partial(work, "make"), partial(work, "measure")]

    recorder = Recorder()
    first = Processes(Rank(0, 2, 0, 2), cast(Fabric, recorder), tmp_path)
    result = first.step(lambda _, measure: [measure(source)], *works(first), shared=True)
    assert result == ["measure"], "make was not needed"
    assert len(recorder.messages) == 2  # the start and the result

    second = second_rank(*recorder.messages, folder=tmp_path / "second")
    assert second.step(lambda *_: ["never called"], *works(second), shared=True) == ["measure"]
    copy = tmp_path / "second/steps/dense"
    assert calls == [("measure", 0, source), ("measure", 1, copy)]
    assert not copy.exists()
    assert (first.step_rank, second.step_rank) == (Rank(), Rank())


# ---- whole runs ----------------------------------------------------------------------------


def test_a_training_resumes_after_a_process_was_killed(secateur: Secateur, tmp_path: Path) -> None:
    draw_class_folders(tmp_path / "pictures")
    data = {**CLASSIFIER["data"], "root": str(tmp_path / "pictures")}
    recipe = tmp_path / "classes.yaml"
    recipe.write_text(yaml.safe_dump({**CLASSIFIER, "data": data}))
    assert secateur("train", recipe, "--run", tmp_path / "one").code == 0

    command = ("train", recipe, "--run", tmp_path / "two")
    starter = torchrun(*command)
    step = tmp_path / "two/steps/dense"
    deadline = time.monotonic() + 240
    while not (step / "unfinished/training.safetensors").is_file():
        assert starter.poll() is None, starter.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process_of(starter, rank=1), signal.SIGKILL)
    _, err = starter.communicate(timeout=120)
    assert starter.returncode == 1
    assert "Signal 9 (SIGKILL)" in err
    assert "give the same command again" in err
    assert json.loads((step / "step.json").read_text())["result"] is None, "killed too late"

    out = finish(torchrun(*command))
    assert int(read(out, r"resumes after step (\d+) of 60")) >= 1
    one, two = (tmp_path / name for name in ("one", "two"))
    # The same pictures and augmentation; the mean of the gradients.
    losses = [result_of(run / "steps/dense")["loss"] for run in (one, two)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    weights = [load_file(run / "dense.safetensors") for run in (one, two)]
    torch.testing.assert_close(*weights, rtol=1e-3, atol=1e-4)
    assert written(two) == written(one)


def test_a_run_of_two_processes_gives_the_networks_of_a_single_process(
    secateur: Secateur, tmp_path: Path
) -> None:
    recipe = write_recipe(tmp_path, {**TINY, "data": {**TINY["data"], "test": "test"}})
    one, two = (tmp_path / name for name in ("one", "two"))
    changes = ("--set", "evaluate.batch_size=3")
    assert secateur("compress", recipe, "--run", one, *changes).code == 0
    out = finish(torchrun("compress", recipe, "--run", two, *changes))
    assert out.count("slim network:") == 1, "one process prints"
    assert written(two) == written(one)

    summaries = [json.loads((run / "summary.json").read_text()) for run in (one, two)]
    assert summaries[1]["provenance"]["machine"].pop("processes") == 2
    for summary in summaries:
        assert summary["slim"]["params"] <= 0.9 * summary["dense"]["params"]
    assert summaries[0]["dense"]["params"] == summaries[1]["dense"]["params"]
    trails = [json.loads((run / "steps.json").read_text())["steps"] for run in (one, two)]
    assert trails[0] == trails[1]
    keys = [
        json.loads((run / "steps/dense/step.json").read_text())["result_key"] for run in (one, two)
    ]
    assert keys[0] == keys[1], "a single process reuses the stages of several"
    losses = [result_of(run / "steps/dense")["loss"] for run in (one, two)]
    assert [len(each) for each in losses] == [16, 16]
    assert losses[0][0] == pytest.approx(losses[1][0], rel=0.2), "the same pictures"

    # A single process predicts what two did.
    settings = Evaluate(batch_size=3)
    data = DetectionData.model_validate({**TINY["data"], "root": tmp_path, "test": "test"})
    task, dataset = task_of(data, settings), read_voc(tmp_path, "test", ("square", "disc"))
    for name in ("dense", "slim"):
        network = load_network(two / f"{name}.safetensors")
        predictions = task.predictions(network.model, network.architecture, dataset)
        kept = load_file(two / f"steps/evaluate-{name}/predictions.safetensors")
        for key, tensor in task.to_tensors(predictions).items():
            assert torch.equal(kept[key], tensor), key
        measured = task.measure(predictions, dataset, task.metrics)
        assert result_of(two / f"steps/evaluate-{name}")["metrics"] == measured


def written(run: Path) -> list[str]:
    """Names of the files of a run, without event files (named by time) and charts (by results)."""
    names = [path.relative_to(run).as_posix() for path in run.rglob("*")]
    return sorted(name for name in names if "tfevents" not in name and "figures/" not in name)


def process_of(starter: "subprocess.Popen[str]", rank: int) -> int:
    """The id of the process to which torchrun gave a rank."""
    children = Path(f"/proc/{starter.pid}/task/{starter.pid}/children").read_text().split()
    for child in map(int, children):
        environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        if f"RANK={rank}".encode() in environment:
            return child
    raise AssertionError(f"no process of rank {rank} among {children}")
