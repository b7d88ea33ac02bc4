"""Stages of a run folder, and of a pool that several runs share."""

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from secateur.errors import RunError
from secateur.files.atomic_write import write_json, write_text
from secateur.run.folder import clear_drafts
from secateur.run.records import ThresholdRecord
from secateur.run.stage import (
    OUTPUT_FILE,
    UNFINISHED,
    Make,
    Stage,
    Step,
    read_step,
    replaced_place,
    run_stage,
)

TRIAL = {"threshold": 0, "zeros": 0, "metric": 0}


def output(value: float) -> dict[str, Any]:
    """What a stage's files hold: a threshold, because its record is short."""
    return {
        "kind": "threshold",
        "phase": 1,
        "metrics": {},
        "threshold": value,
        "zeros": 0,
        "status": "none",
        "trace": [TRIAL],
    }


def value_of(step: Step) -> float:
    assert isinstance(step.result, ThresholdRecord)
    return step.result.threshold


def stage(depends_on: Mapping[str, Any], make: Make, **options: Any) -> Stage:
    return Stage("dense", depends_on, make, **options)


class Stages:
    """Does stages, and remembers in which places and what was said."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.done: list[str] = []
        self.said: list[str] = []

    def __call__(self, place: str, value: int, *, pool: bool = True) -> Step:
        def make(folder: Path) -> dict[str, Any]:
            self.done.append(place)
            write_text(folder / "network.safetensors", f"made of {value}")
            write_text(folder / "by_class.json", f"part of {value}")
            return output(2 * value)

        shared = self.root / "pool" if pool else None
        folder = self.root / place / "dense"
        return run_stage(folder, stage({"value": value}, make), self.said.append, shared)


@pytest.fixture
def stages(tmp_path: Path) -> Stages:
    return Stages(tmp_path)


def files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text("utf-8")
        for path in folder.rglob("*")
        if path.is_file()
    }


def pooled(stages: Stages, value: int) -> Path:
    return stages.root / "pool" / f"dense-{stage({'value': value}, output_of_none).result_key}"


def output_of_none(_folder: Path) -> dict[str, Any]:
    raise AssertionError


def test_without_a_pool_each_run_does_its_own_stage(stages: Stages) -> None:
    for place in ("a", "b", "a"):
        assert value_of(stages(place, 3, pool=False)) == 6
    assert stages.done == ["a", "b"]
    assert stages.said == ["dense", "dense", "dense: found"]
    assert not (stages.root / "pool").exists()


def test_unfinished_files_next_to_a_complete_stage_are_deleted(stages: Stages) -> None:
    stages("a", 3, pool=False)
    state = stages.root / "a" / "dense" / UNFINISHED / "state.txt"
    write_text(state, "half")
    assert value_of(stages("a", 3, pool=False)) == 6
    assert stages.said[-1] == "dense: found"
    assert not state.parent.exists()


def test_a_stage_is_found_in_the_pool_by_its_key(stages: Stages) -> None:
    first, second = stages("a", 3), stages("b", 3)
    assert stages.done == ["a"]
    assert stages.said == ["dense", "dense: found"]
    assert second.folder == stages.root / "b/dense"
    assert value_of(second) == 6
    for name in ("output_key", "result_key", "seconds", "result"):
        assert getattr(second, name) == getattr(first, name)
    assert files(second.folder) == files(first.folder) == files(pooled(stages, 3))
    names = {"network.safetensors", "by_class.json", "output.json", "step.json"}
    assert set(files(second.folder)) == names
    for name in names:
        assert (second.folder / name).samefile(first.folder / name), "linked, not copied"


def test_a_stage_with_another_key_is_done(stages: Stages) -> None:
    stages("a", 3)
    assert value_of(stages("b", 4)) == 8
    assert stages.done == ["a", "b"]
    assert files(stages.root / "a/dense")["network.safetensors"] == "made of 3"
    assert sorted(path.name for path in (stages.root / "pool").iterdir()) == sorted(
        pooled(stages, value).name for value in (3, 4)
    )


def test_a_stage_that_a_changed_recipe_replaces_is_kept_and_found_again(stages: Stages) -> None:
    theirs = stages.root / "a/dense/notes.txt"
    before = {}
    for value in (3, 4, 3, 4):
        assert value_of(stages("a", value, pool=False)) == 2 * value
        theirs.write_text("of the user")
        found = files(stages.root / "a/dense")
        assert before.setdefault(value, found) == found, "nothing of it has changed"
    assert stages.done == ["a", "a"]
    three, four = (kept_place(stages, value) for value in (3, 4))
    again = "dense: found again, as an earlier recipe made it"
    assert stages.said == [
        *("dense", "dense: redone: what it depends on has changed"),
        *(f"  the earlier one is kept in {three}", again, f"  the earlier one is kept in {four}"),
        *(again, f"  the earlier one is kept in {three}"),
    ]
    assert [path.name for path in three.parent.iterdir()] == [three.name]
    shutil.rmtree(three.parent)  # as docs/run-folder.md allows
    stages("a", 3, pool=False)
    assert stages.done == ["a", "a", "a"]


def kept_place(stages: Stages, value: int) -> Path:
    return replaced_place(
        stages.root / "a/dense", stage({"value": value}, output_of_none).output_key
    )


def test_a_kept_stage_is_evaluated_again_if_evaluation_has_changed(tmp_path: Path) -> None:
    said: list[str] = []

    def do(steps: int, metric: str, make: Make = lambda _: output(1)) -> Step:
        options = {
            "measured_by": {"metric": metric},
            "measure": lambda _: {"metrics": {metric: 1.0}},
        }
        return run_stage(tmp_path / "dense", stage({"steps": steps}, make, **options), said.append)

    do(1, "a")
    do(2, "a")
    assert do(1, "b", output_of_none).result.metrics == {"b": 1.0}
    assert said[-2] == "dense: re-evaluated: evaluation settings changed"


def test_the_key_of_an_altered_record_leads_nowhere(stages: Stages) -> None:
    stages("a", 3, pool=False)
    record = stages.root / "a/dense/step.json"
    write_json(record, {**json.loads(record.read_text()), "output_key": "../../../../b"})
    stages("a", 4, pool=False)
    assert [path.name for path in stages.root.iterdir()] == ["a"]


def test_a_changed_run_takes_what_another_run_has_done(stages: Stages) -> None:
    stages("a", 3)
    stages("b", 4)
    # The stage of a is replaced by that of b, and comes back from the pool.
    for value in (4, 3):
        assert value_of(stages("a", value)) == 2 * value
        assert files(stages.root / "a/dense")["network.safetensors"] == f"made of {value}"
    assert stages.done == ["a", "b"]
    assert files(pooled(stages, 3))["network.safetensors"] == "made of 3"


def test_a_file_replaced_in_one_run_is_unchanged_in_the_others(stages: Stages) -> None:
    stages("a", 3)
    stages("b", 3)
    before = files(stages.root / "b/dense")
    write_text(stages.root / "a/dense/network.safetensors", "altered")
    write_json(stages.root / "a/dense/step.json", {})
    assert files(stages.root / "b/dense") == files(pooled(stages, 3)) == before


def test_redoing_a_linked_stage_changes_no_other_run(stages: Stages) -> None:
    stages("a", 3)
    stages("b", 3)
    before = files(stages.root / "b/dense")
    stages("a", 4, pool=False)  # in the folder whose files are linked
    assert stages.said[-2] == "dense: redone: what it depends on has changed"
    assert files(stages.root / "a/dense")["network.safetensors"] == "made of 4"
    assert files(stages.root / "b/dense") == files(pooled(stages, 3)) == before


def test_a_failed_stage_is_not_pooled(tmp_path: Path) -> None:
    def fail(folder: Path) -> dict[str, Any]:
        write_text(folder / "network.safetensors", "half")
        raise RunError("no more room")

    folder, pool = tmp_path / "a/dense", tmp_path / "pool"
    with pytest.raises(RunError, match="no more room"):
        run_stage(folder, stage({"value": 3}, fail), print, pool)
    assert not pool.exists()
    stages = Stages(tmp_path)
    assert value_of(stages("a", 3)) == 6
    assert files(folder) == files(pooled(stages, 3))


def test_a_stopped_stage_is_replaced_by_the_complete_one_of_the_pool(stages: Stages) -> None:
    stages("a", 3)
    stopped = stages.root / "b/dense"
    write_text(stopped / "network.safetensors", "half")
    write_text(stopped / ".by_class.json.7.part", "of a stage that was stopped")
    stages("b", 3)
    assert stages.done == ["a"]
    assert files(stopped) == files(pooled(stages, 3))


def test_what_another_run_pools_at_the_same_time_is_kept(stages: Stages) -> None:
    """As on a drive whose locks do not work."""

    def make(folder: Path) -> dict[str, Any]:
        other = stages("b", 3, pool=False)
        shutil.copytree(other.folder, pooled(stages, 3), copy_function=os.link)
        write_text(folder / "network.safetensors", "made of 3")
        return output(6)

    pool = stages.root / "pool"
    slow = stage({"value": 3}, make)
    assert value_of(run_stage(stages.root / "a/dense", slow, stages.said.append, pool)) == 6
    assert [path.name for path in pool.iterdir()] == [pooled(stages, 3).name], "no draft is left"
    assert (pooled(stages, 3) / "network.safetensors").samefile(
        stages.root / "b/dense/network.safetensors"
    )


def test_two_processes_do_a_shared_stage_once(tmp_path: Path) -> None:
    """The second says that it waits, and finds the stage done."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
        runs = [processes.submit(slow_stage, tmp_path, place) for place in ("a", "b")]
        said = sorted(" ".join(run.result()) for run in runs)
    assert said == [
        "dense",
        "waiting for another process that is at this step dense: found",
    ]
    made = [tmp_path / place / "dense/made.txt" for place in ("a", "b")]
    assert made[0].samefile(made[1])


