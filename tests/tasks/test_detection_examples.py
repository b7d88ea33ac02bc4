"""The test pictures that a report shows: their choice, and what is listed."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from secateur.data.detection_set import AnnotatedPicture, DetectionSet
from secateur.errors import DataError
from secateur.run.records import DetectorExamples
from secateur.tasks.detection.detections import Detections
from secateur.tasks.detection.examples import choose, detection_examples, quality

A, B, C = [0, 0, 10, 10], [20, 0, 30, 10], [40.04, 0, 50, 10]


def found(*rows: tuple[list[float], int, float]) -> Detections:
    return Detections(
        torch.tensor([box for box, _, _ in rows], dtype=torch.float32).reshape(-1, 4),
        torch.tensor([label for _, label, _ in rows], dtype=torch.int64),
        torch.tensor([score for _, _, score in rows], dtype=torch.float32),
    )


def picture(
    path: Path, size: tuple[int, int], *rows: tuple[list[float], int, bool]
) -> AnnotatedPicture:
    Image.new("RGB", size, (200, 0, 0)).save(path)
    return AnnotatedPicture(
        path,
        size[1],
        size[0],
        torch.tensor([box for box, _, _ in rows], dtype=torch.float32).reshape(-1, 4),
        torch.tensor([label for _, label, _ in rows], dtype=torch.int64),
        torch.tensor([difficult for _, _, difficult in rows], dtype=torch.bool),
    )


def test_quality() -> None:
    seen = found((A, 1, 0.9), (B, 1, 0.5), (C, 1, 0.25), (A, 1, 0.39), (B, 2, 0.45))
    outcomes = np.array(["hit", "false", "ignored", "false", "false"])
    assert quality(seen, outcomes, 2) == pytest.approx((0.9 - 0.5 - 0.45) / 2)
    assert quality(seen, outcomes, 0) == pytest.approx(0.9 - 0.5 - 0.45)
    assert quality(found(), np.array([], str), 3) == 0


def test_choice() -> None:
    slim = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    dense = slim + np.array([0.9, 0, 0, 0.5, -1, 0.1, 0, 0.2, 0, -0.5])
    chosen = list(choose(dense, slim, np.ones(10, int)))
    assert chosen == [
        ("worst", 0),
        ("worst", 1),
        ("worst", 2),
        ("lost", 3),
        ("lost", 7),
        ("lost", 5),
        ("best", 9),
        ("best", 8),
        ("best", 6),
        ("typical", 4),  # the only one left
    ]


def test_pictures_nearest_to_the_median_are_typical() -> None:
    slim = np.array([0, 0, 0, 0.1, 0.5, 0.45, 0.58, 0.9, 1, 1, 1])
    chosen = [at for kind, at in choose(slim, slim, np.ones(11, int)) if kind == "typical"]
    assert chosen == [4, 5, 6]


def test_of_equal_pictures_those_with_more_objects_come_first() -> None:
    same = np.full(7, 0.5)
    objects = np.array([0, 1, 0, 3, 1, 2, 1])
    chosen = list(choose(same, same, objects))
    assert [at for _, at in chosen] == [3, 5, 1, 4, 6, 0, 2]
    assert [kind for kind, _ in chosen] == ["worst"] * 3 + ["best"] * 3 + ["typical"]


@given(st.lists(st.tuples(st.integers(-2, 2), st.integers(-2, 2), st.integers(0, 2)), max_size=20))
def test_choice_agrees_with_a_slow_loop(rows: list[tuple[int, int, int]]) -> None:
    dense, slim, objects = (np.array([row[i] for row in rows], float) for i in range(3))
    wanted, left = [], list(range(len(rows)))
    for kind in ("worst", "lost", "best", "typical"):
        for _ in range(3):
            best = None
            for at in left:
                d, s, n = rows[at]
                if kind == "lost" and d <= s:
                    continue
                middle = float(np.median(slim))
                key = {"worst": s, "lost": s - d, "best": -s, "typical": abs(s - middle)}[kind]
                if best is None or (key, -n) < best[0]:
                    best = (key, -n), at
            if best is not None:
                wanted.append((kind, best[1]))
                left.remove(best[1])
    assert list(choose(dense, slim, objects.astype(int))) == wanted


def test_copies_and_lists(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    pictures = (
        picture(tmp_path / "data/a.png", (60, 40), (A, 1, False), (B, 2, True)),
        picture(tmp_path / "data/b.png", (2048, 1000)),
    )
    many = [(C, 1, 0.3 - i / 1000) for i in range(120)]
    slim = [found((C, 1, 0.123456), (B, 2, 0.04), (A, 1, 0.875)), found(*many)]
    dense = [found((B, 2, 0.8)), found()]
    dataset = DetectionSet(("cat", "dog"), pictures)
    out = tmp_path / "out"
    examples = detection_examples(dense, slim, dataset, tmp_path / "data", out)
    DetectorExamples.model_validate(examples)
    assert (examples["kind"], examples["least_score"]) == ("detector", 0.05)
    worst, other = examples["pictures"]
    assert other == {
        "kind": "worst",
        "file": "02.jpg",
        "name": "a.png",
        "width": 60,
        "height": 40,
        "truth": [
            {"class": "cat", "box": [0, 0, 10, 10], "difficult": False},
            {"class": "dog", "box": [20, 0, 30, 10], "difficult": True},
        ],
        "dense": [{"class": "dog", "box": [20, 0, 30, 10], "score": 0.8, "outcome": "ignored"}],
        "slim": [
            {"class": "cat", "box": [0, 0, 10, 10], "score": 0.875, "outcome": "hit"},
            {"class": "cat", "box": [40, 0, 50, 10], "score": 0.1235, "outcome": "false"},
        ],
    }
    assert (worst["name"], worst["file"], worst["width"]) == ("b.png", "01.jpg", 2048)
    assert [each["score"] for each in worst["slim"]] == [
        pytest.approx(0.3 - i / 1000) for i in range(100)
    ]
    assert sorted(path.name for path in out.iterdir()) == ["01.jpg", "02.jpg"]
    with Image.open(out / "01.jpg") as copy:
        assert (copy.format, copy.size) == ("JPEG", (1024, 500))
    with Image.open(out / "02.jpg") as copy:
        assert copy.size == (60, 40), "copies are never enlarged"


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    one = picture(tmp_path / "a.png", (60, 40))
    one.path.unlink()
    dataset = DetectionSet(("cat",), (one,))
    with pytest.raises(DataError, match=r"a\.png: went missing"):
        detection_examples([found()], [found()], dataset, tmp_path, tmp_path / "out")
