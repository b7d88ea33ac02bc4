"""Decoding and NMS: predictions by hand, a slow loop, and torchvision."""

import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from secateur.models.ssd import build_ssd, ssd_architecture
from secateur.tasks.detection import postprocessing
from secateur.tasks.detection.outputs import RawOutputs
from secateur.tasks.detection.postprocessing import PostprocessSettings
from secateur.tasks.detection.prediction import detect

SETTINGS = {
    "score_thresh": 0.01,
    "nms_thresh": 0.45,
    "topk_candidates": 400,
    "detections_per_img": 200,
}
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif("not torch.cuda.is_available()"))]
# Default boxes of 10 × 10 pixels, in a row with gaps of 10.
ROW = torch.tensor([[20.0 * i, 0, 20 * i + 10, 10] for i in range(4)])


def probabilities(*rows):
    """Logits whose softmax is these rows, the background filled in."""
    p = torch.tensor(rows)
    return torch.cat([1 - p.sum(-1, keepdim=True), p], -1).log()


def postprocess(logits, offsets, boxes, size, **options):
    outputs = RawOutputs(logits, offsets, boxes)
    return postprocessing.postprocess(outputs, size, PostprocessSettings(**options))


def by_hand(logits, offsets=None, size=(100, 100), **changed):
    """Postprocess one picture of the row of default boxes, as lists of box, label, score."""
    boxes = ROW[: len(logits)]
    offsets = torch.zeros(len(logits), 4) if offsets is None else torch.tensor(offsets)
    found = postprocess(logits[None], offsets[None], boxes, size, **SETTINGS | changed)[0]
    return [
        ([round(x, 3) for x in box], label, round(score, 4))
        for box, label, score in zip(
            found.boxes.tolist(), found.labels.tolist(), found.scores.tolist(), strict=True
        )
    ]


def torchvisions(logits, offsets, boxes, size, **options):
    """What torchvision finds, by a network that holds these settings."""
    ssd = build_ssd(ssd_architecture("ssd300", ("a",), widths=0.01))
    for name, value in options.items():
        setattr(ssd, name, value)
    outputs = {"cls_logits": logits, "bbox_regression": offsets}
    found = ssd.postprocess_detections(outputs, [boxes] * len(logits), [size] * len(logits))
    return [SimpleNamespace(**each) for each in found]


def slow(logits, offsets, boxes, size, *, score_thresh, nms_thresh, **most):
    """Find by plain loops; also gives the smallest margin of all decisions."""
    candidates, detections = most["topk_candidates"], most["detections_per_img"]
    margins, result = [math.inf], []
    for picture, offset in zip(logits.double(), offsets.double().tolist(), strict=True):
        decoded = [
            decode(o, box, size) for o, box in zip(offset, boxes.double().tolist(), strict=True)
        ]
        rows, kept = picture.softmax(-1).tolist(), []
        for label in range(1, picture.shape[-1]):
            scores = [row[label] for row in rows]
            ranked = sorted(range(len(scores)), key=lambda i: -scores[i])
            ranked = [i for i in ranked if scores[i] > score_thresh][:candidates]
            survivors = []
            for i in ranked:
                overlaps = [overlap(decoded[i], decoded[j]) for j in survivors]
                margins += [abs(each - nms_thresh) for each in overlaps]
                if all(each <= nms_thresh for each in overlaps):
                    survivors.append(i)
            kept += [(scores[i], label, decoded[i]) for i in survivors]
            if 0 < score_thresh < 1:
                margins += [abs(score - score_thresh) for score in scores]
        ordered = sorted(score for row in rows for score in row[1:])
        margins += [(b - a) / b for a, b in itertools.pairwise(ordered)]
        result.append(sorted(kept, reverse=True)[:detections])
    return [
        SimpleNamespace(
            boxes=torch.tensor([box for _, _, box in each]).reshape(-1, 4),
            labels=torch.tensor([label for _, label, _ in each], dtype=torch.int64),
            scores=torch.tensor([score for score, _, _ in each]),
        )
        for each in result
    ], min(margins)


def decode(offset, box, size):
    """One box, by the formulas of the SSD paper with variances of 0.1 and 0.2."""
    corners = []
    for axis, limit in ((0, size[1]), (1, size[0])):
        side = box[axis + 2] - box[axis]
        centre = (box[axis] + box[axis + 2]) / 2 + 0.1 * offset[axis] * side
        side *= math.exp(min(0.2 * offset[axis + 2], math.log(1000 / 16)))
        corners.append([min(max(centre + sign * side / 2, 0), limit) for sign in (-1, 1)])
    (x1, x2), (y1, y2) = corners
    return [x1, y1, x2, y2]


