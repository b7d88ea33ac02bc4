import hashlib
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
from torchvision import datasets

from secateur.data.formats.cifar10 import read_cifar10
from secateur.errors import DataError

NAMES = ["plane", "car", "bird"]
FILES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta")


def pictures(first: int, count: int) -> np.ndarray[Any, Any]:
    """Pictures of 3072 bytes each; the first byte of picture i is first + i."""
    data = np.arange(count * 3072, dtype=np.int64).reshape(count, 3072) % 251
    data[:, 0] = first + np.arange(count)
    return data.astype(np.uint8)


def write(folder: Path) -> None:
    """Small files with the names and the contents of the published ones."""
    folder.mkdir(parents=True)
    for number in range(1, 6):
        content = {"data": pictures(10 * number, 2), "labels": [number % 3, 2], "filenames": []}
        (folder / f"data_batch_{number}").write_bytes(pickle.dumps(content))
    content = {"data": pictures(90, 1), "labels": [1], "batch_label": "testing"}
    (folder / "test_batch").write_bytes(pickle.dumps(content))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": NAMES, "num_vis": 3072}))


def publish(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the files in a folder the published ones: their checksums replace torchvision's."""
    md5 = {
        name: hashlib.md5((folder / name).read_bytes(), usedforsecurity=False).hexdigest()
        for name in FILES
    }
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [(name, md5[name]) for name in FILES[:5]])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [("test_batch", md5["test_batch"])])
    meta = {**datasets.CIFAR10.meta, "md5": md5["batches.meta"]}
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path / "cifar-10-batches-py")
    publish(tmp_path / "cifar-10-batches-py", monkeypatch)
    return tmp_path


@pytest.mark.parametrize("inner", ["", "cifar-10-batches-py"])
def test_published_files(root: Path, inner: str) -> None:
    train = read_cifar10(root / inner, "train", 32)
    assert train.classes == tuple(NAMES)
    assert train.labels.tolist() == [1, 2, 2, 2, 0, 2, 1, 2, 2, 2]
    assert train.names[:3] == ("train:0", "train:1", "train:2")
    assert train.tracks == train.names
    assert train.pixels.shape == (10, 3, 32, 32)
    assert train.pixels[:, 0, 0, 0].tolist() == [10, 11, 20, 21, 30, 31, 40, 41, 50, 51]
    # All red bytes of a picture come first, then green, then blue.
    assert train.pixels[0, 1, 2, 3] == (1024 + 2 * 32 + 3) % 251
    test = read_cifar10(root / inner, "test", 32)
    assert (test.names, test.labels.tolist()) == (("test:0",), [1])


def test_file_from_python_2(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    publish(root / "cifar-10-batches-py", monkeypatch)
    test = read_cifar10(root, "test", 32)
    assert test.pixels.flatten().tolist() == list(data)
    assert test.labels.tolist() == [1]


def test_resized(root: Path) -> None:
    assert read_cifar10(root, "train", 40).pixels.shape == (10, 3, 40, 40)


def test_classes_in_the_users_order(root: Path) -> None:
    dataset = read_cifar10(root, "train", 32, ["bird", "plane", "car"])
    assert dataset.classes == ("bird", "plane", "car")
    assert dataset.labels.tolist() == [2, 0, 0, 0, 1, 0, 2, 0, 0, 0]
    with pytest.raises(
        DataError, match=r"batches\.meta: has a class 'plane', which is not one of the 2"
    ):
        read_cifar10(root, "train", 32, ["bird", "car"])


class Malicious:
    """Runs a command when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("split", ["train", "test"])
def test_an_unverified_file_is_not_unpickled(root: Path, name: str, split: str) -> None:
    made = root / "made"
    written = pickle.dumps({"data": Malicious(os.system, f"touch {made}"), "labels": [1]})
    (root / "cifar-10-batches-py" / name).write_bytes(written)
    message = (
        rf"{name}: is not the published file \(its MD5 is not [0-9a-f]{{32}}\); unpack .* again, "
        "or put your own pictures into class folders"
    )
    with pytest.raises(DataError, match=message) as error:
        read_cifar10(root, split, 32)
    assert "\n" not in str(error.value)
    assert not made.exists()
    # The file would have run its command.
    pickle.loads(written)  # noqa: S301
    assert made.exists()


@pytest.mark.parametrize("change", [b"", b"x"])
def test_a_file_that_differs_in_one_byte(root: Path, change: bytes) -> None:
    file = root / "cifar-10-batches-py/data_batch_2"
    file.write_bytes(file.read_bytes()[:-1] + change)
    with pytest.raises(DataError, match=r"data_batch_2: is not the published file"):
        read_cifar10(root, "train", 32)


def test_missing(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"unknown split 'val' of CIFAR-10; name it train or test"):
        read_cifar10(root, "val", 32)
    batch = root / "cifar-10-batches-py/data_batch_3"
    batch.unlink()
    with pytest.raises(DataError, match=r"data_batch_3: file not found; unpack cifar-10-python"):
        read_cifar10(root, "train", 32)
    os.mkfifo(batch)  # reading it would never end
    with pytest.raises(DataError, match=r"data_batch_3: file not found; unpack cifar-10-python"):
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
            if (content := tar.extractfile(member)) is not None:
                picture = tmp_path / member.name
                picture.parent.mkdir(parents=True, exist_ok=True)
                picture.write_bytes(content.read())
                wanted -= 1
            if not wanted:
                break
    dataset = read_cifar10(tmp_path, "train", 32)
    assert dataset.classes == ("airplane",)
    assert dataset.pixels.shape == (3, 3, 32, 32)
    assert dataset.pixels.float().std() > 20
    assert torch.equal(dataset.labels, torch.zeros(3, dtype=torch.int64))
