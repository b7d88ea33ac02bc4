"""``secateur init``."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from commands import Outcome, one_error
from secateur.config.recipe import load_recipe
from secateur.data.formats.table import FORMATS


def coco_folder(root: Path) -> None:
    (root / "annotations").mkdir(parents=True)
    (root / "train").mkdir()
    Image.new("RGB", (64, 64)).save(root / "train/a.png")
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 64}],
        "categories": [{"id": 1, "name": "never"}, {"id": 2, "name": "yes: no"}],
        "annotations": [{"image_id": 1, "category_id": 2, "bbox": [1, 1, 9, 9]}],
    }
    (root / "annotations/train.json").write_text(json.dumps(content))


def yolo_folder(root: Path) -> None:
    for split in ("train", "val"):
        (root / "images" / split).mkdir(parents=True)
        (root / "labels" / split).mkdir(parents=True)
        Image.new("RGB", (64, 64)).save(root / f"images/{split}/a.png")
        (root / f"labels/{split}/a.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    (root / "data.yaml").write_text("names: ['7']\n")


def test_init_for_voc(secateur: Callable[..., Outcome], voc: Path, tmp_path: Path) -> None:
    out = tmp_path / "first.yaml"
    outcome = secateur("init", voc, "--out", out)
    assert outcome.code == 0, outcome.err
    assert "8 pictures to train on with 9 objects of 2 classes, 2 to test on\n" in outcome.out
    made = load_recipe(out)
    assert made.data.root == voc
    assert (made.data.format, made.data.train, made.data.test) == ("voc", "train", "test")
    assert set(made.data.classes or ()) == {"cat", "dog"}
    assert made.name == "my--red-pictures--red---dog-"
    assert made.model.weights == "torchvision:VGG16_Weights.IMAGENET1K_FEATURES"
    assert secateur("compress", out, "--plan").code == 0

    before = out.read_text()
    one_error(secateur("init", voc, "--out", out), out, "not overwritten")
    assert out.read_text() == before


@pytest.mark.parametrize(
    ("make", "data_format", "classes", "test"),
    [(coco_folder, "coco", ("yes: no",), None), (yolo_folder, "yolo", ("7",), "val")],
)
def test_init_for_coco_and_yolo(
    secateur: Callable[..., Outcome],
    tmp_path: Path,
    make: Callable[[Path], None],
    data_format: str,
    classes: tuple[str, ...],
    test: str | None,
) -> None:
    make(tmp_path / "null")
    out = tmp_path / "first.yaml"
    outcome = secateur("init", tmp_path / "null", "--out", out)
    assert outcome.code == 0, outcome.err
    made = load_recipe(out)
    assert made.name == "null"
    assert (made.data.format, made.data.classes, made.data.test) == (data_format, classes, test)
    assert ("to test on (val, evaluated once at the end" in outcome.out) == (test == "val")


def test_init_names_classes_that_may_be_misspelt(
    secateur: Callable[..., Outcome], tmp_path: Path
) -> None:
    yolo_folder(tmp_path / "data")
    (tmp_path / "data/data.yaml").write_text("names: [square, sqare]\n")
    lines = ["0 0.5 0.5 0.4 0.4\n"] * 50 + ["1 0.5 0.5 0.4 0.4\n"]
    (tmp_path / "data/labels/train/a.txt").write_text("".join(lines))
    outcome = secateur("init", tmp_path / "data", "--out", tmp_path / "first.yaml")
    assert "; few objects are of sqare (1): check that the names are not misspelt" in outcome.out
    load_recipe(tmp_path / "first.yaml")


def test_init_and_compress_name_the_command_that_takes_a_file(
    secateur: Callable[..., Outcome], tmp_path: Path
) -> None:
    yolo_folder(tmp_path / "data")
    file = tmp_path / "data/data.yaml"
    file.write_text("path: .\ntrain: images/train\nnames: [a]\n")
    one_error(secateur("compress", file), file, "is not a recipe", f"init {tmp_path / 'data'}'")
    one_error(secateur("init", file), file, "is a file; give the folder")
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "other.pth")
    init = ("init", tmp_path / "data", "--weights", tmp_path / "other.pth")
    one_error(secateur(*init, "--out", tmp_path / "a.yaml"), "--weights takes those of a whole")


def test_init_refuses_an_unknown_layout(secateur: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "[x]").mkdir()
    one_error(secateur("init", tmp_path / "[x]"), tmp_path / "[x]", "VOC")


def test_help_names_every_layout_that_init_recognises(secateur: Callable[..., Outcome]) -> None:
    words = {"folders": "train/CLASS/picture"}
    text = secateur("init", "--help").out
    recognised = [name for name, each in FORMATS.items() if each.recognise is not None]
    assert "voc" in recognised
    for name in recognised:
        assert words.get(name, name.upper()) in text, name