def overlap(a, b):
    """Intersection over union."""
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = sum((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (a, b))
    return width * height / (areas - width * height) if areas else 0


def assert_same(found, expected):
    """Each detection has an equal in the other list; equal scores may be in any order."""
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.labels.shape == theirs.labels.shape
        alike = (
            ((ours.boxes[:, None] - theirs.boxes).abs().amax(-1) < 1e-4)
            & ((ours.scores[:, None] - theirs.scores).abs() < 1e-6)
            & (ours.labels[:, None] == theirs.labels)
        )
        assert alike.any(0).all()
        assert alike.any(1).all()
        assert ours.scores.tolist() == sorted(ours.scores.tolist(), reverse=True)


def drawn(seed, n, b, classes, spread=1.0, background=0.0, size=(200, 300)):
    """Raw outputs and default boxes from a seed."""
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(n, b, classes, generator=generator)
    logits[..., 0] += background
    offsets = 2 * torch.randn(n, b, 4, generator=generator)
    centre = torch.rand(b, 2, generator=generator) * torch.tensor([size[1], size[0]])
    side = 20 + 60 * torch.rand(b, 2, generator=generator)
    return logits, offsets, torch.cat([centre - side / 2, centre + side / 2], 1), size


def test_offsets_move_and_stretch_default_boxes():
    logits = probabilities([0.9], [0.8], [0.7], [0.6])
    offsets = [
        [5.0, 0, 0, 0],  # half a side to the right
        [0, 30, 5 * math.log(2), 0],  # three sides down, and twice as wide
        [0, 0, 0, 5 * math.log(3)],  # three times as high, the upper third outside
        [0, 0, 1000, 0],  # no more than 62.5 times as wide, and clipped
    ]
    assert by_hand(logits, offsets, size=(35, 90), nms_thresh=1.0) == [
        ([5, 0, 15, 10], 1, 0.9),
        ([15, 30, 35, 35], 1, 0.8),
        ([40, 0, 50, 20], 1, 0.7),
        ([0, 0, 90, 10], 1, 0.6),
    ]
    stretched = by_hand(logits, offsets, size=(35, 10_000), nms_thresh=1.0)[-1][0]
    assert stretched == [0, 0, 65 + 312.5, 10]


def test_the_lower_scored_of_two_overlapping_boxes_of_a_class_is_suppressed():
    # The second is the first, moved by 2 of 10 pixels: an IoU of 8/12.
    offsets = [[0.0, 0, 0, 0], [-18, 0, 0, 0]]
    first, second = [0, 0, 10, 10], [2, 0, 12, 10]
    same = probabilities([0.6, 0.1], [0.7, 0.05])
    assert by_hand(same, offsets, nms_thresh=0.6) == [(second, 1, 0.7), (first, 2, 0.1)]
    assert by_hand(same, offsets, nms_thresh=0.7) == [
        (second, 1, 0.7),
        (first, 1, 0.6),
        (first, 2, 0.1),
        (second, 2, 0.05),
    ]


def test_candidates_are_counted_class_by_class():
    a, b, c, d = ROW.tolist()
    logits = probabilities([0.5, 0.31], [0.6, 0.32], [0.1, 0.33], [0.2, 0.005])
    assert by_hand(logits, topk_candidates=2) == [
        (b, 1, 0.6),
        (a, 1, 0.5),
        (c, 2, 0.33),
        (b, 2, 0.32),
    ]
    assert (
        by_hand(logits, topk_candidates=2, detections_per_img=3)
        == by_hand(logits, topk_candidates=2)[:3]
    )
    assert by_hand(logits, topk_candidates=3)[-2:] == [(a, 2, 0.31), (d, 1, 0.2)]


def test_a_suppressed_candidate_is_not_replaced():
    # The two candidates coincide; the third box overlaps neither, but is no candidate.
    logits = probabilities([0.9], [0.8], [0.7])
    offsets = [[0.0, 0, 0, 0], [-20, 0, 0, 0], [0, 0, 0, 0]]
    assert by_hand(logits, offsets, topk_candidates=2) == [(ROW[0].tolist(), 1, 0.9)]


def test_nothing_is_found_where_all_boxes_are_background():
    logits = torch.zeros(3, 4, 5)
    logits[..., 0] = 20
    for each in postprocess(logits, torch.zeros(3, 4, 4), ROW, (100, 100), **SETTINGS):
        assert each.boxes.shape == (0, 4)
        assert each.labels.dtype == torch.int64
        assert each.boxes.dtype == each.scores.dtype == torch.float32


def test_a_score_must_exceed_the_threshold():
    logits = torch.zeros(1, 4, 2)
    assert len(postprocess(logits, torch.zeros(1, 4, 4), ROW, (100, 100), **SETTINGS)[0].scores)
    changed = SETTINGS | {"score_thresh": 0.5}
    found = postprocess(logits, torch.zeros(1, 4, 4), ROW, (100, 100), **changed)
    assert len(found[0].scores) == 0


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 3),
    b=st.integers(1, 25),
    classes=st.integers(2, 5),
    spread=st.sampled_from([0.5, 2.0, 4.0]),
    score=st.sampled_from([0.0, 0.01, 0.2, 0.7, 1.0]),
    nms=st.sampled_from([0.1, 0.3, 0.45, 0.9]),
    candidates=st.integers(1, 30),
    detections=st.integers(1, 40),
    limits=st.sampled_from([(8000, 4, 400), (0, 4, 400), (0, 1, 3), (5, 2, 1)]),
)
def test_the_slow_loop_finds_the_same(
    seed, n, b, classes, spread, score, nms, candidates, detections, limits
):
    raw = drawn(seed, n, b, classes, spread)
    options = {
        "score_thresh": score,
        "nms_thresh": nms,
        "topk_candidates": candidates,
        "detections_per_img": detections,
    }
    expected, margin = slow(*raw, **options)
    assume(margin > 1e-6)
    with pytest.MonkeyPatch.context() as patch:
        for name, limit in zip(("_FEW", "_FIRST", "_AT_ONCE"), limits, strict=True):
            patch.setattr(postprocessing, name, limit)
        assert_same(postprocess(*raw, **options), expected)
    assert_same(torchvisions(*raw, **options), expected)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("spread", "background", "changed"),
    [
        (1.0, 8.0, {}),  # a few of each class
        (2.0, 4.0, {}),  # hundreds
        (1.0, 0.0, {}),  # nearly all
        (1.0, 0.0, {"score_thresh": 0.0, "topk_candidates": 2000}),  # all
        (2.0, 4.0, {"topk_candidates": 7}),
        (1.0, 0.0, {"topk_candidates": 7, "detections_per_img": 30}),
        (1.0, 0.0, {"nms_thresh": 0.0}),  # few are left of many
        (1.0, 0.0, {"detections_per_img": 1200}),
    ],
)
@pytest.mark.parametrize("classes", [2, 21])
def test_torchvision_finds_the_same(device, spread, background, changed, classes):
    logits, offsets, boxes, size = drawn(1, 3, 1000, classes, spread, background)
    raw = (logits.to(device), offsets.to(device), boxes.to(device), size)
    options = SETTINGS | changed
    expected = torchvisions(*raw, **options)
    assert sum(len(each.scores) for each in expected) > 0
    assert_same(postprocess(*raw, **options), expected)


