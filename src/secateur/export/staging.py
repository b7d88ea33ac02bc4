"""A folder in which an exported file is written and verified before it is put in place."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from secateur.files.atomic_write import unwritable


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """Yield a path in a temporary folder next to ``out``; at the end, move its files there."""
    # The folder's name is known before it exists, so that a signal cannot leave it unremoved.
    folder = out.with_name(f".export-{out.name}.{os.getpid()}")
    draft = folder / out.name
    shutil.rmtree(folder, ignore_errors=True)  # of a killed process with the same id
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield draft
        # The file that refers to the others is moved last.
        for file in sorted(folder.iterdir(), key=lambda file: file == draft):
            file.replace(out.with_name(file.name))
    except OSError as error:
        raise unwritable(out, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
