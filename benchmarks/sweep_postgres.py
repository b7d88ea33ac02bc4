"""One sweep in PostgreSQL by two processes, one of which is killed half-way.

``python benchmarks/sweep_postgres.py`` writes ``benchmarks/results/sweep_postgres.json``. It needs
PostgreSQL's programs (``apt install postgresql``) and starts its own cluster with them. Each
process has its own folder, like a machine of its own. The killed process is restarted after the
other one has completed all trials; then it only evaluates the networks in its folder.
"""

import json
import signal
import subprocess
import tempfile
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import optuna

from checks import Check, equal, print_checks
from postgres import find_programs, own_postgres
from secateur.experiments.sweep.queue import BEAT, GRACE
from secateur.files.atomic_write import write_json
from secateur.run.context import provenance
from tiny import RECIPE, start, write_recipe

HERE = Path(__file__).parent
TRIALS = 10


def start_sweep(recipe: Path, folder: Path, url: str) -> "subprocess.Popen[str]":
    """Start a process of the sweep, with a log file."""
    options = ["--trials", str(TRIALS), "--storage", url, "--run", str(folder)]
    return start("sweep", recipe, *options, log=folder.with_suffix(".log"))


def trials_in(url: str) -> list[optuna.trial.FrozenTrial]:
    """All trials so far; none before the study exists."""
    url = url.replace("postgresql:", "postgresql+psycopg:")
    try:
        (name,) = optuna.get_all_study_names(url)
    except (ValueError, optuna.exceptions.StorageInternalError):
        return []
    return optuna.load_study(study_name=name, storage=url).get_trials(deepcopy=False)


def kill_half_way(processes: "dict[str, subprocess.Popen[str]]", url: str) -> int:
    """Kill the second process during one of its trials, when half of all trials are done.

    Returns:
        The number of that trial.
    """
    victim = processes["b"]
    while True:
        for name, process in processes.items():
            if process.poll() is not None:
                raise SystemExit(f"process {name} ended too early; see its log")
        trials = trials_in(url)
        own = [
            trial.number
            for trial in trials
            if trial.state.name == "RUNNING"
            and str(trial.user_attrs.get("worker", "")).endswith(f":{victim.pid}")
        ]
        done = sum(trial.state.name in ("COMPLETE", "PRUNED") for trial in trials)
        if done >= TRIALS // 2 and own:
            victim.send_signal(signal.SIGKILL)
            victim.wait()
            return own[0]
        time.sleep(0.2)


def sweep_twice(work: Path, url: str) -> dict[str, Any]:
    """Run the sweep and collect the result."""
    recipe = write_recipe(work)
    begun = time.perf_counter()
    processes = {name: start_sweep(recipe, work / name, url) for name in ("a", "b")}
    names = {str(process.pid): name for name, process in processes.items()}
    killed = kill_half_way(processes, url)
    silent = time.perf_counter()
    while not any(trial.user_attrs.get("origin") == str(killed) for trial in trials_in(url)):
        time.sleep(0.2)
    repeated = time.perf_counter()
    if processes["a"].wait():
        raise SystemExit("process a failed; see its log")
    ended = time.perf_counter()
    if start_sweep(recipe, work / "b", url).wait():
        raise SystemExit("process b failed after its restart; see its log")
    result = json.loads((work / "b" / "sweep.json").read_text("utf-8"))
    rows = result["trials"]
    done = [row for row in rows if row["state"] in ("complete", "given up")]
    again = [row for row in rows if row["repeats"] is not None]
    lost = next(row for row in rows if row["number"] == killed)
    workers = Counter(names[row["worker"].rpartition(":")[2]] for row in done)
    return {
        "trials": {
            "wanted": TRIALS,
            "complete": sum(row["state"] == "complete" for row in rows),
            "given_up": sum(row["state"] == "given up" for row in rows),
            "not_possible": sum(row["state"] == "not possible" for row in rows),
            "stopped": sum(row["state"] == "stopped" for row in rows),
            "repeated": len(again),
        },
        "workers": dict(sorted(workers.items())),
        "killed": {
            "trial": killed,
            "repeated_as": [row["number"] for row in again if row["repeats"] == killed],
            "same_choice": all(row["chosen"] == lost["chosen"] for row in again),
            "different_choices": len({json.dumps(row["chosen"]) for row in done}),
        },
        "front": [
            {key: point[key] for key in ("trial", "validation", "test", "params", "macs")}
            for point in result["front"]
        ],
        "dense": result["dense"],
        "steps": result["steps"],
        "spared": result["spared"],
        "seconds": {
            "beat": BEAT,
            "grace": GRACE,
            "until_repeated": round(repeated - silent, 1),
            "in_all": round(ended - begun, 1),
        },
    }


def checks(result: dict[str, Any]) -> list[Check]:
    """Require that no trial is lost and none is done twice."""
    trials, killed = result["trials"], result["killed"]
    done = trials["complete"] + trials["given_up"]
    tested = sum(point["test"] is not None for point in result["front"])
    return [
        equal("trials completed, of those requested", done, TRIALS),
        equal("trials of the killed process that were repeated", len(killed["repeated_as"]), 1),
        equal("repeated with the same choice", int(killed["same_choice"]), 1),
        equal("different choices among completed trials", killed["different_choices"], TRIALS),
        equal("networks of the front evaluated on test", tested, len(result["front"])),
    ]


def main() -> None:
    """Measure, check and write."""
    programs = find_programs()
    if programs is None:
        raise SystemExit("PostgreSQL is not installed; apt install postgresql")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory() as work, own_postgres(programs) as url:
        result = sweep_twice(Path(work), url)
    server = subprocess.run(
        [programs / "postgres", "--version"], check=True, capture_output=True, text=True
    )
    made_by = provenance()
    made_by["versions"] |= {name: version(name) for name in ("optuna", "sqlalchemy", "psycopg")}
    made_by["versions"]["postgresql"] = server.stdout.split()[2]
    result = {**result, "checks": checks(result), "seed": RECIPE["seed"], "provenance": made_by}
    write_json(HERE / "results" / "sweep_postgres.json", result)
    print_checks(result["checks"])


if __name__ == "__main__":
    main()