def test_more_entries_are_tried_where_the_best_coincide():
    # In the first picture all boxes but those of the lowest scores coincide.
    logits, offsets, boxes, size = drawn(2, 2, 1000, 21)
    boxes[:900] = torch.tensor([10.0, 10, 50, 50])
    offsets[0, :900] = 0
    logits[0, :900, 1:] += 5
    options = SETTINGS | {"detections_per_img": 100}
    assert logits.softmax(-1)[..., 1:].gt(0.01).sum() > 2 * postprocessing._FEW
    assert_same(
        postprocess(logits, offsets, boxes, size, **options),
        torchvisions(logits, offsets, boxes, size, **options),
    )


def test_pictures_of_a_batch_are_independent():
    parts = [
        drawn(3, 1, 500, 4, spread, back) for spread, back in ((1, 0), (1, 9), (2, 3), (1, 40))
    ]
    boxes, size = parts[0][2:]
    logits, offsets = (torch.cat([part[i] for part in parts]) for i in range(2))
    single = [
        postprocess(logits[i : i + 1], offsets[i : i + 1], boxes, size, **SETTINGS)[0]
        for i in range(4)
    ]
    assert [len(each.scores) > 0 for each in single] == [True, True, True, False]
    assert_same(postprocess(logits, offsets, boxes, size, **SETTINGS), single)


def test_equal_scores_are_limited_to_the_number_wanted():
    _, offsets, boxes, size = drawn(4, 2, 1000, 21)
    found = postprocess(torch.zeros(2, 1000, 21), offsets, boxes, size, **SETTINGS)
    assert [len(each.scores) for each in found] == [200, 200]


def test_detect_finds_what_torchvisions_network_finds():
    torch.manual_seed(0)
    ssd = build_ssd(ssd_architecture("ssd300", ("a", "b"), widths=0.03)).eval()
    for parameter in ssd.head.parameters():
        torch.nn.init.normal_(parameter, std=0.005)
    pictures = torch.randint(0, 256, (2, 3, 300, 300), dtype=torch.uint8)
    with torch.no_grad():
        expected = [SimpleNamespace(**each) for each in ssd(list(pictures / 255))]
    assert sum(len(each.scores) for each in expected) > 0
    assert_same(detect(ssd, pictures), expected)
