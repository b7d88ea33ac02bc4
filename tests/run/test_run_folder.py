"""Steps of a run folder, and of a pool that several runs share."""

import json
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from secateur.errors import RunError
from secateur.files.atomic_write import write_json, write_text
from secateur.run.folder import UNFINISHED, Step, clear_drafts, fingerprint, run_step


class Steps:
    """Does steps, and remembers which were done anew and what was said."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.done: list[str] = []
        self.said: list[str] = []

    def __call__(self, place: str, value: int, *, pool: bool = True) -> Step:
        def work(folder: Path) -> dict[str, int]:
            self.done.append(place)
            write_text(folder / "network.txt", f"made of {value}")
            (folder / "parts").mkdir(exist_ok=True)
            write_text(folder / "parts" / "one.txt", f"part of {value}")
            return {"twice": 2 * value}

        folder = self.root / place / "dense"
        shared = self.root / "pool" if pool else None
        return run_step(folder, {"value": value}, work, say=self.said.append, pool=shared)


@pytest.fixture
def steps(tmp_path: Path) -> Steps:
    return Steps(tmp_path)


def files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text("utf-8")
        for path in folder.rglob("*")
        if path.is_file()
    }


def pooled(steps: Steps, value: int) -> Path:
    return steps.root / "pool" / f"dense-{fingerprint({'value': value})}"


def test_without_a_pool_each_run_does_its_own(steps: Steps) -> None:
    for place in ("a", "b", "a"):
        assert steps(place, 3, pool=False).result == {"twice": 6}
    assert steps.done == ["a", "b"]
    assert steps.said == ["dense", "dense", "dense: found"]
    assert not (steps.root / "pool").exists()


def test_what_a_kill_left_beside_a_step_that_is_done_goes(steps: Steps) -> None:
    steps("a", 3, pool=False)
    state = steps.root / "a" / "dense" / UNFINISHED / "state.txt"
    write_text(state, "half")
    assert steps("a", 3, pool=False).result == {"twice": 6}
    assert steps.said[-1] == "dense: found"
    assert not state.parent.exists()


def test_a_step_is_found_in_the_pool_by_its_key(steps: Steps) -> None:
    first, second = steps("a", 3), steps("b", 3)
    assert steps.done == ["a"]
    assert steps.said == ["dense", "dense: found"]
    assert second.folder == steps.root / "b/dense"
    assert (second.key, second.result, second.seconds) == (first.key, {"twice": 6}, first.seconds)
    assert files(second.folder) == files(first.folder) == files(pooled(steps, 3))
    assert set(files(second.folder)) == {"network.txt", "parts/one.txt", "step.json"}
    for name in files(second.folder):
        assert (second.folder / name).samefile(first.folder / name), "linked, not copied"


def test_another_key_is_done_anew(steps: Steps) -> None:
    steps("a", 3)
    assert steps("b", 4).result == {"twice": 8}
    assert steps.done == ["a", "b"]
    assert files(steps.root / "a/dense")["network.txt"] == "made of 3"
    assert sorted(path.name for path in (steps.root / "pool").iterdir()) == sorted(
        pooled(steps, value).name for value in (3, 4)
    )


def test_a_run_that_changes_takes_what_another_has_done(steps: Steps) -> None:
    steps("a", 3)
    steps("b", 4)
    # What a has of its own gives way to what b did, and comes back out of the pool.
    for value in (4, 3):
        assert steps("a", value).result == {"twice": 2 * value}
        assert files(steps.root / "a/dense")["network.txt"] == f"made of {value}"
    assert steps.done == ["a", "b"]
    assert files(pooled(steps, 3))["network.txt"] == "made of 3"


def test_a_file_replaced_in_one_place_stays_in_the_others(steps: Steps) -> None:
    steps("a", 3)
    steps("b", 3)
    before = files(steps.root / "b/dense")
    write_text(steps.root / "a/dense/network.txt", "altered")
    write_json(steps.root / "a/dense/step.json", {"key": "x", "seconds": 0, "result": {}})
    assert files(steps.root / "b/dense") == files(pooled(steps, 3)) == before


def test_doing_a_linked_step_anew_leaves_the_others(steps: Steps) -> None:
    steps("a", 3)
    steps("b", 3)
    before = files(steps.root / "b/dense")
    steps("a", 4, pool=False)  # in the folder whose files are linked
    assert files(steps.root / "a/dense")["network.txt"] == "made of 4"
    assert files(steps.root / "b/dense") == files(pooled(steps, 3)) == before


def test_a_step_that_failed_is_in_no_pool(tmp_path: Path) -> None:
    def fail(folder: Path) -> dict[str, int]:
        write_text(folder / "network.txt", "half")
        raise RunError("no more room")

    folder, pool = tmp_path / "a/dense", tmp_path / "pool"
    with pytest.raises(RunError):
        run_step(folder, {"value": 3}, fail, say=lambda _: None, pool=pool)
    assert not pool.exists()
    steps = Steps(tmp_path)
    assert steps("a", 3).result == {"twice": 6}
    assert files(folder) == files(pooled(steps, 3))


def test_a_stopped_step_is_taken_from_the_pool_whole(steps: Steps) -> None:
    steps("a", 3)
    stopped = steps.root / "b/dense"
    write_text(stopped / "network.txt", "half")
    write_text(stopped / "left over.txt", "of a step that was stopped")
    steps("b", 3)
    assert steps.done == ["a"]
    assert files(stopped) == files(pooled(steps, 3))


def test_what_another_run_pools_meanwhile_is_kept(steps: Steps) -> None:
    """As on a drive where locks keep nobody out."""

    def meanwhile(work: Callable[[], Step]) -> Callable[[Path], dict[str, int]]:
        def slow(folder: Path) -> dict[str, int]:
            work()
            write_text(folder / "network.txt", "made of 3")
            return {"twice": 6}

        return slow

    def other() -> Step:
        step = steps("b", 3, pool=False)
        shutil.copytree(step.folder, pooled(steps, 3), copy_function=os.link)
        return step

    slow = meanwhile(other)
    pool = steps.root / "pool"
    step = run_step(steps.root / "a/dense", {"value": 3}, slow, say=steps.said.append, pool=pool)
    assert step.result == {"twice": 6}
    assert [path.name for path in pool.iterdir()] == [pooled(steps, 3).name], "no draft is left"
    assert (pooled(steps, 3) / "network.txt").samefile(steps.root / "b/dense/network.txt")


def test_two_processes_do_a_shared_step_once(tmp_path: Path) -> None:
    """The second waits, says so, and finds it."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
        runs = [processes.submit(slow_step, tmp_path, place) for place in ("a", "b")]
        said = sorted(" ".join(run.result()) for run in runs)
    assert said == [
        "dense",
        "waiting for another process that is at this step dense: found",
    ]
    made = [tmp_path / place / "dense/made.txt" for place in ("a", "b")]
    assert made[0].samefile(made[1])


