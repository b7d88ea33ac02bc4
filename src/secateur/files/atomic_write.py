"""Files that are written whole or not at all."""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from secateur.errors import RunError

# It cannot be asked for without being set.
_UMASK = os.umask(0o022)
os.umask(_UMASK)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``, and put it in place once all is on disk.

    Raises:
        RunError: the folder cannot be written to, or the disk is full.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        with draft.open("r+b") as file:
            os.fsync(file.fileno())
        # Some libraries write for the owner alone; what is made here can be read as usual.
        draft.chmod(0o666 & ~_UMASK)
        draft.replace(path)
    except (OSError, SafetensorError) as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):  # what it could not make, it cannot leave
            draft.unlink()


def unwritable(path: Path, error: OSError | SafetensorError) -> RunError:
    """Say that a file cannot be written, why, and what helps."""
    # The writer of tensors has errors of its own, which tell the system's only in words.
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    cure = "make room there" if os.strerror(errno.ENOSPC) in reason else "name another place"
    return RunError(f"{path}: cannot be written ({reason}); {cure}")


def write_json(path: Path, content: Any) -> None:
    """Write JSON for people and programs."""
    with atomic_write(path) as draft:
        draft.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


def write_text(path: Path, content: str) -> None:
    """Write a text."""
    with atomic_write(path) as draft:
        draft.write_text(content, "utf-8")
