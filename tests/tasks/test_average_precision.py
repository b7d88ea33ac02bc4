"""Average precision: literal cases, a slow count in exact fractions, and pycocotools."""

import contextlib
import io
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from secateur.data.detection_set import AnnotatedPicture
from secateur.errors import ModelError
from secateur.tasks.detection import joined_boxes
from secateur.tasks.detection.average_precision import (
    average_precision,
    coco_average_precision,
    judge,
)
from secateur.tasks.detection.detections import Detections

# Far apart, each 10 × 10.
A, B, C = [0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]


def found(*rows):
    """Detections from rows (box, label, score)."""
    return Detections(
        torch.tensor([box for box, _, _ in rows], dtype=torch.float32).reshape(-1, 4),
        torch.tensor([label for _, label, _ in rows], dtype=torch.int64),
        torch.tensor([score for _, _, score in rows], dtype=torch.float32),
    )


def picture(*rows, name="a.png"):
    """An annotated picture from rows (box, label, difficult)."""
    return AnnotatedPicture(
        Path(name),
        400,
        400,
        torch.tensor([box for box, _, _ in rows], dtype=torch.float32).reshape(-1, 4),
        torch.tensor([label for _, label, _ in rows], dtype=torch.int64),
        torch.tensor([difficult for _, _, difficult in rows], dtype=torch.bool),
    )


def test_perfect_detections_give_100():
    pictures = [picture((A, 1, False), (B, 2, False)), picture(), picture((A, 2, False))]
    detections = [found((A, 1, 0.9), (B, 2, 0.8)), found(), found((A, 2, 0.1))]
    result = average_precision(detections, pictures, ["cat", "dog"])
    assert result.AP50_voc07 == pytest.approx(100)
    assert result.AP50_area == pytest.approx(100)
    assert result.AP50_area_by_class == {"cat": 100, "dog": 100}
    coco = coco_average_precision(detections, pictures, ["cat", "dog"])
    assert coco["AP_coco"] == coco["AP50_coco"] == coco["AP75_coco"] == pytest.approx(100)
    assert coco["AP_coco_small"] == pytest.approx(100)
    assert math.isnan(coco["AP_coco_medium"])
    assert math.isnan(coco["AP_coco_large"])


def test_a_false_positive_between_two_hits():
    pictures = [picture((A, 1, False), (B, 1, False))]
    detections = [found((B, 1, 0.7), (C, 1, 0.8), (A, 1, 0.9))]
    result = average_precision(detections, pictures, ["cat"])
    # Precision 1 up to recall 0.5, then 2/3 up to recall 1.
    assert result.AP50_area == pytest.approx(100 * (1 + 2 / 3) / 2)
    assert result.AP50_voc07 == pytest.approx(100 * (6 + 5 * 2 / 3) / 11)
    coco = coco_average_precision(detections, pictures, ["cat"])
    assert coco["AP50_coco"] == pytest.approx(100 * (51 + 50 * 2 / 3) / 101)
    curve = result.curves["cat"]
    np.testing.assert_allclose(curve.scores, [0.9, 0.8, 0.7], rtol=1e-6)
    np.testing.assert_allclose(curve.precision, [1, 1 / 2, 2 / 3])
    np.testing.assert_allclose(curve.recall, [1 / 2, 1 / 2, 1])


def test_a_second_detection_of_an_object_is_a_false_positive():
    pictures = [picture((A, 1, False), (B, 1, False))]
    detections = [found((A, 1, 0.9), (A, 1, 0.8), (B, 1, 0.7))]
    assert average_precision(detections, pictures, ["cat"]).AP50_area == pytest.approx(
        100 * (1 + 2 / 3) / 2
    )


def test_a_detection_whose_best_object_is_taken_does_not_get_the_next_best():
    # Both objects overlap both detections by at least a half; both detections fit the first best.
    near = [0, 0, 10, 9]
    pictures = [picture((A, 1, False), ([0, 0, 10, 7], 1, False))]
    detections = [found((A, 1, 0.9), (near, 1, 0.8))]
    assert average_precision(detections, pictures, ["cat"]).AP50_area == pytest.approx(50)
    # COCO's rule is the other one.
    assert coco_average_precision(detections, pictures, ["cat"])["AP50_coco"] == pytest.approx(100)


