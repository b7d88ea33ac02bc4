"""The table of data layouts: a recipe's ``data.format`` is a key of ``FORMATS``.

To add a layout, write its reader in a new file of this folder and add a line here.
"""

from secateur.data.formats.cifar10 import CIFAR10
from secateur.data.formats.class_folders import CLASS_FOLDERS
from secateur.data.formats.coco import COCO
from secateur.data.formats.format import Format, Task
from secateur.data.formats.gtsdb import GTSDB
from secateur.data.formats.gtsrb import GTSRB
from secateur.data.formats.signs import DRAWN_SIGNS
from secateur.data.formats.voc import VOC
from secateur.data.formats.yolo import YOLO

# `init` tries them in this order; the first that recognises a folder reads it.
FORMATS: dict[str, Format] = {
    "voc": VOC,
    "coco": COCO,
    "yolo": YOLO,
    "gtsdb": GTSDB,
    "signs": DRAWN_SIGNS,
    "folders": CLASS_FOLDERS,
    "cifar10": CIFAR10,
    "gtsrb": GTSRB,
}


def format_names(task: Task | None = None) -> tuple[str, ...]:
    """Return the names of the layouts for a task, of all layouts for None."""
    return tuple(name for name, each in FORMATS.items() if task in (None, each.task))


def markdown_table(task: Task | None = None) -> str:
    """Return the layouts for a task and their descriptions as a table in Markdown."""
    rows = (f"| `{name}` | {FORMATS[name].description} |" for name in format_names(task))
    return "\n".join(("| `format` | files |", "|---|---|", *rows))