def slow_step(root: Path, place: str) -> list[str]:
    """Do a step that is not done before the other process has said something."""
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        (root / f"{place} spoke").touch()

    def work(folder: Path) -> dict[str, int]:
        while len(list(root.glob("* spoke"))) < 2:
            time.sleep(0.05)
        write_text(folder / "made.txt", place)
        return {}

    run_step(root / place / "dense", {}, work, say=say, pool=root / "pool")
    return said


def test_what_a_stopped_step_left_is_its_own_to_go_on_from(tmp_path: Path) -> None:
    """Kept until the record is on disk, for another step of that name never there."""
    found: list[list[str]] = []

    def begin(folder: Path) -> dict[str, int]:
        state = folder / UNFINISHED / "state.txt"
        found.append(sorted(path.name for path in folder.rglob("*.txt")))
        write_text(state, "half of the way")
        raise RunError("stopped")

    def end(folder: Path) -> dict[str, int]:
        found.append(sorted(path.name for path in folder.rglob("*.txt")))
        return {"value": 1}

    def do(key: str, work: Callable[[Path], dict[str, int]], pool: Path | None = None) -> Step:
        return run_step(tmp_path / "dense", {"key": key}, work, say=lambda _: None, pool=pool)

    for key in ("a", "a", "b"):
        with pytest.raises(RunError, match="stopped"):
            do(key, begin)
    assert found == [[], ["state.txt"], []]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("secateur.run.folder.write_json", full_disk)
        with pytest.raises(RunError, match="full"):
            do("b", end)
    assert (tmp_path / "dense" / UNFINISHED / "state.txt").is_file()
    assert do("b", end, tmp_path / "pool").result == {"value": 1}
    assert found[3:] == [["state.txt"], ["state.txt"]]
    assert not list(tmp_path.rglob(UNFINISHED)), "neither in the step nor in the pool"


def full_disk(*_: object) -> None:
    raise RunError("the disk is full")


def test_drafts_of_a_killed_process_are_cleared_and_no_others(tmp_path: Path) -> None:
    gone = [
        *(".summary.json.7.part", ".report.html.7.part", "figures/.bytes.png.7.part"),
        "steps/dense/.network.safetensors.7.part",
    ]
    stays = [".slim.onnx.json.7.part", "steps/dense/network.safetensors", "summary.json"]
    for name in (*gone, *stays, "steps/.phase1-remove.7.part/step.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    clear_drafts(tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == set(stays)


def test_time_of_a_training_outlives_a_measuring_that_was_stopped(tmp_path: Path) -> None:
    def do(metric: str, work: Callable[[Path], dict[str, int]]) -> Step:
        return run_step(
            tmp_path / "dense", {"steps": 1}, work, measured_by={"metric": metric}, say=print
        )

    def stopped(_folder: Path) -> dict[str, int]:
        raise RunError("stopped")

    do("a", lambda _: {"value": 1})
    record = json.loads((tmp_path / "dense/step.json").read_text())
    write_json(tmp_path / "dense/step.json", {**record, "seconds": 3600.0})
    for _ in range(2):
        with pytest.raises(RunError, match="stopped"):
            do("b", stopped)
    assert do("b", lambda _: {"value": 2}).seconds >= 3600