def test_an_overlap_of_exactly_one_half_is_a_hit():
    pictures = [picture((A, 1, False))]
    half, less = [0, 0, 10, 5], [0, 0, 10, 4.9]
    assert average_precision([found((half, 1, 0.5))], pictures, ["cat"]).AP50_area == 100
    assert average_precision([found((less, 1, 0.5))], pictures, ["cat"]).AP50_area == 0


def test_difficult_objects_are_neither_hit_nor_miss():
    pictures = [picture((A, 1, True), (B, 1, False))]
    detections = [found((A, 1, 0.9), (A, 1, 0.8), (B, 1, 0.7))]
    result = average_precision(detections, pictures, ["cat"])
    assert result.AP50_voc07 == pytest.approx(100)
    assert result.AP50_area == 100
    assert len(result.curves["cat"].scores) == 1
    coco = coco_average_precision(detections, pictures, ["cat"])
    assert coco["AP50_coco"] == pytest.approx(100)


def test_of_equal_overlaps_the_first_object_counts():
    easy, difficult = (A, 1, False), (A, 1, True)
    detections = [found((A, 1, 0.9))]
    assert average_precision(detections, [picture(easy, difficult)], ["cat"]).AP50_area == 100
    assert average_precision(detections, [picture(difficult, easy)], ["cat"]).AP50_area == 0


def test_recall_of_exactly_three_tenths_reaches_its_level():
    boxes = [[20 * i, 0, 20 * i + 10, 10] for i in range(10)]
    pictures = [picture(*((box, 1, False) for box in boxes))]
    detections = [found(*((box, 1, 0.5) for box in boxes[:3]))]
    assert average_precision(detections, pictures, ["cat"]).AP50_voc07 == pytest.approx(400 / 11)


def test_outcomes_are_in_the_order_of_the_detections():
    pictures = [picture((A, 1, False), (B, 1, True)), picture(), picture((A, 1, False))]
    detections = [
        found((A, 1, 0.7), (C, 1, 0.9), (B, 1, 0.6), (A, 1, 0.8), (B, 1, 0.5), (A, 2, 0.9)),
        found((A, 1, 0.5)),
        found((A, 1, 0.1)),
    ]
    assert [each.tolist() for each in judge(detections, pictures, ["cat", "dog"])] == [
        ["false", "false", "ignored", "hit", "ignored", "false"],
        ["false"],
        ["hit"],
    ]
    assert judge([], [], ["cat"]) == []
    assert judge([found()], [picture()], ["cat"])[0].shape == (0,)


def test_equal_scores_keep_the_order_of_pictures_and_detections():
    pictures = [picture(name="a.png"), picture((A, 1, False), name="b.png")]
    miss, hit = found((B, 1, 0.5)), found((A, 1, 0.5))
    assert average_precision([miss, hit], pictures, ["cat"]).AP50_area == 50
    assert average_precision([hit, miss], pictures[::-1], ["cat"]).AP50_area == 100
    both = [found(), found((B, 1, 0.5), (A, 1, 0.5))]
    assert average_precision(both, pictures, ["cat"]).AP50_area == 50


def test_an_object_is_found_only_in_its_picture_and_class():
    pictures = [picture((A, 1, False)), picture((B, 2, False))]
    detections = [found((A, 2, 0.9)), found((A, 1, 0.9))]
    assert average_precision(detections, pictures, ["cat", "dog"]).AP50_area == 0


