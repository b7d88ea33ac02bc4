"""Mutated files for every reader: each must be read or refused, with no other effect.

``python benchmarks/fuzz.py`` gives each reader 100,000 files that Atheris, guided by coverage,
derives from small valid ones, and 1,000 files from Hypothesis, and writes
``benchmarks/results/fuzz.json``. ``--hypothesis 100`` tries 100 files from Hypothesis only, and
writes nothing.

A case fails if the reader raises anything but its own kind of error, if the message is not one line
that names the file, if the case takes more than 2 s of processor time, or if it opens a file
outside of the reader's folder, starts a program, or removes or renames a file. The last is observed
by Python's audit hooks, which do not see files that C or Rust libraries open.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

try:
    import atheris
except ImportError:  # it has no wheel for this machine
    atheris = None

if atheris is not None and "--reader" in sys.argv:
    atheris.instrument_imports(include=["secateur", "yaml", "defusedxml"]).__enter__()

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from checks import at_least, at_most, equal, print_checks
from fuzz_readers import Reader, readers
from secateur.files.atomic_write import write_json
from secateur.run.context import provenance

HERE = Path(__file__).parent
CASES, HYPOTHESIS_CASES = 100_000, 1_000
SLOWEST = 2.0  # seconds of the processor, for one case
SEED = 1
TOKENS = (
    b"../", b"/etc/passwd", b"\0", b"\n", b"nan", b"inf", b"-1", b"1e999", b"9" * 5000, b"[" * 300,
    b"{" * 300, b"<a>" * 300, b"\xff\xfe", b"!!int x", b"!!python/object:os.system", b"&a [*a]",
    b"\\ud800", b"<script>", b"null", b"\x7f\xff\xff\xff", b"4611686018427387904",
    b"r\xff\xff\xff\x7f",
)  # fmt: skip
FINDINGS = (
    "A picture of more pixels than Pillow finds sane gave a traceback; it is refused.",
    "A .jpg that held PostScript would have been handed to Ghostscript; seven formats are read.",
    "Pictures of 16 bits were cut off at 255 in detection; they are refused.",
    "Detection ignored EXIF, classification did not; both turn pictures as it says.",
    "Links in detection data could lead out of the data folder; they may not.",
    "A pipe or a device in place of a file would have been read for ever; it is refused.",
    "YAML of a few merge keys could fill the memory, and deep or odd values gave tracebacks.",
    "A pickle of a few bytes could make Python fill the memory or never end; it is refused.",
    "A list of GTSRB with a field too long, or a number of thousands of digits, gave a traceback.",
    "Names too long for the file system gave tracebacks.",
    "A network file could name an input of any size, weights that are no numbers, and boxes of no "
    "or infinite size; there are limits.",
    "Torch files with names that are no text gave a traceback, compressed ones could unpack to "
    "many times their size, and downloaded ones were unpickled in full; none of that is so.",
    "Altered predictions, training states and step files gave tracebacks or took memory at will.",
    "Names could command the terminal; what cannot be printed is written out.",
)


class FailedError(Exception):
    """A case had a forbidden effect."""


def demand(held: bool, message: str) -> None:
    """Fail the case if a condition does not hold."""
    if not held:
        raise FailedError(message)


class Watch:
    """An audit hook that records forbidden actions of a case."""

    def __init__(self, folder: Path) -> None:
        self.active = False
        self.seen: list[str] = []
        # Readers may import modules late, and libraries read files about the machine.
        self.allowed = tuple(
            map(str, (folder, sys.prefix, sys.base_prefix, HERE.parent / "src", "/proc/", "/sys/"))
        )
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.active:
            return
        if event == "open" and isinstance(arguments[0], str | bytes):
            path = os.path.abspath(os.fsdecode(arguments[0]))  # noqa: PTH100 # quick, and no links
            if not path.startswith(self.allowed):
                self.seen.append(f"open {path}")
        elif event in (
            "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.remove",
            "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "socket.connect",
        ):  # fmt: skip
            self.seen.append(event)


class Trial:
    """One reader and the outcomes of its cases."""

    def __init__(self, reader: Reader, folder: Path) -> None:
        self.reader, self.folder = reader, folder
        self.read = self.tried = 0
        self.refused: Counter[str] = Counter()
        self.slowest = 0.0
        reader.prepare(folder)
        for part in reader.parts:
            (folder / part.path).parent.mkdir(parents=True, exist_ok=True)
        self._restore()
        self.watch = Watch(folder)
        reader.read(folder)  # imports now what it imports late

    @property
    def seeds(self) -> list[bytes]:
        """Valid cases to mutate."""
        return [
            bytes([place]) + seed
            for place, part in enumerate(self.reader.parts)
            for seed in part.seeds
        ]

    def case(self, data: bytes) -> None:
        """Try a case; raise FailedError, or the reader's unexpected error, if it fails."""
        if not data:
            return
        part = self.reader.parts[data[0] % len(self.reader.parts)]
        (self.folder / part.path).write_bytes(part.wrap(data[1:]))
        try:
            seconds = self._timed()
        finally:
            first = next(each for each in self.reader.parts if each.path == part.path)
            (self.folder / part.path).write_bytes(first.wrap(first.seeds[0]))
        self.slowest = max(self.slowest, seconds)
        demand(seconds <= SLOWEST, f"took {seconds:.1f} s")
        demand(not self.watch.seen, str(self.watch.seen))

    def _timed(self) -> float:
        start = time.process_time()  # of all threads of this process
        self.watch.active = True
        try:
            self.reader.read(self.folder)
        except self.reader.refusal as error:
            self.refused[type(error).__name__] += 1
            message = str(error)
            demand(str(self.folder) in message, f"names no file: {message!r}")
            demand(len(message.splitlines()) == 1, f"is not one line: {message!r}")
        else:
            self.read += 1
        finally:
            self.watch.active = False
        return time.process_time() - start

    def _restore(self) -> None:
        for part in reversed(self.reader.parts):
            (self.folder / part.path).write_bytes(part.wrap(part.seeds[0]))