def slow_stage(root: Path, place: str) -> list[str]:
    """Do a stage that does not end before the other process has said something."""
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        (root / f"{place} spoke").touch()

    def make(folder: Path) -> dict[str, Any]:
        while len(list(root.glob("* spoke"))) < 2:
            time.sleep(0.05)
        write_text(folder / "made.txt", place)
        return output(0)

    run_stage(root / place / "dense", stage({}, make), say, root / "pool")
    return said


def test_unfinished_files_are_kept_until_the_stage_of_the_same_key_is_on_disk(
    tmp_path: Path,
) -> None:
    found: list[list[str]] = []

    def begin(folder: Path) -> dict[str, Any]:
        found.append(sorted(path.name for path in folder.rglob("*.txt")))
        write_text(folder / UNFINISHED / "state.txt", "half")
        raise RunError("stopped")

    def end(folder: Path) -> dict[str, Any]:
        found.append(sorted(path.name for path in folder.rglob("*.txt")))
        return output(1)

    def do(key: str, make: Make, pool: Path | None = None) -> Step:
        return run_stage(tmp_path / "dense", stage({"key": key}, make), print, pool)

    for key in ("a", "a", "b"):
        with pytest.raises(RunError, match="stopped"):
            do(key, begin)
    assert found == [[], ["state.txt"], []]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("secateur.run.stage.write_json", full_disk)
        with pytest.raises(RunError, match="full"):
            do("b", end)
    assert (tmp_path / "dense" / UNFINISHED / "state.txt").is_file()
    assert value_of(do("b", end, tmp_path / "pool")) == 1
    assert found[3:] == [["state.txt"], ["state.txt"]]
    assert not list(tmp_path.rglob(UNFINISHED)), "neither in the stage nor in the pool"


