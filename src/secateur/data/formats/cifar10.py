"""CIFAR-10 (Krizhevsky, 2009), as it is published for Python or in class folders.

Layout::

    root/cifar-10-batches-py/data_batch_1 … data_batch_5, test_batch, batches.meta
    root/train/CLASS/*.jpg, root/test/CLASS/*.jpg        or png, webp, …

The published files are pickles. They are read without running anything that a pickle names.
"""

import io
import pickle
import pickletools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from secateur.data.classification_set import ClassificationSet, squeeze
from secateur.data.formats.class_folders import class_order, read_class_folders
from secateur.data.listing import check_root
from secateur.errors import DataError

# In the order of their labels.
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

_BATCHES = {
    "train": tuple(f"data_batch_{number}" for number in range(1, 6)),
    "test": ("test_batch",),
}
_FOLDER = "cifar-10-batches-py"
_SHAPE = (3, 32, 32)
_BYTES_A_PICTURE = 3 * 32 * 32
_CURE = "take it from cifar-10-python.tar.gz again"
# Bytes; the published files have 31 million.
_LARGEST = 2**28


def read_cifar10(
    root: Path, split: str, size: int, classes: Sequence[str] | None = None
) -> ClassificationSet:
    """Read a split of CIFAR-10.

    Args:
        root: the folder with ``cifar-10-batches-py`` or what that has, or one with class folders
            in ``train`` and ``test``.
        split: ``train`` or ``test``.
        size: side that every picture is resized to, pixels; they have 32.
        classes: the names in the order of their labels; None for the published order.

    Raises:
        DataError: a file is missing or broken, or the classes are others.
    """
    check_root(root)
    if split not in _BATCHES:
        raise DataError(f"{root}: unknown split {split!r} of CIFAR-10; name it train or test")
    folder = next(
        (each for each in (root, root / _FOLDER) if (each / "batches.meta").is_file()), None
    )
    if folder is None:
        if not (root / split).is_dir():
            raise DataError(
                f"{root}: neither {_FOLDER}/batches.meta nor a folder {split} with the classes is "
                "there; unpack cifar-10-python.tar.gz there or correct the path"
            )
        return read_class_folders(root, split, size, classes)
    own = _class_names(folder / "batches.meta")
    order = class_order(own, classes, folder / "batches.meta")
    pixels, kinds, names = [], [], []
    for name in _BATCHES[split]:
        pictures, labels = _read_batch(folder / name, len(own))
        pixels.append(pictures)
        kinds += labels
        names += [f"{name}:{position}" for position in range(len(labels))]
    labels_of = torch.tensor([order.index(name) for name in own])
    return ClassificationSet(
        order,
        squeeze(torch.from_numpy(np.concatenate(pixels)), size),
        labels_of[torch.tensor(kinds)],
        tuple(names),
    )


def _class_names(file: Path) -> tuple[str, ...]:
    names = _load(file).get("label_names")
    if not isinstance(names, list) or not all(isinstance(name, bytes | str) for name in names):
        raise DataError(f"{file}: holds no label_names; {_CURE}")
    return tuple(map(_text, names))


def _read_batch(file: Path, classes: int) -> tuple[NDArray[np.uint8], list[int]]:
    """Pictures (N, 3, 32, 32) and as many labels."""
    content = _load(file)
    data, labels = content.get("data"), content.get("labels")
    if not isinstance(data, _Array) or data.shape[1:] != (_BYTES_A_PICTURE,) or not data.content:
        raise DataError(f"{file}: data is no array (N, {_BYTES_A_PICTURE}) of bytes; {_CURE}")
    if not isinstance(labels, list) or len(labels) != data.shape[0]:
        raise DataError(f"{file}: labels is no list of {data.shape[0]} labels; {_CURE}")
    if not all(type(label) is int and 0 <= label < classes for label in labels):
        raise DataError(f"{file}: a label is not one of 0 to {classes - 1}; {_CURE}")
    pixels = np.frombuffer(data.content, dtype=np.uint8)
    return pixels.reshape(-1, *_SHAPE), labels


