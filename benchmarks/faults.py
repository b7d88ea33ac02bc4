"""Faults other than kills, each tried on the real ``secateur compress``.

Each fault must end the command with one line and exit code 2, and the same command must resume
after the cause is removed; or the command must report it and continue. ``torture.py`` runs them.
"""

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiny import start, write_recipe

SHORT = ("train.steps=60", "compress.sparsify.steps=30", "compress.retrain.steps=45")
LONG = ("train.steps=2000",)
WORKER = ("data.workers=1",)
TOO_LONG = 300


@dataclass(frozen=True)
class Case:
    """A folder with a recipe, its images, and a run.

    Attributes:
        folder: the folder.
    """

    folder: Path

    @property
    def run(self) -> Path:
        """The run's folder."""
        return self.folder / "run"

    @property
    def pictures(self) -> Path:
        """The data."""
        return self.folder / "pictures"

    @property
    def log(self) -> str:
        """All output so far."""
        return (self.folder / "log").read_text("utf-8", "replace")

    def begin(self, *changes: str, under: Sequence[str] = ()) -> "subprocess.Popen[str]":
        """Start the command, if need be under another one."""
        options = [option for change in (*SHORT, *changes) for option in ("--set", change)]
        recipe, log = self.folder / "tiny.yaml", self.folder / "log"
        return start("compress", recipe, "--run", str(self.run), *options, log=log, under=under)

    def compress(self, *changes: str, under: Sequence[str] = ()) -> int:
        """Run the command and return its exit code."""
        return self.begin(*changes, under=under).wait(TOO_LONG)

    def wait_for(self, path: str) -> None:
        """Wait until a file exists."""
        end = time.monotonic() + TOO_LONG
        while not (self.folder / path).exists():
            if time.monotonic() > end:
                raise SystemExit(f"{path} did not appear: {self.log[-500:]}")
            time.sleep(0.01)

    def last_line(self, start: str = "") -> str:
        """Return the last line of output that starts so, without the path of the folder."""
        lines = [line for line in self.log.strip().splitlines() if line.startswith(start)]
        return lines[-1].replace(f"{self.folder}/", "") if lines else ""


# The exit code of a fault, the line that reports it, and the exit code after its cause is removed.
Tried = tuple[int, str, int]


@contextlib.contextmanager
def small_disk(case: Case, options: str) -> Iterator[None]:
    """Mount a small file system at the run folder; needs root."""
    case.run.mkdir()
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", options, "none", case.run], check=True)
    try:
        yield
    finally:
        subprocess.run(["/bin/umount", case.run], check=True)


def remount(case: Case, options: str) -> None:
    """Change the options of that file system."""
    subprocess.run(["/bin/mount", "-o", f"remount,{options}", case.run], check=True)


def full_disk(case: Case) -> Tried:
    """The disk is full."""
    with small_disk(case, "size=200k"):
        code = case.compress()
        line = case.last_line()
        remount(case, "size=50m")
        return code, line, case.compress()


def read_only_folder(case: Case) -> Tried:
    """The disk of the run folder is read-only."""
    with small_disk(case, "size=50m,ro"):
        code = case.compress()
        line = case.last_line()
        remount(case, "rw")
        return code, line, case.compress()


def missing_before(case: Case) -> Tried:
    """A picture is missing at the start."""
    picture = case.pictures / "JPEGImages" / "03.jpg"
    picture.rename(case.folder / "03.jpg")
    code = case.compress()
    line = case.last_line()
    (case.folder / "03.jpg").rename(picture)
    return code, line, case.compress()


def missing_meanwhile(case: Case) -> Tried:
    """Pictures disappear while a worker process reads them."""
    hidden = case.folder / "hidden"
    process = case.begin(*LONG, *WORKER)
    case.wait_for("run/steps/dense/step.json")
    (case.pictures / "JPEGImages").rename(hidden)
    code = process.wait(TOO_LONG)
    line = case.last_line()
    hidden.rename(case.pictures / "JPEGImages")
    return code, line, case.compress()


