"""A temporary PostgreSQL cluster, from the installed programs."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Folder of programs on Debian and Ubuntu, which is not on the path.
_DEBIAN = "/usr/lib/postgresql"
_USER = "postgres"


def find_programs() -> Path | None:
    """Find the folder of the newest PostgreSQL programs; None if there is none."""
    beside = shutil.which("initdb")
    folders = [Path(beside).resolve().parent] if beside else []
    folders += sorted(Path(_DEBIAN).glob("*/bin"), key=lambda path: -float(path.parent.name))
    return next((folder for folder in folders if (folder / "pg_ctl").is_file()), None)


@contextmanager
def own_postgres(programs: Path) -> Iterator[str]:
    """Start a cluster that listens on a Unix socket only, and yield the URL of a database.

    PostgreSQL refuses to run as root; then it runs as the user that its package has created.

    Args:
        programs: the folder of initdb and pg_ctl.
    """
    root = os.geteuid() == 0
    become = ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups"] if root else []
    with tempfile.TemporaryDirectory(prefix="pg-") as name:
        folder = Path(name)
        data = folder / "data"
        if root:
            shutil.chown(folder, _USER, _USER)

        def run(program: str, *arguments: str) -> None:
            subprocess.run(
                [*become, str(programs / program), *arguments],
                check=True,
                cwd=folder,
                stdout=subprocess.DEVNULL,
                env={**os.environ, "LC_ALL": "C"},
            )

        run("initdb", "-D", str(data), "-U", "sweep", "-A", "trust", "-E", "UTF8")
        settings = f"-k {folder} -c listen_addresses=''"
        control = ("-D", str(data), "-w", "-l", str(folder / "log"))
        run("pg_ctl", *control, "-o", settings, "start")
        try:
            run("createdb", "-h", str(folder), "-U", "sweep", "sweeps")
            yield f"postgresql://sweep@/sweeps?host={folder}"
        finally:
            run("pg_ctl", *control, "-m", "fast", "stop")
