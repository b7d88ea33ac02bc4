"""A stage: something a run does once, in a folder of its own, and finds there the next time."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from secateur.errors import RunError
from secateur.files.atomic_write import write_json
from secateur.files.lock import lock
from secateur.run.folder import REPLACED, clear_step, keep_step, restore_step
from secateur.run.records import (
    RUN_CURE,
    PhaseSummary,
    StageList,
    StageRecord,
    StepRecord,
    read_json,
    read_record,
    write_record,
)

# Folder in a stage's own, deleted once the stage is complete.
UNFINISHED = "unfinished"
# What a stage's files hold, written once they are complete.
OUTPUT_FILE = "output.json"

# Writes a stage's files, or evaluates them; gives a part of its record.
Make = Callable[[Path], dict[str, Any]]

_RESULT: TypeAdapter[StageRecord] = TypeAdapter(StageRecord)


def _nothing(_folder: Path) -> dict[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class Stage:
    """Something to do in a folder of its own.

    Attributes:
        name: the folder's.
        depends_on: all that its files depend on: recipe entries, seeds, keys of other stages.
        make: writes the files into the folder, and gives what the record says of them. In
            ``UNFINISHED`` there it may keep what it resumes from.
        measured_by: what else the result depends on, but not the files. Where only this has
            changed, the files are kept and measured again.
        measure: evaluates what the folder holds, and gives the rest of the record.
        shared: all processes of a run do it together; otherwise the first does it alone.
    """

    name: str
    depends_on: Mapping[str, Any]
    make: Make
    measured_by: Mapping[str, Any] = field(default_factory=dict)
    measure: Make = _nothing
    shared: bool = False

    @property
    def output_key(self) -> str:
        """A fingerprint of all that the files depend on."""
        return fingerprint(self.depends_on)

    @property
    def result_key(self) -> str:
        """A fingerprint of all that the result depends on."""
        return fingerprint([self.output_key, self.measured_by])


@dataclass(frozen=True, slots=True)
class Step:
    """A complete stage.

    Attributes:
        folder: its files.
        output_key: a fingerprint of all that its files depend on.
        result_key: a fingerprint of all that its result depends on.
        seconds: how long it took.
        result: as in its ``step.json``.
    """

    folder: Path
    output_key: str
    result_key: str
    seconds: float
    result: StageRecord


class Trail:
    """The stages and phases of one execution, found or done, in a file and in order.

    A run folder may hold other stages as well, from an earlier recipe.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.steps: list[str] = []
        self.phases: list[PhaseSummary] = []
        self._write()

    def add(self, name: str) -> None:
        """Add a stage."""
        self.steps.append(name)
        self._write()

    def add_phase(self, phase: PhaseSummary) -> None:
        """Add a complete phase."""
        self.phases.append(phase)
        self._write()

    def _write(self) -> None:
        write_record(self.path, StageList(steps=self.steps, phases=self.phases))