def hypothesis_cases(trial: Trial, count: int) -> None:
    """Try files from Hypothesis: truncated, and mixed with tokens that have broken readers."""
    edit = st.tuples(
        st.integers(0, 2**16),
        st.integers(0, 40),
        st.one_of(st.binary(max_size=8), st.sampled_from(TOKENS)),
    )

    @settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(trial.seeds), st.lists(edit, max_size=6))
    def attempt(seed: bytes, edits: list[tuple[int, int, bytes]]) -> None:
        data = seed
        for place, cut, put in edits:
            at = 1 + place % len(data) if data else 0
            data = data[:at] + put + data[at + cut :]
        trial.case(data)

    attempt()


def coverage_cases(trial: Trial, count: int, corpus: Path, done: Any) -> None:
    """Try files from Atheris; ends the process."""
    for number, seed in enumerate(trial.seeds):
        (corpus / str(number)).write_bytes(seed)

    def attempt(data: bytes) -> None:
        trial.case(data)
        trial.tried += 1
        if trial.tried == count:
            done()
            os._exit(0)

    limits = ["-max_len=8192", "-timeout=60", "-rss_limit_mb=4000", "-verbosity=0"]
    atheris.Setup([sys.argv[0], f"-seed={SEED}", *limits, str(corpus)], attempt)
    atheris.Fuzz()


def one_reader(name: str, hypothesis: int, coverage: int, out: Path) -> None:
    """Try one reader in this process and write the outcome to a file."""
    torch.set_num_threads(1)
    memory = Path("/dev/shm")  # noqa: S108 # folders of our own are made in it
    place = memory if memory.is_dir() else None
    with tempfile.TemporaryDirectory(dir=place) as work:
        folder, corpus, scratch = (Path(work, each) for each in ("case", "corpus", "scratch"))
        for each in (folder, corpus, scratch):
            each.mkdir()
        trial = Trial(readers(scratch)[name], folder)

        def done() -> None:
            found = {
                "cases": {"coverage": trial.tried, "hypothesis": hypothesis},
                "read": trial.read,
                "refused": sum(trial.refused.values()),
                "slowest_seconds": round(trial.slowest, 3),
            }
            write_json(out, found)

        hypothesis_cases(trial, hypothesis)
        if coverage:
            coverage_cases(trial, coverage, corpus, done)
        done()


def main() -> None:
    """Try every reader in its own process and write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--hypothesis", type=int)
    parser.add_argument("--reader")
    parser.add_argument("--coverage", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--keep", type=Path, help="folder of outcomes, to resume from")
    given_ = parser.parse_args()
    if given_.reader:
        one_reader(given_.reader, given_.hypothesis, given_.coverage, given_.out)
        return
    with tempfile.TemporaryDirectory() as scratch:
        names = list(readers(Path(scratch)))
    if given_.hypothesis:
        for name in names:
            with tempfile.TemporaryDirectory() as work:
                one_reader(name, given_.hypothesis, 0, Path(work, "found.json"))
        return
    if atheris is None:
        raise SystemExit("Atheris is not installed: it needs Linux on x86-64; pip install '.[dev]'")
    found, failed = {}, {}
    with tempfile.TemporaryDirectory() as work:
        for name in names:
            out = (given_.keep or Path(work)).absolute() / f"{name}.json"
            if out.is_file():
                found[name] = json.loads(out.read_text("utf-8"))
                continue
            options = ["--hypothesis", str(HYPOTHESIS_CASES), "--coverage", str(CASES)]
            ended = subprocess.run(
                [sys.executable, __file__, "--reader", name, *options, "--out", str(out)],
                cwd=work,
                check=False,
                capture_output=True,
                text=True,
                errors="replace",
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            if ended.returncode:
                out.unlink(missing_ok=True)
                failed[name] = f"{ended.stdout[-2000:]}\n{ended.stderr[-2000:]}"
                print(failed[name])
            else:
                found[name] = json.loads(out.read_text("utf-8"))
            print(name, found.get(name, "FAILED"), flush=True)
    least = min((each["cases"]["coverage"] for each in found.values()), default=0)
    slowest = max((each["slowest_seconds"] for each in found.values()), default=0.0)
    checks = [
        equal("readers that failed", len(failed), 0),
        at_least("fewest cases of a reader", least, CASES),
        at_most("processor seconds of the slowest case", slowest, SLOWEST),
    ]
    made_by = provenance()
    packages = ("atheris", "hypothesis", "pillow", "pydantic", "PyYAML", "safetensors")
    made_by["versions"] |= {package: version(package) for package in packages}
    result = {
        "readers": found,
        "found_and_mended": FINDINGS,
        "checks": checks,
        "seed": SEED,
        "provenance": made_by,
    }
    write_json(HERE / "results" / "fuzz.json", result)
    print_checks(checks)


if __name__ == "__main__":
    main()
