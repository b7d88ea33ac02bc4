"""Measure how long the report of a run takes to make, and its size.

``python benchmarks/report.py quickstart``, after the run in ``runs/quickstart``, writes
``benchmarks/results/report_quickstart.json``. The time is that of the whole command.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from checks import at_most, print_checks
from secateur.files.atomic_write import write_json
from secateur.run.context import provenance

HERE = Path(__file__).parent
MOST_BYTES, MOST_SECONDS = 5_000_000, 20.0
REPEATS = 3


def seconds_of(run: Path) -> float:
    """Write the report of a run once."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "secateur", "report", str(run)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - start


def main() -> None:
    """Measure, check and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="of a finished run in the folder runs")
    name: str = parser.parse_args().name
    run = Path("runs") / name
    seconds = [seconds_of(run) for _ in range(REPEATS)]
    size = (run / "report.html").stat().st_size
    checks = [
        at_most("bytes of the page, at most", size, MOST_BYTES),
        at_most("seconds to make it and its figures, at most", median(seconds), MOST_SECONDS),
    ]
    result = {
        "bytes": size,
        "seconds": seconds,
        "figures": len(list((run / "figures").glob("*.svg"))),
        "checks": checks,
        "provenance": provenance(),
    }
    write_json(HERE / "results" / f"report_{name}.json", result)
    print_checks(checks)


if __name__ == "__main__":
    main()