def test_a_class_with_nothing_to_find_is_nan_and_outside_the_mean():
    pictures = [picture((A, 1, False), (B, 2, True))]
    detections = [found((A, 1, 0.9), (B, 2, 0.9), (C, 3, 0.9))]
    result = average_precision(detections, pictures, ["cat", "dog", "cow"])
    assert result.AP50_area == result.AP50_area_by_class["cat"] == 100
    assert math.isnan(result.AP50_area_by_class["dog"])
    assert math.isnan(result.AP50_voc07_by_class["cow"])
    assert result.curves["cow"].recall.shape == (0,)


def test_no_detection_gives_0():
    pictures = [picture((A, 1, False))]
    result = average_precision([found()], pictures, ["cat"])
    assert (result.AP50_voc07, result.AP50_area) == (0, 0)
    coco = coco_average_precision([found()], pictures, ["cat"])
    assert coco["AP_coco"] == coco["AP50_coco"] == coco["AP_coco_small"] == 0
    assert math.isnan(coco["AP_coco_large"])


@pytest.mark.parametrize(
    ("detections", "pictures"),
    [
        ([], []),
        ([found()], [picture()]),
        ([found((A, 1, 0.9))], [picture()]),
        ([found((A, 1, 0.9))], [picture((A, 1, True))]),
    ],
)
def test_nothing_to_find_gives_nan(detections, pictures):
    result = average_precision(detections, pictures, ["cat"])
    assert math.isnan(result.AP50_voc07)
    assert math.isnan(result.AP50_area)
    assert all(map(math.isnan, coco_average_precision(detections, pictures, ["cat"]).values()))


def test_an_empty_or_inverted_box_is_a_false_positive():
    pictures = [picture((A, 1, False))]
    detections = [found(([5, 5, 5, 5], 1, 0.9), ([10, 0, 0, 10], 1, 0.8), (A, 1, 0.7))]
    assert average_precision(detections, pictures, ["cat"]).AP50_area == pytest.approx(100 / 3)


@pytest.mark.parametrize("count", [average_precision, coco_average_precision])
def test_wrong_input_is_named(count):
    pictures = [picture((A, 1, False))]
    with pytest.raises(ValueError, match="0 detections for 1 pictures"):
        count([], pictures, ["cat"])
    with pytest.raises(ValueError, match=r"a\.png: label 2 among the detections"):
        count([found((A, 2, 0.9))], pictures, ["cat"])
    with pytest.raises(ValueError, match=r"a\.png: label 0 among the objects"):
        count([found()], [picture((A, 0, False))], ["cat"])
    with pytest.raises(ModelError, match=r"a\.png: .* NaN"):
        count([found((A, 1, math.nan))], pictures, ["cat"])
    with pytest.raises(ModelError, match="infinite"):
        count([found(([0, 0, math.inf, 1], 1, 0.5))], pictures, ["cat"])
    with pytest.raises(ValueError, match=r"must be \(N, 4\)"):
        Detections(torch.zeros(2, 4), torch.ones(1, dtype=torch.int64), torch.zeros(2))


def test_coco_prints_nothing(capfd, caplog):
    caplog.set_level("DEBUG")
    coco_average_precision([found((A, 1, 0.9))], [picture((A, 1, False))], ["cat"])
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


# Few positions, sizes and scores make ties, duplicates and overlaps of one half common.
corners = st.integers(0, 4)
sides = st.integers(1, 4)
boxes = st.tuples(corners, corners, sides, sides).map(
    lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]
)
labels = st.integers(1, 3)
cases = st.lists(
    st.tuples(
        st.lists(st.tuples(boxes, labels, st.sampled_from([0.25, 0.5, 0.75])), max_size=10),
        st.lists(st.tuples(boxes, labels, st.booleans()), max_size=6),
    ),
    max_size=4,
)