def fingerprint(content: Any) -> str:
    """Give a short digest of anything JSON can write."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def run_stage(
    folder: Path, stage: Stage, say: Callable[[str], None], pool: Path | None = None
) -> Step:
    """Run a stage, or return the result of the same stage from its folder.

    Args:
        folder: the stage's own; its ``step.json`` has a result only once all else is there. What a
            stage that was stopped left there is kept for its continuation.
        stage: what to do.
        say: prints whether the stage is done or was found.
        pool: a folder of stages that several runs share, each under its key; None for none. What
            another process is doing for it is waited for.

    Raises:
        RunError: a record in the folder cannot be read, or is of another version.
    """
    if pool is None:
        return _run_stage(folder, stage, say, None)
    pooled = pool / f"{folder.name}-{stage.result_key}"
    with lock(pool.with_name("locks") / pooled.name, say):
        return _run_stage(folder, stage, say, pooled)


def _run_stage(folder: Path, stage: Stage, say: Callable[[str], None], pooled: Path | None) -> Step:
    output_key, result_key = stage.output_key, stage.result_key

    def current(record: StepRecord | None) -> StageRecord | None:
        return record.result if record is not None and record.result_key == result_key else None

    found = read_step(folder)
    if pooled and current(found) is None and current(read_step(pooled)) is not None:
        clear_step(folder)
        _link(pooled, folder)
        found = read_step(folder)
    replaced, restored = None, ""
    if found is None or found.output_key != output_key:
        if pooled is None and found is not None and is_made(folder):
            replaced = replaced_place(folder, found.output_key)
            keep_step(folder, replaced)
        if is_made(earlier := replaced_place(folder, output_key)):
            restore_step(earlier, folder)
            found, restored = read_step(folder), " again, as an earlier recipe made it"
    if found is not None and (result := current(found)) is not None:
        shutil.rmtree(folder / UNFINISHED, ignore_errors=True)  # left by a kill just before
        say(f"{folder.name}: found{restored}")
        _say_replaced(replaced, say)
        return Step(folder, output_key, result_key, found.seconds, result)
    kept = found is not None and found.output_key == output_key
    if not kept:
        clear_step(folder)
    before = found.seconds if found is not None and kept else 0.0
    redone = "re-evaluated: evaluation settings" if kept else "redone: what it depends on has"
    say(f"{folder.name}: {redone} changed" if found and found.result else folder.name)
    _say_replaced(replaced, say)

    def write(seconds: float, result: StageRecord | None = None) -> None:
        record = StepRecord(
            output_key=output_key, result_key=result_key, seconds=seconds, result=result
        )
        write_record(folder / "step.json", record)

    start = time.perf_counter()

    def elapsed() -> float:
        return round(before + time.perf_counter() - start, 1)

    write(before)
    if not os.path.lexists(folder / OUTPUT_FILE):
        write_json(folder / OUTPUT_FILE, stage.make(folder))
        write(elapsed())
    output = read_json(folder / OUTPUT_FILE)
    result = _as_result(folder / OUTPUT_FILE, output, stage.measure(folder))
    seconds = elapsed()
    write(seconds, result)
    shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
    if pooled:
        _link(folder, pooled)
    return Step(folder, output_key, result_key, seconds, result)


def is_made(folder: Path) -> bool:
    """Whether a stage's files are complete, evaluated or not."""
    return os.path.lexists(folder / "step.json") and os.path.lexists(folder / OUTPUT_FILE)


def has_files(folder: Path, output_key: str) -> bool:
    """Whether a stage's files are complete, in its folder or kept since an earlier recipe.

    Raises:
        RunError: its record cannot be read, or is of another version.
    """
    found = read_step(folder)
    if found is not None and found.output_key == output_key:
        return is_made(folder)
    return is_made(replaced_place(folder, output_key))


def replaced_place(folder: Path, output_key: str) -> Path:
    """Where a stage's files are kept once a stage with another key has replaced them."""
    # The key comes from a file, so it may be no file name.
    return folder.parent / REPLACED / f"{folder.name}-{fingerprint(output_key)}"


def _say_replaced(replaced: Path | None, say: Callable[[str], None]) -> None:
    if replaced is not None:
        say(f"  the earlier one is kept in {replaced}")


def _as_result(path: Path, output: Any, measured: Mapping[str, Any]) -> StageRecord:
    """Combine what a stage's files hold with their evaluation."""
    try:
        return _RESULT.validate_python({**output, **measured})
    except (TypeError, ValidationError):
        raise RunError(f"{path}: is not what this stage writes; {RUN_CURE}") from None


def read_step(folder: Path) -> StepRecord | None:
    """Read what a stage's folder records; None where nothing was begun there.

    Raises:
        RunError: the record is there but cannot be read, or is of another version.
    """
    path = folder / "step.json"
    return read_record(path, StepRecord) if os.path.lexists(path) else None


def _link(source: Path, target: Path) -> None:
    """Give a stage a second place; its files are replaced, never written into."""
    draft = target.with_name(f".{target.name}.{os.getpid()}.part")
    shutil.rmtree(draft, ignore_errors=True)  # of a killed process with the same number
    shutil.copytree(source, draft, copy_function=_link_or_copy)
    try:
        draft.rename(target)
    except OSError:  # another run was quicker
        shutil.rmtree(draft)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # not every file system has links
        shutil.copy2(source, target)
