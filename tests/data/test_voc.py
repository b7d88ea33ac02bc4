from pathlib import Path

import pytest
from PIL import Image

from secateur.data.formats.voc import VOC_CLASSES, read_class_names, read_voc
from secateur.errors import DataError


def annotation(*objects: tuple[str, str, int]) -> str:
    """XML of objects given as name, "xmin ymin xmax ymax" and difficult."""
    sides = ("xmin", "ymin", "xmax", "ymax")
    parts = (
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>"
        + "".join(f"<{side}>{x}</{side}>" for side, x in zip(sides, box.split(), strict=True))
        + "</bndbox></object>"
        for name, box, difficult in objects
    )
    return f"<annotation>{''.join(parts)}</annotation>"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two pictures of 40 by 30 pixels: a dog and a difficult cat, and nothing."""
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("a", "b"):
        Image.new("RGB", (40, 30)).save(tmp_path / f"JPEGImages/{name}.jpg")
        (tmp_path / f"ImageSets/Main/only_{name}.txt").write_text(f"{name}\n")
    (tmp_path / "ImageSets/Main/train.txt").write_text("b\na\n")
    xml = annotation(("dog", "1 1 40 30", 0), ("cat", "11 6 20 15.5", 1))
    (tmp_path / "Annotations/a.xml").write_text(xml)
    (tmp_path / "Annotations/b.xml").write_text(annotation())
    return tmp_path


def test_boxes_labels_difficult(root: Path) -> None:
    dataset = read_voc(root, "train", None)
    assert dataset.classes == VOC_CLASSES
    empty, full = dataset.pictures
    assert empty.boxes.shape == (0, 4)
    assert full.path == root / "JPEGImages/a.jpg"
    assert (full.width, full.height) == (40, 30)
    assert full.boxes.tolist() == [[0, 0, 40, 30], [10, 5, 20, 15.5]]
    assert full.labels.tolist() == [12, 8]
    assert full.difficult.tolist() == [False, True]


def test_own_classes_keep_their_order(root: Path) -> None:
    dataset = read_voc(root, "only_a", ["cat", "dog"])
    assert dataset.classes == ("cat", "dog")
    assert dataset.pictures[0].labels.tolist() == [2, 1]
    assert read_class_names(root, "train") == ("cat", "dog")


def test_joined_splits_hold_each_picture_once(root: Path) -> None:
    dataset = read_voc(root, "only_a+train", None)
    assert [picture.path.name for picture in dataset.pictures] == ["a.jpg", "b.jpg"]


def test_devkit_inside(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outer = tmp_path_factory.mktemp("outer")
    (outer / "VOCdevkit").mkdir()
    root.rename(outer / "VOCdevkit/VOC2012")
    assert len(read_voc(outer, "train", None).pictures) == 2
    (outer / "VOCdevkit/VOC2007/Annotations").mkdir(parents=True)
    with pytest.raises(DataError, match=r"outer0: .* found 2; give the path"):
        read_voc(outer, "train", None)


def test_other_picture_suffix(root: Path) -> None:
    (root / "JPEGImages/a.jpg").unlink()
    Image.new("RGB", (40, 30)).save(root / "JPEGImages/a.PNG")
    assert read_voc(root, "only_a", None).pictures[0].path.name == "a.PNG"


def test_box_counted_from_0_is_clipped(root: Path) -> None:
    (root / "Annotations/a.xml").write_text(annotation(("dog", "0 0 10 10", 0)))
    assert read_voc(root, "only_a", None).pictures[0].boxes.tolist() == [[0, 0, 10, 10]]


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("<annotation>\n<object>\n</annotation>", r"a\.xml: broken XML, .*line 3.*; correct it"),
        ('<!DOCTYPE x [<!ENTITY e "e">]><x>&e;</x>', r"a\.xml: broken XML, Entities.*; correct it"),
        ('<?xml version="1.0" encoding="no-such"?><x/>', r"a\.xml: broken XML, .*; correct it"),
        ("<x><object><name>dog</name></object></x>", r"a\.xml: object 1 needs a bndbox.*correct"),
        (annotation(("dog", "1 1 x 9", 0)), r"a\.xml: object 1 needs a bndbox.*correct"),
        (annotation(("wolf", "1 1 9 9", 0)), r"a\.xml: unknown class 'wolf'; correct it or add"),
        (
            annotation(("dog", "1 1 42 9", 0)),
            r"a\.xml: box .* outside its picture a\.jpg .*correct",
        ),
        (annotation(("dog", "9 9 8 9", 0)), r"a\.xml: box .* is empty .*correct"),
        (annotation(("dog", "nan 1 8 9", 0)), r"a\.xml: box .*correct"),
    ],
)
def test_faulty_annotation(root: Path, xml: str, message: str) -> None:
    (root / "Annotations/a.xml").write_text(xml)
    with pytest.raises(DataError, match=message):
        read_voc(root, "only_a", None)


@pytest.mark.parametrize("name", ["../a", "/a", "x/../../a", "..\\a", "C:a", "a\0"])
def test_list_entry_must_stay_inside(root: Path, name: str) -> None:
    (root / "ImageSets/Main/train.txt").write_text(f"{name}\n")
    with pytest.raises(
        DataError, match=r"train\.txt: the name .* points outside .*write it relative"
    ):
        read_voc(root, "train", None)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("Annotations/a.xml", r"a\.xml: annotation not found; restore it or remove"),
        ("JPEGImages/a.jpg", r"a\.jpg: picture not found, but .*a\.xml names it; restore"),
        ("ImageSets/Main/only_a.txt", r"only_a\.txt: file not found; write this list"),
    ],
)
def test_missing_file(root: Path, missing: str, message: str) -> None:
    (root / missing).unlink()
    with pytest.raises(DataError, match=message):
        read_voc(root, "only_a", None)


def test_faulty_list(root: Path) -> None:
    (root / "ImageSets/Main/train.txt").write_text("\n")
    with pytest.raises(DataError, match=r"train\.txt: the list is empty; write"):
        read_voc(root, "train", None)
    (root / "ImageSets/Main/train.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(DataError, match=r"train\.txt: not readable as text; save it again"):
        read_voc(root, "train", None)


def test_missing_root(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: data folder not found; correct the path"):
        read_voc(tmp_path / "nowhere", "train", None)
    with pytest.raises(DataError, match=r"expected a folder Annotations .*found 0; give the path"):
        read_voc(tmp_path, "train", None)


def test_real_pictures(real_data: Path) -> None:
    dataset = read_voc(real_data / "voc2012-mini", "train+val", None)
    assert len(dataset.pictures) == 100
    assert sum(len(picture.labels) for picture in dataset.pictures) == 273
    assert {label for picture in dataset.pictures for label in picture.labels.tolist()} == {
        *range(1, 21)
    }


def test_picture_of_another_size_than_it_was_annotated_at(root: Path) -> None:
    xml = annotation(("dog", "1 1 20 15", 0))
    for size, message in (("40 30", None), ("0 0", None), ("80 60", "80 by 60 pixels, but a.jpg")):
        width, height = size.split()
        said = f"<size><width>{width}</width><height>{height}</height></size></annotation>"
        (root / "Annotations/a.xml").write_text(xml.replace("</annotation>", said))
        if message is None:
            read_voc(root, "train", None)
            continue
        with pytest.raises(DataError, match=message):
            read_voc(root, "train", None)


def test_box_that_rounding_empties(root: Path) -> None:
    (root / "Annotations/a.xml").write_text(annotation(("dog", "31 1 30.0000001 15", 0)))
    with pytest.raises(DataError, match="is empty"):
        read_voc(root, "train", None)
