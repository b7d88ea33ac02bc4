"""What a run folder holds."""

import shutil
from pathlib import Path

# What compressing writes beside the steps and the figures of the report.
RUN_FILES = (
    *("recipe.json", "split.json", "steps.json", "summary.json"),
    *("dense.safetensors", "slim.safetensors", "report.html"),
)
# Folder of a sweep, in which each of its runs has its own.
TRIALS = "trials"


def clear_drafts(folder: Path) -> None:
    """Delete what a killed process left half-written in a run's folder.

    Only for a process that holds the folder's lock. Exports, which others may be writing, are kept.
    """
    drafts = [*(folder / "steps").rglob(".*.part"), *(folder / "figures").glob(".*.part")]
    for name in RUN_FILES:
        drafts += folder.glob(f".{name}.*.part")
    for draft in drafts:
        if draft.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
        else:
            draft.unlink(missing_ok=True)
