from pathlib import Path
from typing import Literal

import pytest
from PIL import Image

from secateur.data.formats.gtsdb import GTSDB_CLASSES, SUPER_CATEGORIES, read_gtsdb
from secateur.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four pictures of 40 by 30 pixels, three of them for training, one without a sign."""
    for name in ("00000.jpg", "00001.ppm", "00599.ppm", "00600.ppm"):
        Image.new("RGB", (40, 30)).save(tmp_path / name)
    (tmp_path / "gt.txt").write_text(
        "00000.ppm;0;0;39;29;11\n00000.ppm;10;5;19;14;40\n00599.ppm;1;2;3;4;0\n00600.ppm;1;2;3;4;42\n"
    )
    return tmp_path


def test_boxes_labels(root: Path) -> None:
    train = read_gtsdb(root, "train", "43")
    assert train.classes == GTSDB_CLASSES
    assert [picture.path.name for picture in train.pictures] == [
        "00000.jpg",
        "00001.ppm",
        "00599.ppm",
    ]
    assert train.pictures[0].boxes.tolist() == [[0, 0, 40, 30], [10, 5, 20, 15]]
    assert train.pictures[0].labels.tolist() == [12, 41]
    assert train.pictures[1].boxes.shape == (0, 4)
    (test,) = read_gtsdb(root, "test", "43").pictures
    assert test.boxes.tolist() == [[1, 2, 4, 5]]
    assert test.labels.tolist() == [43]


@pytest.mark.parametrize(
    ("classes", "names", "labels"),
    [
        ("super", ("prohibitory", "mandatory", "danger", "other"), [[3, 2], [], [1]]),
        ("sign", ("sign",), [[1, 1], [], [1]]),
    ],
)
def test_coarser_classes(
    root: Path,
    classes: Literal["super", "sign"],
    names: tuple[str, ...],
    labels: list[list[int]],
) -> None:
    train = read_gtsdb(root, "train", classes)
    assert train.classes == names
    assert [picture.labels.tolist() for picture in train.pictures] == labels


def test_every_kind_has_a_name_and_one_super_category() -> None:
    assert len(set(GTSDB_CLASSES)) == 43
    kinds = sorted(kind for group in SUPER_CATEGORIES.values() for kind in group)
    assert kinds == list(range(43))


def test_border_is_clipped(root: Path) -> None:
    (root / "gt.txt").write_text("00600.ppm;1;2;40;30;0\n\n")
    assert read_gtsdb(root, "test", "43").pictures[0].boxes.tolist() == [[1, 2, 40, 30]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("00600.ppm;1;2;3;4", r"line 2: expected .*; correct"),
        ("00600.ppm;1;2;x;4;0", r"line 2: expected .*; correct"),
        ("../00600.ppm;1;2;3;4;0", r"line 2: expected .*; correct"),
        ("00900.ppm;1;2;3;4;0", r"line 2: expected .*; correct"),
        ("00600.ppm;1;2;3;4;43", r"line 2: unknown class 43; correct"),
        ("00600.ppm;1;2;41;4;0", r"outside its picture 00600\.ppm .*correct"),
        ("00600.ppm;9;2;3;4;0", r"is empty .*correct"),
    ],
)
def test_faulty_line(root: Path, line: str, message: str) -> None:
    (root / "gt.txt").write_text(f"00600.ppm;1;2;3;4;0\n{line}\n")
    with pytest.raises(DataError, match=r"gt\.txt: .*" + message):
        read_gtsdb(root, "test", "43")


def test_missing(root: Path) -> None:
    (root / "00600.ppm").unlink()
    with pytest.raises(
        DataError, match=r"00600\.ppm: picture not found.*gt\.txt names it; restore"
    ):
        read_gtsdb(root, "test", "43")
    (root / "gt.txt").write_text("")
    with pytest.raises(DataError, match=r"no picture of the split 'test'; put"):
        read_gtsdb(root, "test", "43")
    with pytest.raises(DataError, match=r"unknown split 'val' of GTSDB; name it train or test"):
        read_gtsdb(root, "val", "43")
    (root / "gt.txt").unlink()
    with pytest.raises(DataError, match=r"gt\.txt: file not found; restore it"):
        read_gtsdb(root, "train", "43")
    with pytest.raises(DataError, match=r"nowhere: data folder not found; correct the path"):
        read_gtsdb(root / "nowhere", "train", "43")


def test_unknown_classes(root: Path) -> None:
    with pytest.raises(DataError, match=r"unknown classes '44' of GTSDB; choose"):
        read_gtsdb(root, "train", "44")  # type: ignore[arg-type]


def test_real_pictures(real_data: Path) -> None:
    splits = [read_gtsdb(real_data / "gtsdb", split, "super") for split in ("train", "test")]
    assert [len(split.pictures) for split in splits] == [600, 300]
    signs = [len(picture.labels) for split in splits for picture in split.pictures]
    assert sum(signs) == 1213
    assert signs.count(0) == 159
