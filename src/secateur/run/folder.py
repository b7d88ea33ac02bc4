"""A run's folder: every step is an artifact, written whole, and redone only when it must be."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secateur.files.atomic_write import write_json
from secateur.files.lock import lock

# Writes a step's files into its folder, and gives what ``step.json`` should hold.
Work = Callable[[Path], dict[str, Any]]

# What compressing writes beside the steps and the figures of the report.
RUN_FILES = (
    *("recipe.json", "split.json", "steps.json", "summary.json"),
    *("dense.safetensors", "slim.safetensors", "report.html"),
)
# Folder of a sweep, in which each of its runs has its own.
TRIALS = "trials"
# Folder in a step's own, gone once the step is done.
UNFINISHED = "unfinished"


@dataclass(frozen=True, slots=True)
class Step:
    """A step that is done.

    Attributes:
        folder: its files.
        key: a fingerprint of all that its result depends on.
        made: a fingerprint of all that its files depend on; another one where the step also
            measures what it made.
        seconds: what it took, when it ran.
        result: what it found, as in its ``step.json``.
    """

    folder: Path
    key: str
    made: str
    seconds: float
    result: dict[str, Any]


class Trail:
    """The steps that one execution came by, done or found, in a file and in their order.

    A folder may hold others beside them, from an earlier recipe.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.steps: list[str] = []
        self._write()

    def add(self, name: str) -> None:
        """Write down one more."""
        self.steps.append(name)
        self._write()

    def _write(self) -> None:
        write_json(self.path, {"steps": self.steps})


def fingerprint(content: Any) -> str:
    """Give a short digest of anything JSON can write."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def run_step(
    folder: Path,
    depends_on: Mapping[str, Any],
    work: Work,
    *,
    measured_by: Mapping[str, Any] | None = None,
    say: Callable[[str], None],
    pool: Path | None = None,
) -> Step:
    """Do a step, unless its folder holds the result of just this step already.

    Args:
        folder: the step's own; its ``step.json`` has a result only once all else is there. What
            lies there of a step that was begun and not ended is left for its own continuation.
        depends_on: all that what it makes depends on: recipe entries, seeds, keys of other steps.
        work: writes the step's files into the folder and gives what ``step.json`` should hold; in
            ``UNFINISHED`` there it may keep what it would go on from if it were stopped.
        measured_by: what else the result depends on, but not the files. Where nothing but this
            has changed the folder is left as it is, and ``work`` finds there what it made.
        say: told whether the step is done anew or was found.
        pool: a folder of steps that several runs share, each under its key; None for none. What
            another process is doing for it is waited for.
    """
    made = fingerprint(depends_on)
    key = made if measured_by is None else fingerprint([made, measured_by])
    if pool is None:
        return _run_step(folder, key, made, work, say, None)
    pooled = pool / f"{folder.name}-{key}"
    with lock(pool.with_name("locks") / pooled.name, say):
        return _run_step(folder, key, made, work, say, pooled)


def _run_step(
    folder: Path, key: str, made: str, work: Work, say: Callable[[str], None], pooled: Path | None
) -> Step:
    record = folder / "step.json"
    found = read_record(record)
    if pooled and pooled.is_dir() and (found is None or found["key"] != key):
        shutil.rmtree(folder, ignore_errors=True)
        _link(pooled, folder)
        found = read_record(record)
    if found is not None and found["key"] == key:
        shutil.rmtree(folder / UNFINISHED, ignore_errors=True)  # where a kill came just before
        say(f"{folder.name}: found")
        return Step(folder, key, made, found["seconds"], found["result"])
    begun = _begun(record)
    stays = begun is not None and begun["made"] == made
    if not stays:
        shutil.rmtree(folder, ignore_errors=True)
    before = float(begun.get("seconds", 0.0)) if begun and stays else 0.0
    draft = {"key": key, "made": made, "seconds": before}
    if begun != draft:
        write_json(record, draft)
    anew = "measured anew, for what measures it" if stays else "anew, for what it depends on"
    say(f"{folder.name}: {anew} has changed" if found else folder.name)
    start = time.perf_counter()
    result = work(folder)
    seconds = round(before + time.perf_counter() - start, 1)
    write_json(record, {"key": key, "made": made, "seconds": seconds, "result": result})
    shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
    if pooled:
        _link(folder, pooled)
    return Step(folder, key, made, seconds, result)


def clear_drafts(folder: Path) -> None:
    """Remove what a killed process left half-written in a run's folder.

    Only for who is alone there. Exports, which others may be writing, are left.
    """
    drafts = [*(folder / "steps").rglob(".*.part"), *(folder / "figures").glob(".*.part")]
    for name in RUN_FILES:
        drafts += folder.glob(f".{name}.*.part")
    for draft in drafts:
        if draft.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
        else:
            draft.unlink(missing_ok=True)


def _link(source: Path, target: Path) -> None:
    """Give a step a second place; its files are replaced, never written into."""
    draft = target.with_name(f".{target.name}.{os.getpid()}.part")
    shutil.rmtree(draft, ignore_errors=True)  # of a process of that number that was killed
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


def _begun(path: Path) -> dict[str, Any] | None:
    """What stands of the step that a folder was begun for, whether it is done or not."""
    try:
        record: dict[str, Any] = json.loads(path.read_text("utf-8"))
        whole = {type(record["key"]), type(record["made"])} == {str}
        return record if whole and isinstance(record.get("seconds", 0.0), float | int) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def read_record(path: Path) -> dict[str, Any] | None:
    """Give what a step wrote last; None where it is not done."""
    try:
        record = json.loads(path.read_text("utf-8"))
        whole = isinstance(record["seconds"], float | int) and isinstance(record["result"], dict)
        return record if whole and "key" in record else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
