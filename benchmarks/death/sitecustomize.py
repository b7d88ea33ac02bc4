"""Kills its own process at one of the moments when it touches a file of the run's folder.

Python loads it at its start where this folder is in ``PYTHONPATH``. ``DEATH_FOLDER`` is the run's;
``DEATH_AT`` says at which of its file events the process dies, from 1; 0 is at none. How many there
were is then written to the file ``DEATH_COUNT``.
"""

import atexit
import os
import signal
import sys
from pathlib import Path

FOLDER = os.environ["DEATH_FOLDER"]
AT = int(os.environ["DEATH_AT"])
seen: list[str] = []


def hook(event: str, arguments: tuple[object, ...]) -> None:
    """Count what is opened, renamed, removed or made in the folder."""
    if event == "open" or event.startswith("os."):
        path = arguments[0] if arguments else None
        if isinstance(path, str) and path.startswith(FOLDER):
            seen.append(path)
            if len(seen) == AT:
                os.kill(os.getpid(), signal.SIGKILL)


def tell() -> None:
    """Write how many events there were."""
    if AT == 0:
        Path(os.environ["DEATH_COUNT"]).write_text(str(len(seen)), "utf-8")


sys.addaudithook(hook)
atexit.register(tell)
