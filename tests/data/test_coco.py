import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from secateur.data.formats.coco import read_coco
from secateur.errors import DataError


def content() -> dict[str, Any]:
    """Two pictures: a dog (category 7) and a crowd of cats (category 3), and nothing."""
    return {
        "images": [
            {"id": 5, "file_name": "a.jpg", "width": 40, "height": 30},
            {"id": 2, "file_name": "b.jpg", "width": 20, "height": 10},
        ],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": [
            {"image_id": 5, "category_id": 7, "bbox": [0, 0, 40, 30], "iscrowd": 0},
            {"image_id": 5, "category_id": 3, "bbox": [10, 5, 10.5, 10], "iscrowd": 1},
        ],
    }


def write(root: Path, value: object, file: str = "annotations/train.json") -> None:
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(json.dumps(value))


def write_pictures(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30)).save(folder / "a.jpg")
    Image.new("RGB", (20, 10)).save(folder / "b.jpg")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "train")
    write(tmp_path, content())
    return tmp_path


def test_boxes_labels_difficult(root: Path) -> None:
    dataset = read_coco(root, "train", None)
    assert dataset.classes == ("cat", "dog")
    full, empty = dataset.pictures
    assert full.path == root / "train/a.jpg"
    assert full.boxes.tolist() == [[0, 0, 40, 30], [10, 5, 20.5, 15]]
    assert full.labels.tolist() == [2, 1]
    assert full.difficult.tolist() == [False, True]
    assert (empty.width, empty.height) == (20, 10)
    assert empty.boxes.shape == (0, 4)


@pytest.mark.parametrize("pictures", ["train", "images/train", "images", "."])
@pytest.mark.parametrize(
    "file",
    [
        "annotations/train.json",
        "annotations/instances_train.json",
        "train.json",
        "train/_annotations.coco.json",
    ],
)
def test_layouts(tmp_path: Path, pictures: str, file: str) -> None:
    write_pictures(tmp_path / pictures)
    write(tmp_path, content(), file)
    dataset = read_coco(tmp_path, "train", None)
    assert dataset.pictures[0].path == tmp_path / pictures / "a.jpg"


def test_given_classes_set_the_labels(root: Path) -> None:
    dataset = read_coco(root, "train", ["bird", "dog", "cat"])
    assert dataset.classes == ("bird", "dog", "cat")
    assert dataset.pictures[0].labels.tolist() == [2, 3]


def test_categories_of_one_name_are_one_class(root: Path) -> None:
    value = content()
    value["categories"].append({"id": 0, "name": "dog"})
    write(root, value)
    dataset = read_coco(root, "train", None)
    assert dataset.classes == ("dog", "cat")
    assert dataset.pictures[0].labels.tolist() == [1, 2]


def test_rounding_is_clipped(root: Path) -> None:
    value = content()
    value["annotations"][0]["bbox"] = [-0.5, 0, 40.75, 30.5]
    write(root, value)
    assert read_coco(root, "train", None).pictures[0].boxes[0].tolist() == [0, 0, 40, 30]


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (("annotations", 1, "bbox"), [10, 5, 31.5, 10], r"outside its picture a\.jpg .*correct"),
        (("annotations", 1, "bbox"), [10, 5, 0, 10], r"without width or height; remove"),
        (("annotations", 1, "bbox"), [10, 5, 9], r"annotations\.1\.bbox.*; correct"),
        (("annotations", 1, "image_id"), 9, r"annotations\.1 is of image 9, .*; add that image"),
        (("annotations", 1, "category_id"), 9, r"annotations\.1 .*category 9 .*; correct"),
        (("annotations",), None, r"annotations: .*array; correct"),
        (("images",), [], r"images: .*at least 1 item.*; correct"),
        (("categories",), [], r"categories: .*at least 1 item.*; correct"),
        (("images", 1, "id"), 5, r"two images have the same id; give each its own"),
        (("images", 0, "width"), 80, r"80 by 30 pixels, but .* 40 by 30; restore"),
        (
            ("images", 0, "file_name"),
            "../a.jpg",
            r"'\.\./a\.jpg' points outside .*write it relative",
        ),
        (("images", 0, "file_name"), "/a.jpg", r"'/a\.jpg' points outside .*write it relative"),
        (("images", 0, "file_name"), "", r"'' points outside .*write it relative"),
    ],
)
def test_faulty_content(
    root: Path, where: tuple[str | int, ...], value: object, message: str
) -> None:
    faulty: Any = content()
    *parents, last = where
    entry = faulty
    for key in parents:
        entry = entry[key]
    entry[last] = value
    write(root, faulty)
    with pytest.raises(DataError, match=r"train\.json: .*" + message):
        read_coco(root, "train", None)


def test_unlisted_class(root: Path) -> None:
    with pytest.raises(DataError, match=r"train\.json: .*'cat'.*unknown class; .*add it"):
        read_coco(root, "train", ["dog"])


def test_broken_json(root: Path) -> None:
    (root / "annotations/train.json").write_text('{"images": [\n}')
    with pytest.raises(DataError, match=r"train\.json: .*JSON.* line 2 .*; correct"):
        read_coco(root, "train", None)


def test_missing(root: Path) -> None:
    with pytest.raises(DataError, match=r"no annotation file of the split 'test'; put it at"):
        read_coco(root, "test", None)
    (root / "train/a.jpg").unlink()
    with pytest.raises(DataError, match=r"train/a\.jpg: picture not found.*train\.json.*restore"):
        read_coco(root, "train", None)
    with pytest.raises(DataError, match=r"nowhere: data folder not found; correct the path"):
        read_coco(root / "nowhere", "train", None)


def test_box_without_height_is_named(root: Path) -> None:
    value = content()
    value["annotations"][1]["bbox"] = [1, 1, 5, 0]
    write(root, value)
    with pytest.raises(DataError, match=r"annotations\.1, of image 5, has a box without"):
        read_coco(root, "train", None)


def test_crowd_may_be_null(root: Path) -> None:
    value = content()
    value["annotations"][1]["iscrowd"] = None
    write(root, value)
    assert not read_coco(root, "train", None).pictures[0].difficult.any()
