"""Memory over 10,000 training steps and over evaluating 20,000 pictures, of the real commands.

``python benchmarks/memory.py`` writes ``benchmarks/results/memory.json``. A tiny network is trained
and evaluated, for what is looked at is what every step and every picture leaves behind. The memory
is the command's and its loading processes', as the kernel counts it, looked at ten times a second;
what lies between the second tenth of the time and the last is growth.
"""

import os
import resource
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from checks import tell
from secateur.files.atomic_write import write_json
from secateur.run.context import provenance
from tiny import start, write_recipe

HERE = Path(__file__).parent
STEPS = 10_000
PICTURES = 20_000
MOST_GROWTH = 2.0  # percent
MIB = 2**20


def memory_of(process: int) -> int:
    """Bytes in memory of a process and its children; 0 once it is gone."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text("utf-8").split()[1])
        children = Path(f"/proc/{process}/task/{process}/children").read_text("utf-8").split()
    except OSError:
        return 0
    return pages * resource.getpagesize() + sum(memory_of(int(child)) for child in children)


def watched(process: "subprocess.Popen[str]", log: Path, sign: str) -> list[int]:
    """Give the memory of a process in its turns, from when it first says ``sign`` to its end."""
    found = []
    while process.poll() is None:
        if sign in log.read_text("utf-8"):
            found.append(memory_of(process.pid))
        time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"failed: {log.read_text('utf-8')[-500:]}")
    return [each for each in found if each]


def described(values: list[int]) -> dict[str, Any]:
    """Give what there is to say of the memory over time."""
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
    """Train for long, with a process that loads pictures."""
    log = work / "train.log"
    options = ["--set", f"train.steps={STEPS}", "--set", "data.workers=1"]
    process = start("train", recipe, "--run", str(work / "run"), *options, log=log)
    return {"steps": STEPS, **described(watched(process, log, "dense: "))}


def evaluate(work: Path) -> dict[str, Any]:
    """Evaluate on many pictures, which are links to a few."""
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
    """Measure, check and write."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        result: dict[str, Any] = {"training": train(work, write_recipe(work))}
        result["evaluation"] = evaluate(work)
    checks = [
        {
            "name": f"growth of memory over {part}, percent",
            "value": result[part]["growth_percent"],
            "target": MOST_GROWTH,
            "met": result[part]["growth_percent"] <= MOST_GROWTH,
        }
        for part in ("training", "evaluation")
    ]
    made_by = {"checks": checks, "seed": 0, "provenance": provenance()}
    write_json(HERE / "results" / "memory.json", {**result, **made_by})
    tell(checks)


if __name__ == "__main__":
    main()
