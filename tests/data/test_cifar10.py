import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from secateur.data.formats.cifar10 import read_cifar10
from secateur.errors import DataError

NAMES = ["plane", "car", "bird"]


def pictures(first: int, count: int) -> np.ndarray[Any, Any]:
    """Pictures of 3072 bytes each; the first byte of picture i is first + i."""
    data = np.arange(count * 3072, dtype=np.int64).reshape(count, 3072) % 251
    data[:, 0] = first + np.arange(count)
    return data.astype(np.uint8)


def write(folder: Path, protocol: int = 2) -> None:
    folder.mkdir(parents=True)
    for number in range(1, 6):
        content = {b"data": pictures(10 * number, 2), b"labels": [number % 3, 2], b"filenames": []}
        (folder / f"data_batch_{number}").write_bytes(pickle.dumps(content, protocol))
    content = {"data": pictures(90, 1), "labels": [1], "batch_label": "testing"}
    (folder / "test_batch").write_bytes(pickle.dumps(content, protocol))
    meta = {b"label_names": [name.encode() for name in NAMES], b"num_vis": 3072}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / "cifar-10-batches-py")
    return tmp_path


@pytest.mark.parametrize("protocol", range(6))
def test_published_files(tmp_path: Path, protocol: int) -> None:
    write(tmp_path / "inner", protocol)
    train = read_cifar10(tmp_path / "inner", "train", 32)
    assert train.classes == tuple(NAMES)
    assert train.labels.tolist() == [1, 2, 2, 2, 0, 2, 1, 2, 2, 2]
    assert train.names[:3] == ("data_batch_1:0", "data_batch_1:1", "data_batch_2:0")
    assert train.tracks == train.names
    assert train.pixels.shape == (10, 3, 32, 32)
    assert train.pixels[:, 0, 0, 0].tolist() == [10, 11, 20, 21, 30, 31, 40, 41, 50, 51]
    # Red rows first, then green, then blue.
    assert train.pixels[0, 1, 2, 3] == (1024 + 2 * 32 + 3) % 251
    test = read_cifar10(tmp_path / "inner", "test", 32)
    assert (test.names, test.labels.tolist()) == (("test_batch:0",), [1])


def test_file_from_python_2(root: Path) -> None:
    """As the published files were written: keys, names and pixels are str of Python 2."""
    data = bytes(range(256)) * 12
    written = (
        b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\n"
        b"q\x04K\x00\x85U\x01b\x87Rq\x05(K\x01K\x01M\x00\x0c\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K"
        b"\x01\x87Rq\x07(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + b"T"
        + len(data).to_bytes(4, "little")
        + data
        + b"tbU\x06labelsq\x08]q\tK\x01au."
    )
    (root / "cifar-10-batches-py/test_batch").write_bytes(written)
    test = read_cifar10(root, "test", 32)
    assert test.pixels.flatten().tolist() == list(data)
    assert test.labels.tolist() == [1]


def test_squeezed(root: Path) -> None:
    assert read_cifar10(root, "train", 40).pixels.shape == (10, 3, 40, 40)


def test_classes_in_the_users_order(root: Path) -> None:
    dataset = read_cifar10(root, "train", 32, ["bird", "plane", "car"])
    assert dataset.classes == ("bird", "plane", "car")
    assert dataset.labels.tolist() == [2, 0, 0, 0, 1, 0, 2, 0, 0, 0]
    with pytest.raises(
        DataError, match=r"batches\.meta: has a class 'plane', which is not among the 2"
    ):
        read_cifar10(root, "train", 32, ["bird", "car"])