def full_disk(*_: object) -> None:
    raise RunError("the disk is full")


def test_drafts_of_a_killed_process_are_deleted_and_no_other_files(tmp_path: Path) -> None:
    removed = [
        *(".summary.json.7.part", ".report.html.7.part", "figures/.bytes.png.7.part"),
        "steps/dense/.network.safetensors.7.part",
    ]
    kept = [".slim.onnx.json.7.part", "steps/dense/network.safetensors", "summary.json"]
    for name in (*removed, *kept, "steps/.phase1-remove.7.part/step.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    clear_drafts(tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == set(kept)


def measured(tmp_path: Path, metric: str, make: Make, measure: Make, say: Any = print) -> Step:
    options = {"measured_by": {"metric": metric}, "measure": measure}
    return run_stage(tmp_path / "dense", stage({"steps": 1}, make, **options), say)


def test_a_changed_metric_keeps_the_files_and_repeats_the_evaluation(tmp_path: Path) -> None:
    said: list[str] = []
    made: list[Path] = []

    def make(folder: Path) -> dict[str, Any]:
        made.append(folder)
        return output(1)

    def metrics(name: str) -> Make:
        return lambda _: {"metrics": {name: float(len(made))}, "zeros": 0.5}

    steps = [measured(tmp_path, name, make, metrics(name), said.append) for name in ("a", "b", "b")]
    assert made == [tmp_path / "dense"]
    assert said == ["dense", "dense: re-evaluated: evaluation settings changed", "dense: found"]
    assert [step.result.metrics for step in steps] == [{"a": 1.0}, {"b": 1.0}, {"b": 1.0}]
    assert steps[0].output_key == steps[1].output_key
    assert steps[0].result_key != steps[1].result_key
    # The record on disk is that of the last evaluation, and ``output.json`` is that of the files.
    record = read_step(tmp_path / "dense")
    assert record is not None
    assert record.result == steps[1].result
    assert json.loads((tmp_path / "dense" / OUTPUT_FILE).read_text()) == output(1)


def test_an_interrupted_evaluation_repeats_no_training_and_keeps_its_time(tmp_path: Path) -> None:
    def stopped(_folder: Path) -> dict[str, Any]:
        raise RunError("stopped")

    measured(tmp_path, "a", lambda _: output(1), lambda _: {})
    record = json.loads((tmp_path / "dense/step.json").read_text())
    write_json(tmp_path / "dense/step.json", {**record, "seconds": 3600.0})
    for _ in range(2):
        with pytest.raises(RunError, match="stopped"):
            measured(tmp_path, "b", output_of_none, stopped)
        interrupted = read_step(tmp_path / "dense")
        assert interrupted is not None
        assert interrupted.result is None
    assert measured(tmp_path, "b", output_of_none, lambda _: {}).seconds >= 3600


# ---- nothing lost: only an absent record counts as not begun -----------------------------------


def damage(path: Path) -> None:
    path.write_text(path.read_text()[:-20])


def other_version(path: Path) -> None:
    write_json(path, {**json.loads(path.read_text()), "version": 1})


def other_content(path: Path) -> None:
    write_json(path, [1, 2])


def no_version(path: Path) -> None:
    content = json.loads(path.read_text())
    del content["version"]
    write_json(path, content)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


DELETE_FILE = "delete the file and give the run's command again"
DELETE_RUN = "delete the run's folder, or give another with --run"


def refused(stages: Stages, path: Path, words: str, cure: str) -> None:
    """Check that a run stops with one line, and changes nothing in its folder."""
    before = files(path.parent)
    said = len(stages.said)
    with pytest.raises(RunError) as error:
        stages("a", 3, pool=False)
    text = str(error.value)
    assert text.startswith(f"{path}: ")
    assert words in text
    assert text.endswith(f"; {cure}")
    assert "\n" not in text
    assert stages.done == ["a"], "nothing is done again"
    assert files(path.parent) == before
    assert "dense: found" not in stages.said[said:]


@pytest.mark.parametrize(
    ("spoil", "words", "cure"),
    [
        (damage, "cannot be read", DELETE_FILE),
        (other_content, "holds no object", DELETE_FILE),
        (other_version, "was written by another version", DELETE_RUN),
        (no_version, "was written by another version", DELETE_RUN),
        (directory, "cannot be read (Is a directory)", DELETE_FILE),
        (dangling_link, "cannot be read (No such file or directory)", DELETE_FILE),
    ],
)
def test_an_unreadable_record_stops_the_run(
    stages: Stages, spoil: Callable[[Path], None], words: str, cure: str
) -> None:
    stages("a", 3, pool=False)
    path = stages.root / "a/dense/step.json"
    spoil(path)
    refused(stages, path, words, cure)
    # The cure works.
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert value_of(stages("a", 3, pool=False)) == 6
    assert stages.done == ["a", "a"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_record_without_permission_stops_the_run(stages: Stages) -> None:
    stages("a", 3, pool=False)
    path = stages.root / "a/dense/step.json"
    path.chmod(0)
    with pytest.raises(RunError, match=r"cannot be read \(Permission denied\); make it readable$"):
        stages("a", 3, pool=False)
    path.chmod(0o600)
    assert value_of(stages("a", 3, pool=False)) == 6
    assert stages.done == ["a"], "nothing was lost"


def test_a_record_that_the_system_does_not_give_stops_the_run(
    stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for root, to whom the system denies nothing."""
    stages("a", 3, pool=False)
    path = stages.root / "a/dense/step.json"
    read_text = Path.read_text

    def denied(self: Path, *arguments: Any) -> str:
        if self == path:
            raise PermissionError(13, "Permission denied", str(self))
        return read_text(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", denied)
        with pytest.raises(RunError) as error:
            stages("a", 3, pool=False)
    expected = f"{path}: cannot be read (Permission denied); make it readable"
    assert str(error.value) == expected
    assert value_of(stages("a", 3, pool=False)) == 6
    assert stages.done == ["a"], "nothing was lost"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (damage, "cannot be read"),
        (directory, "cannot be read (Is a directory)"),
        (other_content, "is not what this stage writes"),
        (lambda path: write_json(path, {"kind": "dense"}), "is not what this stage writes"),
    ],
)
def test_an_unreadable_output_stops_the_evaluation(
    tmp_path: Path, spoil: Callable[[Path], None], words: str
) -> None:
    measured(tmp_path, "a", lambda _: output(1), lambda _: {})
    path = tmp_path / "dense" / OUTPUT_FILE
    spoil(path)
    with pytest.raises(RunError) as error:
        measured(tmp_path, "b", output_of_none, lambda _: {})
    assert str(error.value).startswith(f"{path}: {words}")
    assert str(error.value).endswith(f"; {DELETE_FILE}")
    assert "\n" not in str(error.value)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert value_of(measured(tmp_path, "b", lambda _: output(7), lambda _: {})) == 7


def test_an_unreadable_record_in_the_pool_is_named(stages: Stages) -> None:
    stages("a", 3)
    path = pooled(stages, 3) / "step.json"
    path.unlink()
    path.write_text("{")
    with pytest.raises(RunError) as error:
        stages("b", 3)
    assert str(error.value).startswith(f"{path}: cannot be read")
    path.unlink()
    assert value_of(stages("b", 3)) == 6
    assert stages.done == ["a", "b"]
