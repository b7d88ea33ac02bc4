"""Memory of the real commands over 10,000 training steps and 20,000 evaluated pictures.

``python benchmarks/memory.py`` writes ``benchmarks/results/memory.json``. The network is tiny,
because only memory that steps and pictures do not release matters here. The resident memory of the
command and its worker processes is read ten times a second; growth is the difference between the
second and the last tenth of the time.
"""

import os
import resource
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from checks import at_most, print_checks
from secateur.files.atomic_write import write_json
from secateur.run.context import provenance
from tiny import start, write_recipe

HERE = Path(__file__).parent
STEPS = 10_000
PICTURES = 20_000
MOST_GROWTH = 2.0  # percent
MIB = 2**20


def memory_of(process: int) -> int:
    """Resident memory of a process and its children in bytes; 0 once it has ended."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text("utf-8").split()[1])
        children = Path(f"/proc/{process}/task/{process}/children").read_text("utf-8").split()
    except OSError:
        return 0
    return pages * resource.getpagesize() + sum(memory_of(int(child)) for child in children)


def watched(process: "subprocess.Popen[str]", log: Path, sign: str) -> list[int]:
    """Read the memory of a process from its first output of ``sign`` to its end."""
    found = []
    while process.poll() is None:
        if sign in log.read_text("utf-8"):
            found.append(memory_of(process.pid))
        time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"failed: {log.read_text('utf-8')[-500:]}")
    return [each for each in found if each]


def described(values: list[int]) -> dict[str, Any]:
    """Summarise the memory over time."""
    tenth = len(values) // 10
    early = statistics.median(values[tenth : 2 * tenth])
    late = statistics.median(values[-tenth:])
    deciles = [statistics.median(values[k * tenth : (k + 1) * tenth]) for k in range(10)]
    return {
        "looks": len(values),
        "mib_by_tenths": [round(each / MIB, 1) for each in deciles],
        "growth_mib": round((late - early) / MIB, 2),
        "growth_percent": round(100 * (late - early) / early, 3),
    }


def train(work: Path, recipe: Path) -> dict[str, Any]:
    """Train for many steps, with a worker process that loads pictures."""
    log = work / "train.log"
    options = ["--set", f"train.steps={STEPS}", "--set", "data.workers=1"]
    process = start("train", recipe, "--run", str(work / "run"), *options, log=log)
    return {"steps": STEPS, **described(watched(process, log, "dense: "))}


def evaluate(work: Path) -> dict[str, Any]:
    """Evaluate on many pictures, which are hard links to a few."""
    pictures = work / "pictures"
    names = [f"many{number:05}" for number in range(PICTURES)]
    for number, name in enumerate(names):
        for folder, kind in (("JPEGImages", "jpg"), ("Annotations", "xml")):
            source = pictures / folder / f"{24 + number % 8:02}.{kind}"
            os.link(source, pictures / folder / f"{name}.{kind}")
    (pictures / "ImageSets" / "Main" / "many.txt").write_text("\n".join(names), "utf-8")
    log = work / "evaluate.log"
    model = work / "run" / "dense.safetensors"
    options = ["--data", str(pictures), "--split", "many"]
    process = start("evaluate", model, *options, log=log)
    return {"pictures": PICTURES, **described(watched(process, log, "evaluating"))}


def main() -> None:
    """Measure and write the result."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        result: dict[str, Any] = {"training": train(work, write_recipe(work))}
        result["evaluation"] = evaluate(work)
    checks = [
        at_most(
            f"growth of memory over {part}, percent", result[part]["growth_percent"], MOST_GROWTH
        )
        for part in ("training", "evaluation")
    ]
    made_by = {"checks": checks, "seed": 0, "provenance": provenance()}
    write_json(HERE / "results" / "memory.json", {**result, **made_by})
    print_checks(checks)


if __name__ == "__main__":
    main()
