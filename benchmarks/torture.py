"""Kill the real ``secateur compress`` at random moments and check that nothing is lost.

``python benchmarks/torture.py`` writes ``benchmarks/results/torture.json``. Half of the kills come
after a random time, half at a random file event of the run folder (open, rename, remove, create).
A run is killed and restarted until it completes; its summary and networks must then equal those of
an uninterrupted run, bit for bit. Some runs are stopped by Ctrl-C and by SIGTERM instead.
``faults.py`` adds a table of other faults.
"""

import argparse
import json
import os
import random
import signal
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from checks import Check, equal, print_checks
from faults import try_faults
from secateur.files.atomic_write import write_json
from secateur.run.context import provenance
from tiny import start, write_recipe

HERE = Path(__file__).parent
SEED = 0
# The state of a training is written about every tenth of a second, so that trainings resume too.
CHANGES = (
    "checkpoint=0.002",
    "train.steps=40",
    "compress.sparsify.steps=20",
    "compress.retrain.steps=30",
)
OPTIONS = [option for change in CHANGES for option in ("--set", change)]
SIGNALS = {"SIGINT": 130, "SIGTERM": 143}
TOO_LONG = 300


@dataclass
class Run:
    """A run that is restarted until it completes.

    Attributes:
        folder: holds ``run`` and ``log``.
        recipe: the recipe file.
        ends: how each start ended: ``SIGKILL``, another signal's name, or ``done``.
    """

    folder: Path
    recipe: Path
    ends: list[str] = field(default_factory=list)

    def go(
        self,
        *,
        after: float | None = None,
        by: signal.Signals = signal.SIGKILL,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """Start the command, and send a signal after some seconds if it is still running.

        For signals other than SIGKILL the seconds count from the first line of output, because
        the command must have installed its handlers.

        Returns:
            How the command ended.
        """
        options = ["--run", str(self.folder / "run"), *OPTIONS]
        log = self.folder / "log"
        said = log.stat().st_size if log.exists() else 0
        process = start("compress", self.recipe, *options, log=log, environment=environment)
        while by is not signal.SIGKILL and log.stat().st_size == said and process.poll() is None:
            time.sleep(0.005)
        end = time.monotonic() + (TOO_LONG if after is None else after)
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        if process.poll() is None:
            if after is None:
                process.kill()
                raise SystemExit(f"hangs: {log.read_text()[-500:]}")
            process.send_signal(by)
        code = process.wait(TOO_LONG)
        # A signal that arrives while the interpreter exits interrupts nothing.
        through = "report: " in log.read_bytes()[said:].decode("utf-8", "replace")
        if code == 0 or (code == -by and through):
            self.ends.append("done")
        elif code == -signal.SIGKILL:
            self.ends.append("SIGKILL")
        elif code == SIGNALS.get(by.name):
            self.ends.append(by.name)
        else:
            raise SystemExit(f"ended with {code}: {log.read_text()[-500:]}")
        return self.ends[-1]

    def result(self) -> tuple[Any, bytes, bytes]:
        """Read what must be equal: the summary without times, and the networks."""
        summary = json.loads((self.folder / "run" / "summary.json").read_text("utf-8"))
        del summary["seconds"], summary["provenance"]["date"]
        files = [self.folder / "run" / f"{name}.safetensors" for name in ("dense", "slim")]
        return summary, files[0].read_bytes(), files[1].read_bytes()

    def left_over(self) -> list[str]:
        """List the temporary files in the run folder."""
        run = self.folder / "run"
        found = [*run.rglob("*.part"), *run.rglob("unfinished")]
        return [str(path.relative_to(run)) for path in found]


def torture(work: Path, kills: int, stops: int) -> dict[str, Any]:
    """Kill and stop runs, and compare each with an uninterrupted run."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell ignores it
    rng = random.Random(SEED)  # noqa: S311 # not for cryptography
    recipe = write_recipe(work)

    def new(name: str) -> Run:
        (work / name).mkdir()
        return Run(work / name, recipe)

    death = str(HERE / "death")

    def at_event(run: Run, number: int) -> dict[str, str]:
        return {
            # First on the path, so that every start imports it.
            "PYTHONPATH": os.pathsep.join(filter(None, [death, os.environ.get("PYTHONPATH")])),
            "DEATH_FOLDER": str(run.folder / "run"),
            "DEATH_AT": str(number),
            "DEATH_COUNT": str(work / "events"),
        }

    unbroken = new("unbroken")
    begun = time.monotonic()
    unbroken.go(environment=at_event(unbroken, 0))
    seconds = time.monotonic() - begun
    events = int((work / "events").read_text("utf-8"))
    wanted = unbroken.result()
    runs: list[Run] = []

    def count(name: str) -> int:
        return sum(run.ends.count(name) for run in runs)

    goals = {"SIGKILL": kills, "SIGINT": stops, "SIGTERM": stops}
    while any(count(name) < goal for name, goal in goals.items()):
        runs.append(new(f"run{len(runs)}"))
        run, end = runs[-1], ""
        while end != "done":
            wanting = [name for name, goal in goals.items() if count(name) < goal]
            if not wanting:
                end = run.go()
                continue
            by = signal.Signals[rng.choice(wanting)]
            if by is signal.SIGKILL and rng.random() < 0.5:
                end = run.go(environment=at_event(run, rng.randint(1, events)))
            else:
                end = run.go(after=rng.uniform(0, seconds), by=by)
            print(f"{run.folder.name}: {end}", flush=True)
    return {
        "unbroken": {"seconds": round(seconds, 1), "file_events": events},
        "runs": len(runs),
        "signals": {name: count(name) for name in goals},
        "most_kills_of_one_run": max(run.ends.count("SIGKILL") for run in runs),
        "gone_through": sum(run.ends[-1] == "done" for run in runs),
        "different": sum(run.result() != wanted for run in runs),
        "left_over": sorted({path for run in runs for path in run.left_over()}),
        "told_how_to_go_on": sum(
            (run.folder / "log").read_text("utf-8").count("give the same command again")
            for run in runs
        ),
    }


def checks(result: dict[str, Any], kills: int, stops: int) -> list[Check]:
    """Require that nothing is lost, and that faults end as expected."""
    kept = sum(fault["as_promised"] for fault in result["faults"])
    return [
        equal("kills", result["signals"]["SIGKILL"], kills),
        equal("interrupted runs that completed", result["gone_through"], result["runs"]),
        equal("runs whose summary or networks differ", result["different"], 0),
        equal("temporary files left", len(result["left_over"]), 0),
        equal("stops by a signal that said how to resume", result["told_how_to_go_on"], 2 * stops),
        equal("other faults that ended as expected", kept, len(result["faults"])),
    ]


def main() -> None:
    """Kill, check and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--stops", type=int, default=5, help="stops by each of two signals")
    parser.add_argument(
        "--faults", action="store_true", help="only the faults; the file keeps its results of kills"
    )
    arguments = parser.parse_args()
    target = HERE / "results" / "torture.json"
    if arguments.faults:
        result = json.loads(target.read_text("utf-8"))
    else:
        with tempfile.TemporaryDirectory() as work:
            result = torture(Path(work), arguments.kills, arguments.stops)
    with tempfile.TemporaryDirectory() as work:
        result["faults"] = try_faults(Path(work))
    found = checks(result, arguments.kills, arguments.stops)
    made_by = {"checks": found, "seed": SEED, "provenance": provenance()}
    write_json(target, {**result, **made_by})
    print_checks(found)


if __name__ == "__main__":
    main()