def _load(file: Path) -> dict[str, Any]:
    """Read the dict that a pickle holds, its keys as text.

    Raises:
        DataError: the file is missing or broken, or names anything but a plain array.
    """
    try:
        if file.stat().st_size > _LARGEST:
            raise ValueError(f"larger than {_LARGEST:,} bytes")
        data = file.read_bytes()
        _refuse_bombs(data)
        content = _Unpickler(io.BytesIO(data), encoding="bytes").load()
    except FileNotFoundError:
        raise DataError(f"{file}: file not found; {_CURE}") from None
    except _ForbiddenError as error:
        raise DataError(
            f"{file}: wants to call {str(error)!r}, which no CIFAR-10 file needs; do not trust it, "
            f"{_CURE}"
        ) from None
    # What is no pickle can raise anything.
    except Exception as error:
        raise DataError(f"{file}: cannot be read ({str(error)[:200]!r}); {_CURE}") from None
    if not isinstance(content, dict):
        raise DataError(f"{file}: holds no dict; {_CURE}")
    return {_text(key): each for key, each in content.items() if isinstance(key, bytes | str)}


def _refuse_bombs(data: bytes) -> None:
    """Refuse a pickle of a few bytes that would fill the memory, or keep the processor busy.

    Python makes room for every place of its memo up to the highest that is named, and looks at
    a tuple of tuples over and over where they are one and the same.
    """
    tuples: set[object] = set()
    number, last = 0, ""
    for opcode, argument, _ in pickletools.genops(data):
        name = opcode.name
        if name == "MEMOIZE" or "PUT" in name:
            place = number if name == "MEMOIZE" else argument
            if not isinstance(place, int) or place > len(data):
                raise ValueError("names a place far beyond what it holds")
            if last.startswith("TUPLE"):
                tuples.add(place)
            number += 1
        elif name in ("DUP", "POP", "POP_MARK") or ("GET" in name and argument in tuples):
            raise ValueError("holds one tuple in two places")
        elif name not in ("PROTO", "FRAME"):
            last = name


def _text(name: object) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


class _ForbiddenError(Exception):
    """A pickle names something that has no entry in ``_STAND_INS``."""


class _Dtype:
    """Stands in for ``numpy.dtype``; only bytes are read."""

    def __init__(self, kind: bytes | str, *_flags: object) -> None:
        if kind not in (b"u1", "u1"):
            raise ValueError("an array that is not of bytes")

    def __setstate__(self, _state: object) -> None:
        """Byte order and the like mean nothing for bytes."""


class _Array:
    """Stands in for ``numpy.ndarray``: what a pickle says of an array, checked."""

    shape: tuple[int, ...] = ()
    content: bytes | bytearray = b""

    def __setstate__(self, state: tuple[object, ...]) -> None:
        _version, shape, dtype, by_columns, content = state
        if not (isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)):
            raise ValueError("an array without a shape")
        plain = isinstance(dtype, _Dtype) and not by_columns
        if not plain or not isinstance(content, bytes | bytearray):
            raise ValueError("an array that is not of plain bytes in rows")
        if len(content) != int(np.prod(shape, dtype=object)):
            raise ValueError(f"an array of {len(content)} bytes for another shape")
        self.shape, self.content = shape, content


def _new_array(*_arguments: object) -> _Array:
    return _Array()


def _from_buffer(content: object, dtype: object, shape: object, order: str) -> _Array:
    """Stand in for what numpy writes into the newest kind of pickle."""
    array = _Array()
    array.__setstate__((1, shape, dtype, order != "C", content))
    return array


def _encode(text: str, encoding: bytes | str) -> bytes:
    """Stand in for ``codecs.encode``, by which Python 3 writes bytes into old kinds of pickle."""
    if encoding not in ("latin1", b"latin1"):
        raise ValueError("text in another encoding than latin1")
    return text.encode("latin-1")


class _Unpickler(pickle.Unpickler):
    """Reads plain values and arrays of bytes, and refuses all else.

    Not even numpy's own functions are called, which trust what a pickle hands them.
    """

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """Give the stand-in for what a pickle names."""
        try:
            return _STAND_INS[module_name, global_name]
        except KeyError:
            raise _ForbiddenError(f"{module_name}.{global_name}") from None


_STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _new_array,
    ("numpy._core.multiarray", "_reconstruct"): _new_array,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}
