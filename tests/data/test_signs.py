"""The drawn signs: reproducible from the seed, with tight boxes, in complete folders."""

import io
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import secateur.data.formats.signs as module
from secateur.data.formats.signs import (
    CLASSES,
    DISTRACTORS,
    SIGNS,
    draw_picture,
    draw_plate,
    read_signs,
)
from secateur.errors import DataError


def file_bytes(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in root.rglob("*.*") if path.is_file()}


def test_same_seed_same_bytes(tmp_path):
    first, again = tmp_path / "first", tmp_path / "again"
    read_signs(first, "train", count=4)
    read_signs(again, "train", count=4)
    assert len(file_bytes(first)) == 5
    assert file_bytes(first) == file_bytes(again)


def test_picture_does_not_depend_on_the_count(tmp_path):
    few = read_signs(tmp_path, "train", count=2)
    many = read_signs(tmp_path, "train", count=4)
    assert [p.path.read_bytes() for p in few.pictures] == [
        p.path.read_bytes() for p in many.pictures[:2]
    ]
    assert len({p.path.read_bytes() for p in many.pictures}) == 4


def test_seeds_and_splits_differ():
    pictures = {
        draw_picture(split, 0, seed=seed)[0] for split in module.PICTURES for seed in (0, 1)
    }
    assert len(pictures) == 4


def test_set_reads_back_what_was_drawn(tmp_path):
    signs = read_signs(tmp_path, "test", count=6)
    assert signs.classes == CLASSES
    for index, picture in enumerate(signs.pictures):
        file, boxes, labels = draw_picture("test", index)
        assert picture.path.read_bytes() == file
        assert (picture.width, picture.height) == (160, 160)
        np.testing.assert_allclose(
            picture.boxes.numpy(), np.array(boxes).reshape(-1, 4), atol=2e-3, rtol=0
        )
        assert picture.labels.tolist() == labels
        assert not picture.difficult.any()


@pytest.mark.parametrize(
    "plate", [*itertools.chain(*SIGNS.values()), *DISTRACTORS], ids=lambda plate: plate[0][0]
)
@pytest.mark.parametrize("pixels", [12.0, 40.3])
def test_box_is_tight_around_the_plate(plate, pixels):
    rng = np.random.default_rng(0)
    patch, (left, top), box = draw_plate(plate, pixels, 7.4, 9.7, rng)
    rows, columns = np.nonzero(np.asarray(patch)[..., 3] > 0)
    seen = (
        left + columns.min(),
        top + rows.min(),
        left + columns.max() + 1,
        top + rows.max() + 1,
    )
    # The outline starts and ends in the pixels in which its box starts and ends, except for corners
    # that are too thin to be drawn.
    np.testing.assert_allclose(seen, (*np.floor(box[:2]), *np.ceil(box[2:])), atol=1.0, rtol=0)
    assert max(box[2] - box[0], box[3] - box[1]) == pytest.approx(pixels)


def test_marks_stay_on_their_plate():
    for plate in itertools.chain(*SIGNS.values(), DISTRACTORS):
        outline = plate[0][1]
        for _, points in plate[1:]:
            assert (points.min(0) >= outline.min(0)).all()
            assert (points.max(0) <= outline.max(0)).all()


def test_two_hundred_pictures():
    """Boxes are inside and disjoint, sizes are in range, every class and count occurs."""
    low, high = module.SIGN_PIXELS
    counts, seen, sides = set(), set(), []
    for index in range(200):
        _, boxes, labels = draw_picture("train", index)
        counts.add(len(boxes))
        seen.update(labels)
        for x1, y1, x2, y2 in boxes:
            assert 0 <= x1 < x2 <= 160
            assert 0 <= y1 < y2 <= 160
            sides.append(max(x2 - x1, y2 - y1))
        for one, two in itertools.combinations(boxes, 2):
            assert one[0] > two[2] or two[0] > one[2] or one[1] > two[3] or two[1] > one[3]
    assert counts == {0, 1, 2, 3, 4}
    assert seen == set(range(1, len(CLASSES) + 1))
    assert low - 1e-6 <= min(sides) < 1.2 * low
    assert high / 1.2 < max(sides) <= high + 1e-6


def test_size_scales_the_signs():
    sides = []
    for index in range(6):
        file, boxes, _ = draw_picture("train", index, size=320, sign_pixels=(20, 20))
        assert Image.open(io.BytesIO(file)).size == (320, 320)
        sides += [max(x2 - x1, y2 - y1) for x1, y1, x2, y2 in boxes]
    assert sides == pytest.approx([40] * len(sides))
    assert sides


def test_drawn_once(tmp_path, monkeypatch):
    first = read_signs(tmp_path, "train", count=2)
    monkeypatch.setattr(module, "draw_picture", None)
    again = read_signs(tmp_path, "train", count=2)
    assert [p.path for p in again.pictures] == [p.path for p in first.pictures]


def test_other_parameters_have_other_folders(tmp_path):
    read_signs(tmp_path, "train", count=1)
    read_signs(tmp_path, "test", count=1)
    read_signs(tmp_path, "train", count=2)
    read_signs(tmp_path, "train", count=1, seed=1)
    read_signs(tmp_path, "train", count=1, size=96)
    read_signs(tmp_path, "train", count=1, sign_pixels=(20, 40))
    assert len(list(tmp_path.iterdir())) == 6


def test_interrupted_drawing_leaves_nothing(tmp_path, monkeypatch):
    def draw_one(split, index, **options):
        if index:
            raise KeyboardInterrupt
        return draw_picture(split, index, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module, "draw_picture", draw_one)
        with pytest.raises(KeyboardInterrupt):
            read_signs(tmp_path, "train", count=3)
    assert list(tmp_path.iterdir()) == []
    assert len(read_signs(tmp_path, "train", count=3).pictures) == 3


def test_incomplete_set_is_drawn_again(tmp_path):
    whole = read_signs(tmp_path, "train", count=2)
    (folder,) = tmp_path.iterdir()
    (folder / "annotations" / "train.json").unlink()
    whole.pictures[0].path.unlink()
    again = read_signs(tmp_path, "train", count=2)
    assert all(picture.path.is_file() for picture in again.pictures)


def test_annotations_are_coco(tmp_path):
    read_signs(tmp_path, "train", count=3)
    (file,) = tmp_path.glob("*/annotations/train.json")
    table = json.loads(file.read_text(encoding="utf-8"))
    assert [each["name"] for each in table["categories"]] == list(CLASSES)
    assert [each["id"] for each in table["images"]] == [0, 1, 2]
    ids = [each["id"] for each in table["annotations"]]
    assert len(set(ids)) == len(ids) > 0


@pytest.mark.parametrize(
    ("split", "options"),
    [
        ("val", {}),
        ("train", {"count": 0}),
        ("train", {"size": 8}),
        ("train", {"seed": -1}),
        ("train", {"sign_pixels": (30, 20)}),
    ],
)
def test_parameters_out_of_range(tmp_path, split, options):
    with pytest.raises(DataError, match=r"name it train or test|out of range"):
        read_signs(tmp_path, split, **options)


def test_root_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="choose another root"):
        read_signs(tmp_path / "file", "train", count=1)
