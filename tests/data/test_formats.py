"""The table of data layouts: recipes, help and documentation follow it."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from secateur.config.data import ClassificationData, DetectionData
from secateur.config.recipe import Recipe, load_recipe
from secateur.data.detection_set import DetectionSet, annotated_picture
from secateur.data.formats.format import Format, SplitRequest
from secateur.data.formats.gtsdb import GTSDB_CLASSES
from secateur.data.formats.table import FORMATS, format_names, markdown_table
from secateur.data.formats.voc import VOC_CLASSES
from secateur.data.source import expected_classes, read_splits, would_generate
from secateur.errors import DataError, RecipeError
from tiny_recipe import TINY


def read_boxes_in_names(wanted: SplitRequest) -> DetectionSet:
    """A layout in which a picture's name gives its box: ``x1_y1_x2_y2.png``."""
    pictures = [
        annotated_picture(path, [list(map(int, path.stem.split("_")))], [1], [False], path)
        for path in sorted((wanted.root / wanted.split).iterdir())
    ]
    return DetectionSet(wanted.classes or ("object",), tuple(pictures))


def recipe_file(folder: Path, **data: Any) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**TINY, "data": {"root": str(folder), **data}}))
    return path


def test_a_recipe_reads_a_new_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = Format(task="detection", description="boxes in names", read=read_boxes_in_names)
    monkeypatch.setitem(FORMATS, "named", named)
    (tmp_path / "fit").mkdir()
    for x in range(8):
        Image.new("RGB", (20, 10)).save(tmp_path / f"fit/{x}_1_{x + 5}_9.png")
    path = recipe_file(
        tmp_path, format="named", train="fit", test=None, classes=["post"], validation=0.25
    )
    recipe = load_recipe(path)
    splits = read_splits(recipe.data, recipe.model.input_size, recipe.seed)
    assert isinstance(splits.train, DetectionSet)
    assert isinstance(splits.validation, DetectionSet)
    assert (len(splits.train), len(splits.validation), splits.test) == (6, 2, None)
    assert splits.train.classes == ("post",)
    found = [*splits.train.pictures, *splits.validation.pictures]
    boxes = sorted(picture.boxes.tolist()[0] for picture in found)
    assert boxes == [[x, 1, x + 5, 9] for x in range(8)]
    assert "| `named` | boxes in names |" in markdown_table("detection")
    with pytest.raises(RecipeError, match=r"data\.format: must be voc, .*gtsrb or named"):
        load_recipe(path, ["data.format=pascal"])


def test_a_new_layout_is_for_its_task_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one_class = Format(task="classification", description="", read=read_boxes_in_names)
    monkeypatch.setitem(FORMATS, "one class", one_class)
    with pytest.raises(RecipeError, match="ssd300 cannot be trained on data of format one class"):
        load_recipe(recipe_file(tmp_path, format="one class"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, r"data\.format is missing; add it"),
        ({"format": 3}, r"data\.format: Input should be a valid string"),
        ({"format": "pascal"}, r"data\.format: must be voc, coco, yolo, .*cifar10 or gtsrb"),
        ({"format": "yolo", "classes": "super"}, "classes of yolo must be a list of names"),
        ({"format": "gtsdb", "classes": "44"}, "classes of gtsdb must be one of 43, super, sign"),
        ({"format": "gtsdb", "classes": ["a"]}, "classes of gtsdb must be one of 43, super, sign"),
        ({"format": "voc", "classes": ["a", "b", "a"]}, "classes lists a class twice"),
        ({"format": "voc", "clases": ["a"]}, r"unknown entry data\.clases; did you mean classes"),
    ],
)
def test_wrong_sections(tmp_path: Path, data: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message) as error:
        load_recipe(recipe_file(tmp_path, **data))
    assert "\n" not in str(error.value)


def test_sections_refuse_layouts_of_the_other_task() -> None:
    with pytest.raises(ValueError, match="must be voc, coco, yolo, gtsdb or signs"):
        DetectionData(format="folders", root=Path())
    with pytest.raises(ValueError, match="must be folders, cifar10 or gtsrb"):
        ClassificationData(format="voc", root=Path())


def test_the_schema_lists_the_layouts_of_each_task() -> None:
    definitions = Recipe.model_json_schema()["$defs"]
    listed = {
        name: definitions[name]["properties"]["format"]["enum"]
        for name in ("DetectionData", "ClassificationData")
    }
    assert listed == {
        "DetectionData": [*format_names("detection")],
        "ClassificationData": [*format_names("classification")],
    }
    assert {*listed["DetectionData"], *listed["ClassificationData"]} == {*FORMATS}


@pytest.mark.parametrize("name", FORMATS)
def test_descriptions_are_one_line_of_a_markdown_table(name: str) -> None:
    description = FORMATS[name].description
    assert description
    assert not {"\n", "|"} & {*description}
    assert description.count("`") % 2 == 0
    assert f"| `{name}` | {description} |" in markdown_table().splitlines()


@pytest.mark.parametrize(
    ("format_", "classes", "expected"),
    [
        ("voc", None, VOC_CLASSES),
        ("voc", ("cat", "dog"), ("cat", "dog")),
        ("coco", None, None),
        ("gtsdb", None, GTSDB_CLASSES),
        ("gtsdb", "43", GTSDB_CLASSES),
        ("gtsdb", "super", ("prohibitory", "mandatory", "danger", "other")),
        ("gtsdb", "sign", ("sign",)),
    ],
)
def test_expected_classes(format_: str, classes: Any, expected: tuple[str, ...] | None) -> None:
    assert expected_classes(DetectionData(format=format_, root=Path(), classes=classes)) == expected


def test_what_would_be_generated(tmp_path: Path) -> None:
    signs = DetectionData(format="signs", root=tmp_path)
    assert would_generate(signs, 64)
    assert list(tmp_path.iterdir()) == []
    for split, count in (("train", 3000), ("test", 1000)):
        (tmp_path / f"signs1-14to60-64px-seed0-{split}{count}").mkdir()
    assert not would_generate(signs, 64)
    assert would_generate(signs, 96)
    assert not would_generate(DetectionData(format="voc", root=tmp_path / "nowhere"), 64)
    with pytest.raises(DataError, match="val: not a split of the drawn signs; name it train or"):
        would_generate(DetectionData(format="signs", root=tmp_path, test="val"), 64)
