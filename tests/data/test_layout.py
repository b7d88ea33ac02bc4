from pathlib import Path

import pytest

from secateur.data.formats.class_folders import class_folder_splits
from secateur.data.layout import Layout, guess_layout
from secateur.errors import DataError


def write(root: Path, *files: str, text: str = "") -> None:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text)


@pytest.mark.parametrize(
    ("lists", "train", "test"),
    [
        ("train val trainval", "train", "val"),
        ("train val trainval test", "trainval", "test"),
        ("train test", "train", "test"),
        ("trainval", "trainval", None),
        ("train", "train", None),
    ],
)
@pytest.mark.parametrize("folder", [".", "VOCdevkit/VOC2012"])
def test_voc(tmp_path: Path, lists: str, train: str, test: str | None, folder: str) -> None:
    write(tmp_path / folder, *(f"ImageSets/Main/{name}.txt" for name in lists.split()), text="a\n")
    write(tmp_path / folder, "Annotations/a.xml", text="<x><object><name>dog</name></object></x>")
    # The class names are read, so an object without a box is already refused here.
    with pytest.raises(DataError, match=r"a\.xml: object 1 needs a bndbox"):
        guess_layout(tmp_path)
    write(tmp_path / folder, "Annotations/a.xml", text="<x/>")
    assert guess_layout(tmp_path) == Layout("voc", tmp_path, train, test, None)


def test_voc_with_own_classes(tmp_path: Path) -> None:
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox>"
    for name, split in (("wolf", "train"), ("cat", "test")):
        write(tmp_path, f"ImageSets/Main/{split}.txt", text=name)
        xml = f"<x><object><name>{name}</name>{box}</object></x>"
        write(tmp_path, f"Annotations/{name}.xml", text=xml)
    assert guess_layout(tmp_path).classes == ("cat", "wolf")


def test_voc_without_a_list(tmp_path: Path) -> None:
    write(tmp_path, "Annotations/a.xml", text="<x/>")
    with pytest.raises(DataError, match=r"Main: no list train\.txt; write"):
        guess_layout(tmp_path)


@pytest.mark.parametrize(
    ("files", "train", "test"),
    [
        (("annotations/train.json",), "train", None),
        (("train/_annotations.coco.json", "valid/_annotations.coco.json"), "train", "valid"),
        (
            ("annotations/instances_train2017.json", "annotations/instances_val2017.json"),
            "train2017",
            "val2017",
        ),
    ],
)
def test_coco(tmp_path: Path, files: tuple[str, ...], train: str, test: str | None) -> None:
    write(tmp_path, *files)
    assert guess_layout(tmp_path) == Layout("coco", tmp_path, train, test, None)


@pytest.mark.parametrize("pattern", ["{kind}/{split}/a", "{split}/{kind}/a"])
def test_yolo(tmp_path: Path, pattern: str) -> None:
    for split in ("train", "val", "test"):
        write(tmp_path, *(pattern.format(kind=kind, split=split) for kind in ("images", "labels")))
    assert guess_layout(tmp_path) == Layout("yolo", tmp_path, "train", "test", None)


def test_gtsdb(tmp_path: Path) -> None:
    write(tmp_path, "gt.txt")
    assert guess_layout(tmp_path) == Layout("gtsdb", tmp_path, "train", "test", "43")


def test_unknown(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg")
    with pytest.raises(DataError, match=r"unknown layout .*VOC.*COCO.*YOLO.*gt\.txt.*SPLIT/CLASS"):
        guess_layout(tmp_path)
    with pytest.raises(DataError, match=r"nowhere: data folder not found; correct the path"):
        guess_layout(tmp_path / "nowhere")


def test_a_folder_near_by_is_suggested(tmp_path: Path) -> None:
    write(tmp_path / "mine", "a.jpg", "signs/gt.txt", "signs/train/b.ppm")
    with pytest.raises(DataError, match=rf"unknown .*; did you mean {tmp_path}/mine/signs\?"):
        guess_layout(tmp_path / "mine")
    with pytest.raises(DataError, match=rf"; did you mean {tmp_path}/mine/signs\?"):
        guess_layout(tmp_path / "mine/signs/train")
    file = tmp_path / "mine/a.jpg"
    with pytest.raises(DataError, match=rf"{file}: is a file; .* contains it, {tmp_path}/mine$"):
        guess_layout(file)


def test_real_data(real_data: Path) -> None:
    gtsdb, voc = real_data / "gtsdb", real_data / "voc2012-mini"
    assert guess_layout(gtsdb) == Layout("gtsdb", gtsdb, "train", "test", "43")
    assert guess_layout(voc) == Layout("voc", voc, "train", "val", None)


def test_class_folders_may_hold_folders(tmp_path: Path) -> None:
    write(tmp_path, "train/cat/1.png", "test/cat/indoors/2.png")
    assert guess_layout(tmp_path) == Layout("folders", tmp_path, "train", "test", None)
    assert class_folder_splits(tmp_path) == ("train", "test")
