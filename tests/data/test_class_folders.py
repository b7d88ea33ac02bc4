import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from secateur.data.classification_set import ClassificationSet, read_pictures, resize_to_square
from secateur.data.formats.class_folders import read_class_folders
from secateur.errors import DataError


def save(path: Path, colour: tuple[int, int, int] = (1, 2, 3), size: int = 4) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), colour).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    save(tmp_path / "train/dog/b.png", (10, 20, 30))
    save(tmp_path / "train/dog/a.webp")
    save(tmp_path / "train/cat/deeper/c.PPM")
    save(tmp_path / "train/cat/._c.png")
    save(tmp_path / "train/.cache/d.png")
    (tmp_path / "train/dog/Thumbs.db").write_bytes(b"no picture")
    save(tmp_path / "test/dog/e.png")
    save(tmp_path / "test/cat/e.png")
    return tmp_path


def test_pictures_labels_names(root: Path) -> None:
    dataset = read_class_folders(root, "train", 4)
    assert dataset.classes == ("cat", "dog")
    assert dataset.names == ("train/cat/deeper/c.PPM", "train/dog/a.webp", "train/dog/b.png")
    assert dataset.tracks == dataset.names
    assert dataset.labels.tolist() == [0, 1, 1]
    assert dataset.labels.dtype == torch.int64
    assert dataset.pixels.shape == (3, 3, 4, 4)
    assert dataset.pixels.dtype == torch.uint8
    assert dataset.pixels[2].unique(dim=-1).squeeze(-1).tolist() == [[10] * 4, [20] * 4, [30] * 4]
    assert len(dataset) == 3