class Malicious:
    """Runs a command as soon as it is unpickled in the usual way."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize("name", ["test_batch", "batches.meta"])
@pytest.mark.parametrize("protocol", range(6))
def test_nothing_is_run(root: Path, tmp_path: Path, name: str, protocol: int) -> None:
    made = tmp_path / "made"
    trap = Malicious(os.system, f"touch {made}")
    content = {"data": trap, "labels": [1], "label_names": NAMES}
    written = pickle.dumps(content, protocol)
    (root / "cifar-10-batches-py" / name).write_bytes(written)
    message = rf"{name}: wants to call '\w+\.system', which no CIFAR-10 file needs; do not trust it"
    with pytest.raises(DataError, match=message):
        read_cifar10(root, "test", 32)
    assert not made.exists()
    # The trap is a real one.
    pickle.loads(written)  # noqa: S301
    assert made.exists()


@pytest.mark.parametrize(
    ("function", "arguments"), [(eval, ("1",)), (getattr, ("x", "upper")), (np.frombuffer, (b"x",))]
)
def test_other_names_are_refused(
    root: Path, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    content = pickle.dumps({"data": Malicious(function, *arguments)})
    (root / "cifar-10-batches-py/test_batch").write_bytes(content)
    with pytest.raises(DataError, match=r"test_batch: wants to call '.*; do not trust it"):
        read_cifar10(root, "test", 32)


ONE = pictures(0, 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "holds no dict"),
        ({"labels": [1]}, "data is no array"),
        ({"data": ONE[:, 1:], "labels": [1]}, "data is no array"),
        ({"data": ONE[0], "labels": [1]}, "data is no array"),
        ({"data": ONE[:0], "labels": []}, "data is no array"),
        ({"data": ONE.astype(np.float32), "labels": [1]}, "not of bytes"),
        ({"data": ONE.astype(object), "labels": [1]}, "not of bytes"),
        ({"data": np.asfortranarray(pictures(0, 2)), "labels": [1, 1]}, "in rows"),
        ({"data": ONE, "labels": [1, 1]}, "labels is no list of 1"),
        ({"data": ONE, "labels": np.array([1])}, "not of bytes"),
        ({"data": ONE, "labels": [3]}, "a label is not one of 0 to 2"),
        ({"data": ONE, "labels": [-1]}, "a label is not one of 0 to 2"),
        ({"data": ONE, "labels": [True]}, "a label is not one of 0 to 2"),
    ],
)
def test_faulty_content(root: Path, content: object, message: str) -> None:
    (root / "cifar-10-batches-py/test_batch").write_bytes(pickle.dumps(content, 3))
    with pytest.raises(DataError, match=rf"test_batch: .*{message}.*; take it from cifar-10-pyth"):
        read_cifar10(root, "test", 32)


def state_of_array(*state: object) -> bytes:
    """A pickle of an array with any state."""
    return pickle.dumps({"data": Reconstructed(state), "labels": [1]}, 2)


class Reconstructed:
    def __init__(self, state: tuple[object, ...]) -> None:
        self.state = state

    def __reduce__(self) -> tuple[Any, ...]:
        function, arguments, _ = np.zeros(1, np.uint8).__reduce__()
        return function, arguments, self.state


@pytest.mark.parametrize(
    "state",
    [
        (1, (1, 3072), np.dtype(np.uint8), False, b"short"),
        (1, (2**40, 3072), np.dtype(np.uint8), False, b"short"),
        (1, (-1, -3072), np.dtype(np.uint8), False, b"\0" * 3072),
        (1, 3072, np.dtype(np.uint8), False, b"\0" * 3072),
        (1, (1, 3072), None, False, b"\0" * 3072),
        (1, (1, 3072), np.dtype(np.uint8), False, [0] * 3072),
        (1,),
    ],
)
def test_faulty_array(root: Path, state: tuple[object, ...]) -> None:
    (root / "cifar-10-batches-py/test_batch").write_bytes(state_of_array(*state))
    with pytest.raises(DataError, match=r"test_batch: cannot be read \(.*\); take it from"):
        read_cifar10(root, "test", 32)


@pytest.mark.parametrize("content", [b"", b"no pickle", b"\x80\x02}q\x01.", b"\x80\x04\x95\xff"])
def test_faulty_file(root: Path, content: bytes) -> None:
    (root / "cifar-10-batches-py/test_batch").write_bytes(content)
    with pytest.raises(DataError, match=r"test_batch: .*; take it from cifar-10-python") as error:
        read_cifar10(root, "test", 32)
    assert "\n" not in str(error.value)


def test_missing(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"unknown split 'val' of CIFAR-10; name it train or test"):
        read_cifar10(root, "val", 32)
    (root / "cifar-10-batches-py/data_batch_3").unlink()
    with pytest.raises(DataError, match=r"data_batch_3: file not found; take it from"):
        read_cifar10(root, "train", 32)
    (root / "cifar-10-batches-py/batches.meta").write_bytes(pickle.dumps({"label_names": 3}))
    with pytest.raises(DataError, match=r"batches\.meta: holds no label_names; take it from"):
        read_cifar10(root, "train", 32)
    (root / "cifar-10-batches-py/batches.meta").unlink()
    with pytest.raises(DataError, match=r"neither cifar-10-batches-py/batches\.meta nor .* train"):
        read_cifar10(root, "train", 32)
    with pytest.raises(DataError, match="data folder not found"):
        read_cifar10(tmp_path / "nowhere", "train", 32)


def test_class_folders(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / "test" / name).mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(tmp_path / "test" / name / "0.png")
    dataset = read_cifar10(tmp_path, "test", 32)
    assert dataset.classes == ("bird", "car", "plane")
    assert dataset.labels.tolist() == [0, 1, 2]


def test_real_pictures(real_data: Path, tmp_path: Path) -> None:
    archive = real_data / "cifar10-jpeg.tar.xz"
    if not archive.is_file():
        pytest.skip(f"no {archive}")
    wanted = 3
    with tarfile.open(archive) as tar:
        # The archive begins with a class of the training pictures.
        for member in tar:
            if member.isfile():
                tar.extract(member, tmp_path, filter="data")
                wanted -= 1
            if not wanted:
                break
    dataset = read_cifar10(tmp_path, "train", 32)
    assert dataset.classes == ("airplane",)
    assert dataset.pixels.shape == (3, 3, 32, 32)
    assert dataset.pixels.float().std() > 20
    assert torch.equal(dataset.labels, torch.zeros(3, dtype=torch.int64))
