"""What the folder of a run, or of a series of runs, holds, and what in it may be deleted.

A command writes only into a folder that is new, empty, or of its own kind. There it deletes only
what it wrote itself, and follows no link.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from secateur.distributed.rank import own_rank
from secateur.errors import RunError
from secateur.files.atomic_write import unwritable
from secateur.files.lock import lock

# What compressing writes beside the steps and the figures of the report.
RUN_FILES = (
    *("recipe.json", "split.json", "steps.json", "summary.json"),
    *("dense.safetensors", "slim.safetensors", "report.html"),
)
# Folder of a sweep, in which each of its runs has its own.
TRIALS = "trials"
# Folders of a series: steps that its runs share, and their locks.
SHARED = ("pool", "locks")
# Folder beside a run's steps: complete ones that a changed recipe replaced.
REPLACED = "replaced"
# What a step writes into its folder. The record is the first: without it, the step is not done.
STEP_FILES = (
    *("step.json", "output.json", "by_class.json", "network.safetensors"),
    *("predictions.safetensors", "[0-9][0-9].jpg", "[0-9][0-9].png", "unfinished", ".*.part"),
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of folder that a command writes.

    Attributes:
        name: what messages call it.
        mark: a JSON file that each such folder has.
        entry: an entry of that file.
        early: patterns of what the command may write before that file.
        late: patterns of what else it writes; names that begin with a dot excepted.
    """

    name: str
    mark: str
    entry: str
    early: tuple[str, ...] = ()
    late: tuple[str, ...] = ()


RUN = Kind(
    "run",
    mark="steps.json",
    entry="steps",
    early=("sweep.db*",),
    late=(*RUN_FILES, "steps", "figures", "logs", "sweep.*", TRIALS, "front", *SHARED),
)
COMPARISON = Kind(
    "comparison",
    mark="comparison.json",
    entry="provenance",
    early=("seed[0-9]*", "comparison.svg", "comparison.png", *SHARED),
)
SCALES = Kind(
    "comparison of detection layers",
    mark="scales.json",
    entry="provenance",
    early=("k[0-9]*", "scales.svg", "scales.png"),
)

CURVE = Kind(
    "curve",
    mark="curve.json",
    entry="provenance",
    early=("keep-*.safetensors", "curve.*", "layers.*"),
)


def check_folder(folder: Path, kind: Kind = RUN) -> None:
    """Check that a command may write into a folder: it is new, empty, or of the command's kind.

    Files whose names begin with a dot do not make a folder another's.

    Raises:
        RunError: it holds other files, or a link where the command writes.
    """
    try:
        names = sorted(path.name for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return  # making it tells what is wrong
    except OSError as error:
        raise RunError(f"{folder}: cannot be read ({error.strerror}); name another place") from None
    others = [name for name in names if not name.startswith(".") and not _fits(name, kind.early)]
    if others and not _is_marked(folder / kind.mark, kind.entry):
        raise RunError(
            f"{folder}: holds {others[0]} but is not the folder of a {kind.name}; give a new or "
            "empty folder with --run"
        )
    refuse_links(folder, kind)


def refuse_links(folder: Path, kind: Kind = RUN) -> None:
    """Refuse links in what a command writes into a folder, which itself may be one.

    Raises:
        RunError: there is one.
    """
    own = (*kind.early, kind.mark, *kind.late, ".lock", ".process*", ".*.part")
    for path in sorted(folder.iterdir()):
        for link in filter(Path.is_symlink, _tree(path) if _fits(path.name, own) else ()):
            raise RunError(
                f"{link}: is a link, and a {kind.name} follows none; replace it by what it points "
                "to, or delete it"
            )


@contextmanager
def locked_run(folder: Path, wait: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the lock of a run's folder, in which drafts of a killed process are deleted.

    Args:
        folder: created if it does not exist.
        wait: as for ``lock``.

    Raises:
        RunError: as for ``check_folder`` and ``lock``.
    """
    leads = own_rank().rank == 0
    if leads:
        check_folder(folder)
    with lock(folder, wait):
        if leads:
            clear_drafts(folder)
        yield


def clear_drafts(folder: Path) -> None:
    """Delete what a killed process left half-written in a run's folder.

    Only for a process that holds the folder's lock. Exports, which others may be writing, are kept.
    """
    drafts = [*(folder / "steps").rglob(".*.part"), *(folder / "figures").glob(".*.part")]
    for name in RUN_FILES:
        drafts += folder.glob(f".{name}.*.part")
    _delete(drafts)


def clear_step(folder: Path) -> None:
    """Delete what a step wrote into its folder, and the folder if nothing else is in it."""
    delete_own(folder, STEP_FILES)


def keep_step(folder: Path, kept: Path) -> None:
    """Move a step's folder to another place in one rename; other files in it are not moved.

    Raises:
        RunError: it cannot be moved.
    """
    clear_step(kept)
    try:
        kept.parent.mkdir(exist_ok=True)
        folder.rename(kept)
        _move_others(kept, folder)
    except OSError as error:
        raise unwritable(kept, error) from error


def restore_step(kept: Path, folder: Path) -> None:
    """Undo ``keep_step``, in place of what the step's folder holds now.

    Raises:
        RunError: it cannot be moved.
    """
    clear_step(folder)
    try:
        if folder.is_dir():
            _move_others(folder, kept)
            folder.rmdir()
        kept.rename(folder)
    except OSError as error:
        raise unwritable(folder, error) from error


def _move_others(source: Path, target: Path) -> None:
    for path in list(source.iterdir()):
        if not _fits(path.name, STEP_FILES):
            target.mkdir(exist_ok=True)
            path.rename(target / path.name)


def delete_own(folder: Path, patterns: Iterable[str]) -> None:
    """Delete files and folders by their names, and the folder if nothing else is in it.

    Raises:
        RunError: one of them cannot be deleted.
    """
    for pattern in patterns:
        _delete(folder.glob(pattern))
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _delete(paths: Iterable[Path]) -> None:
    for path in list(paths):
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(path, error) from error


def _tree(path: Path) -> Iterator[Path]:
    """A path and all below it, without what links point to."""
    yield path
    if not path.is_symlink():
        for folder, folders, files in os.walk(path):
            yield from (Path(folder, name) for name in (*folders, *files))


def _fits(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _is_marked(mark: Path, entry: str) -> bool:
    try:
        content = json.loads(mark.read_bytes()) if mark.is_file() else None
    except OSError as error:
        raise RunError(f"{mark}: cannot be read ({error.strerror}); make it readable") from None
    except (ValueError, RecursionError):
        return True  # damaged; it is written again
    return isinstance(content, dict) and entry in content