def test_classes_in_the_users_order(root: Path) -> None:
    dataset = read_class_folders(root, "test", 4, ["dog", "cat"])
    assert dataset.classes == ("dog", "cat")
    assert dataset.names == ("test/dog/e.png", "test/cat/e.png")
    assert dataset.labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["cat", "dog", "emu"], r"train: has no class 'emu'; restore it or remove it from"),
        (["cat"], r"train: has a class 'dog', which is not one of the 1 classes"),
        (["cat", "dog", "cat"], r"train: classes names one class twice; remove one"),
    ],
)
def test_other_classes(root: Path, classes: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_class_folders(root, "train", 4, classes)


def test_missing_or_empty_folders(root: Path) -> None:
    (root / "train/emu").mkdir()
    with pytest.raises(DataError, match=r"emu: no picture in this folder; put some there or"):
        read_class_folders(root, "train", 4)
    with pytest.raises(DataError, match=r"val: folder not found; put one there"):
        read_class_folders(root, "val", 4)
    (root / "bare").mkdir()
    with pytest.raises(DataError, match=r"bare: no folder inside; put one there for each class"):
        read_class_folders(root, "bare", 4)
    with pytest.raises(DataError, match=r"nowhere: data folder not found; correct"):
        read_class_folders(root / "nowhere", "train", 4)


@pytest.mark.parametrize("split", ["../train", "/train", "."])
def test_split_must_stay_inside(root: Path, split: str) -> None:
    with pytest.raises(DataError, match=r"the name .* points outside"):
        read_class_folders(root, split, 4)


def test_links_must_stay_inside(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    save(outside / "x.png")
    (root / "train/cat/link.png").symlink_to(root / "test/cat/e.png")
    assert len(read_class_folders(root, "train", 4)) == 4
    (root / "train/cat/link2.png").symlink_to(outside / "x.png")
    with pytest.raises(DataError, match=r"link2\.png: points outside .*; put the picture itself"):
        read_class_folders(root, "train", 4)
    (root / "train/cat/link2.png").unlink()
    (root / "train/emu").symlink_to(outside)
    with pytest.raises(DataError, match=r"emu/x\.png: points outside"):
        read_class_folders(root, "train", 4)


def test_data_folder_may_be_a_link(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    link = tmp_path_factory.mktemp("links") / "data"
    link.symlink_to(root)
    assert len(read_class_folders(link, "train", 4)) == 3


def broken(path: Path) -> None:
    Image.effect_noise((60, 60), 50).save(path)
    path.write_bytes(path.read_bytes()[:-200])


def wrong(path: Path) -> None:
    path.write_text("not a picture")


def large(path: Path) -> None:
    Image.new("1", (10_000, 9_000)).save(path)


def huge(path: Path) -> None:
    Image.new("1", (14_000, 13_000)).save(path)


def deep(path: Path) -> None:
    Image.new("I;16", (4, 4)).save(path)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (broken, r"x\.png: not a readable picture \(.*\); replace it or remove it"),
        (wrong, r"x\.png: not a readable picture; replace it or remove it"),
        (large, r"x\.png: has more than 89 million pixels; make it smaller or remove it"),
        (huge, r"x\.png: has more than 89 million pixels; make it smaller or remove it"),
        (deep, r"x\.png: its pixels \(I;16\) do not have 8 bits per channel; save it again"),
    ],
)
def test_faulty_picture(tmp_path: Path, write: Callable[[Path], None], message: str) -> None:
    write(tmp_path / "x.png")
    with pytest.raises(DataError, match=message) as error:
        read_pictures([tmp_path / "x.png"], 4, tmp_path)
    assert "\n" not in str(error.value)


def test_missing_picture(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x\.png: picture not found; restore it"):
        read_pictures([tmp_path / "x.png"], 4, tmp_path)


def test_order_of_many_pictures(tmp_path: Path) -> None:
    paths = [tmp_path / f"{index}.png" for index in range(150)]
    for index, path in enumerate(paths):
        save(path, (index, 0, 255), 2)
    pixels = read_pictures(paths, 2, tmp_path)
    assert pixels[:, 0, 1, 1].tolist() == list(range(150))
    assert pixels[:, 2, 0, 0].tolist() == [255] * 150


def test_orientation_of_a_camera(tmp_path: Path) -> None:
    left_red = Image.new("RGB", (4, 4))
    left_red.paste((255, 0, 0), (0, 0, 2, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90° clockwise
    left_red.save(tmp_path / "x.png", exif=exif)
    red = read_pictures([tmp_path / "x.png"], 4, tmp_path)[0, 0]
    assert red.tolist() == [[255] * 4] * 2 + [[0] * 4] * 2


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA"])
def test_other_modes(tmp_path: Path, mode: str) -> None:
    file = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    options = {"transparency": b"\0" * 200} if mode == "P" else {}
    Image.new("RGB", (4, 4), (255, 255, 255)).convert(mode).save(file, **options)
    pixels = read_pictures([file], 4, tmp_path)
    assert pixels.tolist() == [[[[255] * 4] * 4] * 3]


def test_resized_pictures_are_averaged(tmp_path: Path) -> None:
    # Stripes of one pixel: resizing without antialiasing would give no grey.
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(tmp_path / "x.png")
    pixels = read_pictures([tmp_path / "x.png"], 4, tmp_path)
    assert 120 <= pixels[..., 1:3].min() <= pixels[..., 1:3].max() <= 135
    again = resize_to_square(
        torch.from_numpy(stripes).permute(2, 0, 1)[None].repeat(70, 1, 1, 1), 4
    )
    assert (again.int() - pixels.int()).abs().max() <= 1
    assert resize_to_square(again, 4) is again


def test_subset_and_checks() -> None:
    pixels = torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 3, 2, 2)
    whole = ClassificationSet(
        ("a", "b"), pixels, torch.tensor([0, 1, 0]), tuple("xyz"), tuple("stt")
    )
    part = whole.subset([2, 0])
    assert (part.names, part.tracks, part.classes) == (("z", "x"), ("t", "s"), ("a", "b"))
    assert part.labels.tolist() == [0, 0]
    assert part.pixels[:, 0, 0, 0].tolist() == [2, 0]
    with pytest.raises(ValueError, match="an entry for each picture"):
        ClassificationSet(("a",), pixels, torch.tensor([0]), tuple("xyz"))


def test_one_thread_for_one_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    save(tmp_path / "x.png")
    assert read_pictures([tmp_path / "x.png"], 4, tmp_path).shape == (1, 3, 4, 4)
