"""CIFAR-10 (Krizhevsky, 2009), as published for Python or in class folders.

Layout::

    root/cifar-10-batches-py/data_batch_1 … data_batch_5, test_batch, batches.meta
    root/train/CLASS/*.jpg, root/test/CLASS/*.jpg        or png, webp, …

The published files are pickles, which can run code when they are read. They are read only if their
checksums are the published ones.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torchvision import datasets
from torchvision.datasets.utils import check_integrity

from secateur.data.classification_set import ClassificationSet, resize_to_square
from secateur.data.formats.class_folders import class_order, read_class_folders
from secateur.data.formats.format import Format
from secateur.data.safe_paths import check_root, is_file
from secateur.errors import DataError

CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


class _PublishedFiles(datasets.CIFAR10):  # type: ignore[misc] # torchvision has no types
    """The published files, in the root itself."""

    base_folder = ""


def read_cifar10(
    root: Path, split: str, size: int, classes: Sequence[str] | None = None
) -> ClassificationSet:
    """Read a split of CIFAR-10.

    Args:
        root: the folder that contains ``cifar-10-batches-py`` or the files in it, or one with class
            folders in ``train`` and ``test``.
        split: ``train`` or ``test``.
        size: side to which every picture is resized, pixels; the published side is 32.
        classes: names in the order of the labels; None for the published order.

    Raises:
        DataError: a file is missing or not the published one, or the classes are not CIFAR-10's.
    """
    check_root(root)
    if split not in ("train", "test"):
        raise DataError(f"{root}: unknown split {split!r} of CIFAR-10; name it train or test")
    meta: str = _PublishedFiles.meta["filename"]
    inner: str = datasets.CIFAR10.base_folder
    folder = next((each for each in (root, root / inner) if is_file(each / meta)), None)
    if folder is None:
        if not (root / split).is_dir():
            raise DataError(
                f"{root}: contains neither {inner}/{meta} nor a folder {split} with a folder for "
                "each class; unpack cifar-10-python.tar.gz there or correct the path"
            )
        return read_class_folders(root, split, size, classes)
    _check_published(folder)
    published = _PublishedFiles(folder, train=split == "train")
    own: list[str] = published.classes
    order = class_order(own, classes, folder / meta)
    labels = torch.tensor([order.index(own[kind]) for kind in published.targets])
    pixels = torch.from_numpy(published.data).permute(0, 3, 1, 2).contiguous()
    names = tuple(f"{split}:{position}" for position in range(len(labels)))
    return ClassificationSet(order, resize_to_square(pixels, size), labels, names)


def _check_published(folder: Path) -> None:
    """Refuse a folder in which a file is missing or has another checksum than the published one."""
    data = _PublishedFiles
    files = [*data.train_list, *data.test_list, (data.meta["filename"], data.meta["md5"])]
    for name, md5 in files:
        file = folder / name
        if not is_file(file):
            raise DataError(f"{file}: file not found; unpack cifar-10-python.tar.gz again")
        if not check_integrity(file, md5):
            raise DataError(
                f"{file}: is not the published file (its MD5 is not {md5}); unpack "
                "cifar-10-python.tar.gz again, or put your own pictures into class folders "
                "(train/CLASS/picture, test/CLASS/picture)"
            )


CIFAR10 = Format(
    task="classification",
    description="CIFAR-10: the published files for Python in `cifar-10-batches-py`, verified by "
    "their checksums; or `SPLIT/CLASS/picture`",
    read=lambda wanted: read_cifar10(wanted.root, wanted.split, wanted.size, wanted.classes),
    classes=CIFAR10_CLASSES,
)
