"""Time the making of a real run's report, and weigh the page.

``python benchmarks/report.py quickstart``, after the run in ``runs/quickstart``, writes
``benchmarks/results/report_quickstart.json``. Timed is the whole command, from nothing.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from checks import tell
from secateur.files.atomic_write import write_json
from secateur.run.context import provenance

HERE = Path(__file__).parent
# Bytes of the page, and seconds.
LARGEST, LONGEST = 5_000_000, 20.0
REPEATS = 3


def seconds_of(run: Path) -> float:
    """Make the report of a run once."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "secateur", "report", str(run)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - start


def main() -> None:
    """Measure, check and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="of a finished run in runs")
    name: str = parser.parse_args().name
    run = Path("runs") / name
    times = [seconds_of(run) for _ in range(REPEATS)]
    size = (run / "report.html").stat().st_size
    figures = len(list((run / "figures").glob("*.svg")))
    checks = [
        {"name": what, "value": value, "target": most, "met": value <= most}
        for what, value, most in (
            ("bytes of the page, at most", size, LARGEST),
            ("seconds to make it and its figures, at most", median(times), LONGEST),
        )
    ]
    result = {
        "bytes": size,
        "seconds": times,
        "figures": figures,
        "checks": checks,
        "provenance": provenance(),
    }
    write_json(HERE / "results" / f"report_{name}.json", result)
    tell(checks)


if __name__ == "__main__":
    main()