def cut_off_picture(case: Case) -> Tried:
    """A picture file is truncated."""
    picture = case.pictures / "JPEGImages" / "03.jpg"
    whole = picture.read_bytes()
    picture.write_bytes(whole[: len(whole) // 2])
    code = case.compress()
    line = case.last_line()
    picture.write_bytes(whole)
    return code, line, case.compress()


def changed_data(case: Case) -> Tried:
    """The data set changes between two starts: every step that used it is repeated."""
    before = case.compress()
    (case.pictures / "ImageSets" / "Main" / "train.txt").write_text(
        "\n".join(f"{n:02}" for n in range(20))
    )
    said = len(case.log)
    code = case.compress()
    lines = case.log[said:].splitlines()
    return before, next(line for line in lines if line.startswith("dense")), code


def dead_worker(case: Case) -> Tried:
    """A worker process that loads pictures is killed."""
    process = case.begin(*LONG, *WORKER)
    case.wait_for("run/steps/dense/step.json")
    worker = None
    while worker is None:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        worker = next((int(child) for child in children), None)
    os.kill(worker, signal.SIGKILL)
    code = process.wait(TOO_LONG)
    return code, case.last_line(), case.compress(*WORKER)


def shared_memory(options: str) -> list[str]:
    """A command that runs another one with its own file system at ``/dev/shm``; needs root."""
    mount = f'/bin/mount -t tmpfs -o {options} none /dev/shm && exec "$@"'
    return ["unshare", "--mount", "/bin/sh", "-c", mount, "sh"]


def small_shared_memory(case: Case) -> Tried:
    """Shared memory has no room for the batches of worker processes."""
    code = case.compress(*WORKER, under=shared_memory("size=100k"))
    return code, case.last_line("  /dev/shm"), code


def read_only_shared_memory(case: Case) -> Tried:
    """Shared memory is read-only."""
    code = case.compress(*WORKER, under=shared_memory("size=50m,ro"))
    return code, case.last_line("  /dev/shm"), code


def short_memory(case: Case) -> Tried:
    """Memory runs out during a training."""
    process = case.begin("train.steps=2000", "train.batch_size=64")
    case.wait_for("run/steps/dense/step.json")
    used = int(Path(f"/proc/{process.pid}/statm").read_text().split()[0]) * resource.getpagesize()
    resource.prlimit(process.pid, resource.RLIMIT_AS, (used, used))
    code = process.wait(TOO_LONG)
    return code, case.last_line(), case.compress()


def diverging(case: Case) -> Tried:
    """The loss becomes NaN or infinite."""
    code = case.compress("train.lr=1e20", "train.clip=null")
    return code, case.last_line(), case.compress()


def no_threshold(case: Case) -> Tried:
    """No threshold keeps the accuracy: no weight is set to zero."""
    code = case.compress("compress.threshold.max_drop=0", "compress.sparsify.strength=0.5")
    line = next((line for line in case.log.splitlines() if "  threshold" in line), "")
    return code, line.strip(), code


def emptied_layer(case: Case) -> Tried:
    """The budget would remove the last filters of a layer."""
    code = case.compress("compress.select.keep_params=0.0001")
    return code, case.last_line(), case.compress()


def class_without_example(case: Case) -> Tried:
    """A class has no example in the training pictures."""
    code = case.compress("data.classes=[square,disc,star]")
    line = next((line for line in case.log.splitlines() if "star" in line), "")
    return code, line.replace(f"{case.folder}/", ""), case.compress()


def batches_without_boxes(case: Case) -> Tried:
    """Most pictures have no object, so some batches have no box."""
    for path in sorted((case.pictures / "Annotations").iterdir())[4:24]:
        path.write_text("<annotation></annotation>")
    code = case.compress("train.batch_size=1")
    return code, case.last_line(), code


def second_process(case: Case) -> Tried:
    """A second process starts in the same run folder."""
    first = case.begin(*LONG)
    case.wait_for("run/steps/dense/step.json")
    code = case.compress()
    line = case.last_line("error:")  # the first process prints its progress too
    first.kill()
    first.wait()
    return code, line, case.compress()


def other_files(case: Case) -> Tried:
    """The run folder holds other people's files."""
    figure = case.run / "figures" / "mine.png"
    figure.parent.mkdir(parents=True)
    figure.touch()
    code = case.compress()
    line = case.last_line()
    if [path for path in case.run.rglob("*") if path.is_file()] != [figure]:
        raise SystemExit(f"{case.run}: its files were changed")
    shutil.rmtree(case.run)
    return code, line, case.compress()


def linked_step(case: Case) -> Tried:
    """The folder of a step is a link to one elsewhere."""
    case.compress()
    link, elsewhere = case.run / "steps" / "dense", case.folder / "elsewhere"
    link.rename(elsewhere)
    link.symlink_to(elsewhere)
    before = {path: path.stat().st_mtime_ns for path in elsewhere.iterdir()}
    code = case.compress("seed=1")
    line = case.last_line()
    if {path: path.stat().st_mtime_ns for path in elsewhere.iterdir()} != before:
        raise SystemExit(f"{elsewhere}: its files were changed")
    link.unlink()
    elsewhere.rename(link)
    return code, line, case.compress("seed=1")


def linked_list(case: Case) -> Tried:
    """A list of pictures is a link to a file outside the data folder."""
    names, elsewhere = case.pictures / "ImageSets" / "Main" / "train.txt", case.folder / "train.txt"
    names.rename(elsewhere)
    names.symlink_to(elsewhere)
    code = case.compress()
    line = case.last_line()
    names.unlink()
    elsewhere.rename(names)
    return code, line, case.compress()


def unescaped_password(case: Case) -> Tried:
    """The password in the URL of a sweep's database has an @ that is not escaped."""
    url = "postgresql://me:pass@word@127.0.0.1:9/sweeps"
    options = ("--run", str(case.run), "--trials", "1", "--storage", url)
    recipe, log = case.folder / "tiny.yaml", case.folder / "log"
    code = start("sweep", recipe, *options, log=log).wait(TOO_LONG)
    if "word@" in case.log:
        raise SystemExit("the password was shown")
    return code, case.last_line(), case.compress()


def broken_network(case: Case) -> Tried:
    """The network file of a step is truncated."""
    case.compress()
    file = case.run / "steps" / "dense" / "network.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    shutil.rmtree(case.run / "steps" / "phase1-retrain")
    code = case.compress()
    line = case.last_line()
    shutil.rmtree(case.run / "steps" / "dense")
    return code, line, case.compress()


def broken_record(case: Case) -> Tried:
    """The record of a step is truncated."""
    case.compress()
    file = case.run / "steps" / "phase1-retrain" / "step.json"
    file.write_text(file.read_text("utf-8")[:40], "utf-8")
    code = case.compress()
    line = case.last_line()
    file.unlink()
    return code, line, case.compress()


# The expected exit code (2: an error; 0: a report) and a part of the line.
FAULTS: dict[Callable[[Case], Tried], tuple[int, str]] = {
    full_disk: (2, "make room"),
    read_only_folder: (2, "Read-only file system"),
    missing_before: (2, "03.jpg: picture not found"),
    missing_meanwhile: (2, ".jpg: went missing"),
    cut_off_picture: (2, "03.jpg: not a readable picture"),
    changed_data: (0, "dense: redone"),
    dead_worker: (2, "a process that loads pictures was killed"),
    small_shared_memory: (0, "room for 0 of 1"),
    read_only_shared_memory: (0, "is absent, full or read-only"),
    short_memory: (2, "memory ran short"),
    diverging: (2, "diverged at step"),
    no_threshold: (0, "no threshold holds the drop"),
    emptied_layer: (2, "cannot come down to"),
    class_without_example: (0, "star"),
    batches_without_boxes: (0, "report: "),
    second_process: (2, "another process is working"),
    other_files: (2, "is not the folder of a run"),
    linked_step: (2, "is a link"),
    linked_list: (2, "points outside"),
    unescaped_password: (2, "is not the URL of a database"),
    broken_network: (2, "is missing or damaged"),
    broken_record: (2, "step.json: cannot be read"),
}
NEEDS_ROOT = (full_disk, read_only_folder, small_shared_memory, read_only_shared_memory)


def try_faults(work: Path) -> list[dict[str, Any]]:
    """Try each fault; return the expected and the actual outcome."""
    rows = []
    for fault, (promised, words) in FAULTS.items():
        if fault in NEEDS_ROOT and os.geteuid() != 0:
            continue
        case = Case(work / fault.__name__)
        case.folder.mkdir()
        write_recipe(case.folder)
        code, line, mended = fault(case)
        rows.append(
            {
                "fault": (fault.__doc__ or "").rstrip("."),
                "promised": promised,
                "exit_code": code,
                "said": line,
                "once_mended": mended,
                "traceback": "Traceback" in case.log,
                "as_promised": (code, mended) == (promised, 0)
                and words in line
                and "Traceback" not in case.log,
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows
