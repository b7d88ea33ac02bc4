"""Time the making of reports of real runs, and weigh the pages.

``python benchmarks/report.py runs/quickstart runs/gtsdb_laptop`` writes
``benchmarks/results/report.json``. Timed is the whole command, from nothing; the median of three.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from checks import tell
from secateur.run import provenance
from secateur.whole_file import write_json

HERE = Path(__file__).parent
# Bytes of the page, and seconds.
LARGEST, LONGEST = 5_000_000, 20.0
REPEATS = 3


def seconds_of(run: Path, page: Path) -> float:
    """Make the report of a run once."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "secateur", "report", str(run), "--out", str(page)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Measure, check and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished runs")
    measured, checks = {}, []
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        for run in parser.parse_args().runs:
            times = [seconds_of(run, page) for _ in range(REPEATS)]
            size, figures = page.stat().st_size, len(list((run / "figures").glob("*.svg")))
            measured[run.name] = {"bytes": size, "seconds": times, "figures": figures}
            for name, value, target in (
                (f"{run.name}: bytes of the page, at most", size, LARGEST),
                (f"{run.name}: seconds to make it, at most", median(times), LONGEST),
            ):
                met = value <= target
                checks.append({"name": name, "value": value, "target": target, "met": met})
    result = {"runs": measured, "checks": checks, "provenance": provenance()}
    write_json(HERE / "results" / "report.json", result)
    tell(checks)


if __name__ == "__main__":
    main()
