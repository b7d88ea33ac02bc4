from pathlib import Path

import pytest
from PIL import Image

from secateur.data.formats.yolo import read_yolo
from secateur.errors import DataError


def write_split(images: Path, labels: Path) -> None:
    """Two pictures of 40 by 20 pixels: two objects, and no label file."""
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    for name in ("a.jpg", "b.png"):
        Image.new("RGB", (40, 20)).save(images / name)
    (labels / "a.txt").write_text("1 0.5 0.5 1 1\n\n0 0.25 0.5 0.25 0.5\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_split(tmp_path / "images/train", tmp_path / "labels/train")
    (tmp_path / "data.yaml").write_text("names: [cat, dog]\n")
    return tmp_path


def test_boxes_labels(root: Path) -> None:
    dataset = read_yolo(root, "train", None)
    assert dataset.classes == ("cat", "dog")
    full, empty = dataset.pictures
    assert full.path == root / "images/train/a.jpg"
    assert full.boxes.tolist() == [[0, 0, 40, 20], [5, 5, 15, 15]]
    assert full.labels.tolist() == [2, 1]
    assert full.difficult.tolist() == [False, False]
    assert empty.path == root / "images/train/b.png"
    assert empty.boxes.shape == (0, 4)


def test_split_outside(tmp_path: Path) -> None:
    write_split(tmp_path / "train/images", tmp_path / "train/labels")
    (tmp_path / "train/labels/classes.txt").write_text("cat\ndog\n")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    dataset = read_yolo(tmp_path, "train", None)
    assert dataset.classes == ("cat", "dog")
    assert dataset.pictures[0].path == tmp_path / "train/images/a.jpg"


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("names: {1: dog, 0: cat}", ("cat", "dog")),
        ("names:\n  - 0\n  - 1\n", ("0", "1")),
        ("\ufeffnames: [Hündin, 'yes']", ("Hündin", "yes")),
    ],
)
def test_names(root: Path, text: str, classes: tuple[str, ...]) -> None:
    (root / "data.yaml").write_text(text, encoding="utf-8")
    assert read_yolo(root, "train", None).classes == classes


def test_given_classes_set_the_labels(root: Path) -> None:
    dataset = read_yolo(root, "train", ["bird", "dog", "cat"])
    assert dataset.classes == ("bird", "dog", "cat")
    assert dataset.pictures[0].labels.tolist() == [2, 3]
    with pytest.raises(DataError, match=r"a\.txt: line 3: unknown class 0; correct it or add"):
        read_yolo(root, "train", ["dog"])


def test_given_classes_name_the_ids_of_a_set_without_names(root: Path) -> None:
    (root / "data.yaml").unlink()
    dataset = read_yolo(root, "train", ["dog", "cat"])
    assert dataset.pictures[0].labels.tolist() == [2, 1]
    with pytest.raises(DataError, match=r"classes\.txt: file not found; write one class name"):
        read_yolo(root, "train", None)


def test_rounding_is_clipped(root: Path) -> None:
    (root / "labels/train/a.txt").write_text("0 0.5 0.5 1.025 1")
    assert read_yolo(root, "train", None).pictures[0].boxes.tolist() == [[0, 0, 40, 20]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.5", r"line 2: expected 'class cx cy w h' .*; correct"),
        ("0 0.1 0.1 0.9 0.1 0.9", r"line 2: expected .*; correct"),
        ("dog 0.5 0.5 0.5 0.5", r"line 2: expected .*; correct"),
        ("0 0.5 0.5 x 0.5", r"line 2: expected .*; correct"),
        ("2 0.5 0.5 0.5 0.5", r"line 2: unknown class 2; correct"),
        ("-1 0.5 0.5 0.5 0.5", r"line 2: unknown class -1; correct"),
        ("0 20 10 40 20", r"outside its picture a\.jpg .*correct"),
        ("0 0.5 0.5 nan 0.5", r"outside its picture a\.jpg .*correct"),
    ],
)
def test_faulty_line(root: Path, line: str, message: str) -> None:
    (root / "labels/train/a.txt").write_text(f"1 0.5 0.5 1 1\n{line}\n")
    with pytest.raises(DataError, match=r"a\.txt: .*" + message):
        read_yolo(root, "train", None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [cat,\n b: [", r"broken YAML, .*line 2.*; correct"),
        ("names: 2020-13-45", r"broken YAML, .*; correct"),
        ("names: !!python/object/apply:os.getcwd []", r"broken YAML, .*; correct"),
        ("nc: 2", r"no class names; write names"),
        ("", r"no class names; write names"),
        ("names: []", r"no class names; write names"),
        ("names: [yes, no]", r"no class names; write names .* quotes"),
        ("names: {0: cat, 2: dog}", r"the ids in names are not consecutive; number them 0 to 1"),
    ],
)
def test_faulty_names(root: Path, text: str, message: str) -> None:
    (root / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=r"data\.yaml: " + message):
        read_yolo(root, "train", None)


def test_empty_class_list(root: Path) -> None:
    (root / "data.yaml").unlink()
    (root / "classes.txt").write_text("\n")
    with pytest.raises(DataError, match=r"classes\.txt: line 1 names no class; write"):
        read_yolo(root, "train", None)


def test_missing(root: Path) -> None:
    with pytest.raises(DataError, match=r"no pictures and labels of the split 'test'; put them"):
        read_yolo(root, "test", None)
    (root / "images/train/a.jpg").unlink()
    with pytest.raises(DataError, match=r"a\.txt: its picture is missing .*restore"):
        read_yolo(root, "train", None)
    (root / "images/train/b.png").unlink()
    with pytest.raises(DataError, match=r"images/train: no picture .*; put"):
        read_yolo(root, "train", None)
    with pytest.raises(DataError, match=r"nowhere: data folder not found; correct the path"):
        read_yolo(root / "nowhere", "train", None)


def test_pictures_in_folders_and_labels_in_capitals(root: Path) -> None:
    (root / "images/train/night").mkdir()
    (root / "labels/train/night").mkdir()
    Image.new("RGB", (40, 20)).save(root / "images/train/night/a.jpg")
    (root / "labels/train/night/a.TXT").write_text("0 0.5 0.5 1 1\n")
    (root / "labels/train/night/classes.txt").write_text("cat\ndog\n")
    pictures = read_yolo(root, "train", None).pictures
    names = [picture.path.relative_to(root / "images/train").as_posix() for picture in pictures]
    assert names == ["a.jpg", "b.png", "night/a.jpg"]
    assert [picture.labels.tolist() for picture in pictures] == [[2, 1], [], [1]]


def test_two_pictures_of_one_label_file(root: Path) -> None:
    Image.new("RGB", (40, 20)).save(root / "images/train/a.png")
    with pytest.raises(DataError, match=r"a\.png: a\.jpg differs from it in the suffix only"):
        read_yolo(root, "train", None)


def test_box_around_a_polygon(root: Path) -> None:
    (root / "labels/train/a.txt").write_text("1 0.25 0.5 0.5 0.25 0.75 0.5 0.5 1\n")
    assert read_yolo(root, "train", None).pictures[0].boxes.tolist() == [[10, 5, 30, 20]]


def test_gap_in_the_list_of_classes(root: Path) -> None:
    (root / "data.yaml").unlink()
    (root / "classes.txt").write_text("cat\n\ndog\n\n")
    with pytest.raises(DataError, match="line 2 names no class"):
        read_yolo(root, "train", None)
    (root / "classes.txt").write_text("cat\ndog\n\n")
    assert read_yolo(root, "train", None).classes == ("cat", "dog")
