import pytest
import torch

from secateur.export.table import Tolerance
from secateur.export.verification import compare_detections, compare_scores
from secateur.tasks.detection.detections import Detections

TOLERANCE = Tolerance(pixels=0.5, score=0.01, share=1.0)
Row = tuple[float, float, float, float, int, float]  # box, label, score
A: Row = (0, 0, 10, 10, 1, 0.9)
B: Row = (30, 30, 50, 40, 2, 0.6)


def found(*rows: Row) -> Detections:
    return Detections(
        torch.tensor([row[:4] for row in rows], dtype=torch.float32).reshape(-1, 4),
        torch.tensor([row[4] for row in rows], dtype=torch.int64),
        torch.tensor([row[5] for row in rows], dtype=torch.float32),
    )


def compare(ours: Detections, theirs: Detections, most: int = 200) -> tuple[int, int, bool]:
    result = compare_detections([ours], [theirs], TOLERANCE, least=0.1, most=most)
    return result.objects, result.matched, result.within(TOLERANCE)


def test_the_same_in_any_order() -> None:
    assert compare(found(A, B), found(B, A)) == (4, 4, True)


@pytest.mark.parametrize(
    ("other", "agrees"),
    [
        ((0.4, 0, 10, 10, 1, 0.9), True),
        ((0.6, 0, 10, 10, 1, 0.9), False),
        ((0, 0, 10, 10, 1, 0.895), True),
        ((0, 0, 10, 10, 1, 0.88), False),
        ((0, 0, 10, 10, 2, 0.9), False),
    ],
)
def test_a_counterpart_has_the_same_class_and_a_similar_box_and_score(
    other: Row, agrees: bool
) -> None:
    assert compare(found(A), found(other)) == ((2, 2, True) if agrees else (2, 0, False))


def test_the_largest_differences_are_reported() -> None:
    result = compare_detections(
        [found(A)],
        [found((0.25, 0, 10, 10, 1, 0.895))],
        TOLERANCE,
        least=0.1,
        most=200,
    )
    assert result.worst_pixels == pytest.approx(0.25)
    assert result.worst_score == pytest.approx(0.005)


def test_an_extra_object_has_no_counterpart() -> None:
    assert compare(found(A, B), found(A)) == (3, 2, False)


def test_an_object_near_the_score_threshold_may_be_missing() -> None:
    faint: Row = (70, 70, 90, 90, 1, 0.105)
    assert compare(found(A, faint), found(A)) == (2, 2, True)


def test_the_last_object_of_a_full_picture_may_differ() -> None:
    one, other = (70, 70, 90, 90, 1, 0.3), (20, 70, 40, 90, 1, 0.3)
    assert compare(found(A, one), found(A, other), most=2) == (2, 2, True)
    assert compare(found(A, one), found(A, other), most=3) == (4, 2, False)


def test_a_share_of_the_objects_may_be_missing() -> None:
    one: Row = (70, 70, 90, 90, 1, 0.3)
    result = compare_detections([found(A, B, one)], [found(A, B)], TOLERANCE, least=0.1, most=200)
    assert (result.matched, result.objects) == (4, 5)
    assert result.within(Tolerance(0.5, 0.01, share=0.8))
    assert not result.within(Tolerance(0.5, 0.01, share=0.81))


def test_no_objects() -> None:
    assert compare(found(), found()) == (0, 0, True)
    assert compare(found(), found(A)) == (1, 0, False)


def test_objects_near_the_threshold_alone_are_not_an_agreement() -> None:
    faint: Row = (70, 70, 90, 90, 1, 0.105)
    assert compare(found(faint), found()) == (0, 0, False)


def test_class_probabilities() -> None:
    ours = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    near = ours + torch.tensor([[0.005, -0.005], [0.02, -0.02]])
    assert compare_scores(ours, near, TOLERANCE).matched == 1
    assert not compare_scores(ours, near, TOLERANCE).within(TOLERANCE)
    assert compare_scores(ours, ours, TOLERANCE).within(TOLERANCE)
