import pytest
import torch

from secateur.exporting.agreement import Tolerance, compare_detections, compare_scores
from secateur.tasks.average_precision import Detections

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
    result = compare_detections([ours], [theirs], TOLERANCE, least=0.1, most=most, nms=0.45)
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
def test_how_far_a_counterpart_may_lie(other: Row, agrees: bool) -> None:
    assert compare(found(A), found(other)) == ((2, 2, True) if agrees else (2, 0, False))


def test_the_differences_are_told() -> None:
    result = compare_detections(
        [found(A)],
        [found((0.25, 0, 10, 10, 1, 0.895))],
        TOLERANCE,
        least=0.1,
        most=200,
        nms=0.45,
    )
    assert result.worst_pixels == pytest.approx(0.25)
    assert result.worst_score == pytest.approx(0.005)


def test_an_object_too_many() -> None:
    assert compare(found(A, B), found(A)) == (3, 2, False)


def test_at_the_least_score_an_object_may_be_missing() -> None:
    faint: Row = (70, 70, 90, 90, 1, 0.105)
    assert compare(found(A, faint), found(A)) == (2, 2, True)


def test_the_last_place_may_go_to_another() -> None:
    one, other = (70, 70, 90, 90, 1, 0.3), (20, 70, 40, 90, 1, 0.3)
    assert compare(found(A, one), found(A, other), most=2) == (2, 2, True)
    assert compare(found(A, one), found(A, other), most=3) == (4, 2, False)


def test_at_the_limit_of_nms_an_object_may_be_missing() -> None:
    # 10 by 10, moved by x: IoU = (10 - x) / (10 + x) = 0.45 at x = 3.7931.
    just: Row = (3.7931, 0, 13.7931, 10, 1, 0.5)
    assert compare(found(A, just), found(A)) == (2, 2, True)
    clear: Row = (6, 0, 16, 10, 1, 0.5)
    assert compare(found(A, clear), found(A)) == (3, 2, False)


def test_what_an_excused_object_left_out_is_excused() -> None:
    just: Row = (3.7931, 0, 13.7931, 10, 1, 0.5)
    behind: Row = (5, 0, 15, 10, 1, 0.4)  # left out beside just, but not beside A
    assert compare(found(A, just), found(A, behind)) == (2, 2, True)


def test_nothing_found() -> None:
    assert compare(found(), found()) == (0, 0, True)
    assert compare(found(), found(A)) == (1, 0, False)


def test_only_edges_are_no_agreement() -> None:
    faint: Row = (70, 70, 90, 90, 1, 0.105)
    assert compare(found(faint), found()) == (0, 0, False)


def test_classes() -> None:
    ours = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    near = ours + torch.tensor([[0.005, -0.005], [0.02, -0.02]])
    assert compare_scores(ours, near, TOLERANCE).matched == 1
    assert not compare_scores(ours, near, TOLERANCE).within(TOLERANCE)
    assert compare_scores(ours, ours, TOLERANCE).within(TOLERANCE)