def slow_overlap(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return Fraction(0)
    area_a = (a[2] - a[0]) * (a[3] - a[1])
    area_b = (b[2] - b[0]) * (b[3] - b[1])
    return Fraction(width * height, area_a + area_b - width * height)


def slow_curve(case, label):
    """Points (precision, recall) and the number of objects of one class, by the definition."""
    objects = sum(lab == label and not diff for _, truths in case for _, lab, diff in truths)
    queue = [
        (p, box, score)
        for p, (dets, _) in enumerate(case)
        for box, lab, score in dets
        if lab == label
    ]
    queue.sort(key=lambda entry: -entry[2])  # stable
    taken = set()
    hits = misses = 0
    points = []
    for p, box, _ in queue:
        most, which = Fraction(0), None
        for t, (truth, lab, _) in enumerate(case[p][1]):
            if lab == label and slow_overlap(box, truth) > most:
                most, which = slow_overlap(box, truth), t
        if most < Fraction(1, 2):
            misses += 1
        elif case[p][1][which][2]:
            continue
        elif (p, which) in taken:
            misses += 1
        else:
            taken.add((p, which))
            hits += 1
        points.append((Fraction(hits, hits + misses), Fraction(hits, objects) if objects else None))
    return points, objects


def slow_judge(case):
    """The outcome of each detection of each picture, one at a time."""
    outcomes = [[None] * len(dets) for dets, _ in case]
    queue = [(p, d) for p, (dets, _) in enumerate(case) for d in range(len(dets))]
    queue.sort(key=lambda at: -case[at[0]][0][at[1]][2])  # stable
    taken = set()
    for p, d in queue:
        box, label, _ = case[p][0][d]
        most, which = Fraction(0), None
        for t, (truth, lab, _) in enumerate(case[p][1]):
            if lab == label and slow_overlap(box, truth) > most:
                most, which = slow_overlap(box, truth), t
        if most < Fraction(1, 2):
            outcomes[p][d] = "false"
        elif case[p][1][which][2]:
            outcomes[p][d] = "ignored"
        else:
            outcomes[p][d] = "false" if (p, which) in taken else "hit"
            taken.add((p, which))
    return outcomes


def slow_voc07(points):
    levels = [Fraction(k, 10) for k in range(11)]
    return sum(max((p for p, r in points if r >= level), default=0) for level in levels) / 11


def slow_area(points):
    """The area under the highest precision at any recall to the right."""
    area, reached = Fraction(0), Fraction(0)
    for _, recall in points:
        area += (recall - reached) * max(p for p, r in points if r >= recall)
        reached = recall
    return area


def tensors(case):
    return (
        [found(*dets) for dets, _ in case],
        [picture(*truths) for _, truths in case],
        ["cat", "dog", "cow"],
    )


@settings(max_examples=200, deadline=None)
@given(case=cases, pairs_at_once=st.sampled_from([1, 3, 200_000]))
def test_agrees_with_the_slow_count(case, pairs_at_once):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joined_boxes, "PAIRS_AT_ONCE", pairs_at_once)
        result = average_precision(*tensors(case))
    voc07, area = [], []
    for label, name in enumerate(["cat", "dog", "cow"], start=1):
        points, objects = slow_curve(case, label)
        if objects == 0:
            assert math.isnan(result.AP50_voc07_by_class[name])
            assert math.isnan(result.AP50_area_by_class[name])
            continue
        voc07.append(float(100 * slow_voc07(points)))
        area.append(float(100 * slow_area(points)))
        assert result.AP50_voc07_by_class[name] == pytest.approx(voc07[-1])
        assert result.AP50_area_by_class[name] == pytest.approx(area[-1])
        curve = result.curves[name]
        np.testing.assert_allclose(curve.precision, [float(p) for p, _ in points])
        np.testing.assert_allclose(curve.recall, [float(r) for _, r in points])
        assert (np.diff(curve.scores) <= 0).all()
    if voc07:
        assert result.AP50_voc07 == pytest.approx(sum(voc07) / len(voc07))
        assert result.AP50_area == pytest.approx(sum(area) / len(area))
    else:
        assert math.isnan(result.AP50_voc07)
        assert math.isnan(result.AP50_area)


@settings(max_examples=200, deadline=None)
@given(case=cases)
def test_outcomes_agree_with_the_slow_loop(case):
    outcomes = judge(*tensors(case))
    assert [each.tolist() for each in outcomes] == slow_judge(case)


