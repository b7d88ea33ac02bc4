"""Files that are written completely or not at all."""

import errno
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from secateur.errors import RunError


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give the path of an empty draft file in the same folder; rename it to ``path`` at the end.

    The draft is deleted if the block raises.

    Raises:
        RunError: the path is a folder, or cannot be written to, or the disk is full.
    """
    if not path.name:  # "." or "/", which an empty text is too
        raise RunError(f"{path}: is a folder; name a file in it")
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.touch()
        mode = draft.stat().st_mode
        yield draft
        with draft.open("r+b") as file:
            os.fsync(file.fileno())
        draft.chmod(mode)  # some libraries replace the draft by a file that only its owner can read
        draft.replace(path)
    except (OSError, SafetensorError) as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):  # it may not exist, or no longer
            draft.unlink()


def check_output(out: Path, inputs: Iterable[Path | None]) -> None:
    """Refuse a file to write that a command also reads.

    Raises:
        RunError: ``out`` is one of ``inputs``, under whatever name.
    """
    for each in inputs:
        if each is not None and out.exists() and each.exists() and out.samefile(each):
            raise RunError(f"{out}: is read by this command and would be replaced; name another")


def unwritable(path: Path, error: OSError | SafetensorError) -> RunError:
    """Make the error that a file cannot be written, with its reason and a cure."""
    # A SafetensorError holds the system's error as text only.
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    cure = "make room there" if os.strerror(errno.ENOSPC) in reason else "name another place"
    return RunError(f"{path}: cannot be written ({reason}); {cure}")


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, content: str) -> None:
    """Write a text in UTF-8."""
    with atomic_write(path) as draft:
        draft.write_text(content, "utf-8")