def pycocotools_count(detections, pictures, classes):
    """COCO's six metrics by the package that defines them."""

    def rows(parts):
        for i, part in enumerate(parts):
            for j, (x1, y1, x2, y2) in enumerate(part.boxes.tolist()):
                yield (
                    i,
                    j,
                    {
                        "image_id": i,
                        "category_id": int(part.labels[j]),
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                        "area": (x2 - x1) * (y2 - y1),
                    },
                )

    truth = [row | {"iscrowd": int(pictures[i].difficult[j])} for i, j, row in rows(pictures)]
    results = [row | {"score": float(detections[i].scores[j])} for i, j, row in rows(detections)]
    with contextlib.redirect_stdout(io.StringIO()):
        sides = []
        for annotations in (truth, results):
            side = COCO()
            side.dataset = {
                "images": [{"id": i} for i in range(len(pictures))],
                "categories": [{"id": k} for k in range(1, len(classes) + 1)],
                "annotations": [a | {"id": n} for n, a in enumerate(annotations, start=1)],
            }
            side.createIndex()
            sides.append(side)
        evaluation = COCOeval(*sides, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [100 * each if each >= 0 else math.nan for each in evaluation.stats[:6]]


@settings(max_examples=200, deadline=None)
@given(
    case=cases, scale=st.sampled_from([8, 24.5, 60]), pairs_at_once=st.sampled_from([1, 3, 200_000])
)
def test_coco_agrees_with_pycocotools(case, scale, pairs_at_once):
    # Objects are small, medium and large; the area of some is exactly a limit.
    scaled = [
        tuple([([scale * side for side in box], *rest) for box, *rest in part] for part in one)
        for one in case
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joined_boxes, "PAIRS_AT_ONCE", pairs_at_once)
        ours = coco_average_precision(*tensors(scaled))
    theirs = pycocotools_count(*tensors(scaled))
    assert list(ours.values()) == pytest.approx(theirs, rel=1e-9, abs=1e-9, nan_ok=True)


def test_coco_counts_the_hundred_highest_scores_of_a_picture_and_class():
    random = np.random.default_rng(0)
    pictures, detections = [], []
    for _ in range(3):
        corners = 300 * random.random((150, 2))
        there = np.concatenate([corners, corners + 20 + 40 * random.random((150, 2))], 1)
        seen = there + random.normal(0, 3, there.shape)
        labels = random.integers(1, 3, 150)
        difficult = random.random(40) < 0.2
        truths = zip(there[:40].tolist(), labels[:40].tolist(), difficult, strict=True)
        labels[40:] = 1
        scores = random.random(150).round(1)
        pictures.append(picture(*truths))
        detections.append(found(*zip(seen.tolist(), labels, scores, strict=True)))
    ours = coco_average_precision(detections, pictures, ["cat", "dog"])
    assert 1 < ours["AP_coco"] < 99
    theirs = pycocotools_count(detections, pictures, ["cat", "dog"])
    assert list(ours.values()) == pytest.approx(theirs, rel=1e-9, nan_ok=True)


def test_coco_at_one_half_is_near_the_area_where_no_rule_differs():
    # Objects far apart and none difficult: only the interpolation differs, by up to 1 in 101.
    random = np.random.default_rng(0)
    pictures, detections = [], []
    for _ in range(50):
        boxes = [[40 * i, 0, 40 * i + 30, 30] for i in range(8)]
        there = random.random(8) < 0.6
        seen = random.random(8) < np.where(there, 0.8, 0.3)
        scores = random.random(8) + 0.3 * there
        pictures.append(picture(*((boxes[i], 1, False) for i in np.flatnonzero(there))))
        detections.append(found(*((boxes[i], 1, scores[i]) for i in np.flatnonzero(seen))))
    area = average_precision(detections, pictures, ["cat"]).AP50_area
    assert 40 < area < 90
    coco = coco_average_precision(detections, pictures, ["cat"])["AP50_coco"]
    assert coco == pytest.approx(area, abs=1)
