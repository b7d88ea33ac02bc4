import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from secateur.data.classification_set import ClassificationSet
from secateur.data.splits import split_tracks
from secateur.errors import DataError


def dataset(*pictures: tuple[int, str]) -> ClassificationSet:
    """One picture of one pixel for each label and track."""
    count = len(pictures)
    return ClassificationSet(
        tuple("abcde"),
        torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(count, 3, 1, 1),
        torch.tensor([label for label, _ in pictures], dtype=torch.int64),
        tuple(f"{index}.png" for index in range(count)),
        tuple(track for _, track in pictures),
    )


def tracks_by_class(part: ClassificationSet) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    for label, track in zip(part.labels.tolist(), part.tracks, strict=True):
        found.setdefault(label, set()).add(track)
    return found


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)), min_size=1, max_size=40),
    st.floats(0.05, 0.95),
    st.integers(0, 2**32),
)
def test_parts_are_the_whole(pictures: list[tuple[int, int]], share: float, seed: int) -> None:
    whole = dataset(*((label, f"{label}/{track}") for label, track in pictures))
    tracks = tracks_by_class(whole)
    if all(len(found) < 2 for found in tracks.values()):
        with pytest.raises(DataError, match="no class has two tracks"):
            split_tracks(whole, share, seed)
        return
    training, validation = split_tracks(whole, share, seed)
    assert sorted(training.names + validation.names) == sorted(whole.names)
    assert not set(training.tracks) & set(validation.tracks)
    for part in (training, validation):
        assert part.classes == whole.classes
        indices = [int(name.removesuffix(".png")) for name in part.names]
        assert indices == sorted(indices) == part.pixels[:, 0, 0, 0].tolist()
        assert part.labels.tolist() == whole.labels[indices].tolist()
    for label, found in tracks.items():
        count = len(tracks_by_class(validation).get(label, ()))
        assert count == (min(max(round(share * len(found)), 1), len(found) - 1))
        assert len(tracks_by_class(training)[label]) == len(found) - count
    assert split_tracks(whole, share, seed)[1].names == validation.names


def test_share_of_each_class() -> None:
    whole = dataset(*[(0, f"a{i}") for i in range(20)], *[(1, f"b{i}") for i in range(10)])
    _, validation = split_tracks(whole, 0.2, 0)
    assert validation.labels.tolist() == [0] * 4 + [1] * 2


def test_the_split_depends_on_the_seed() -> None:
    whole = dataset(*[(0, str(i)) for i in range(30)])
    assert split_tracks(whole, 0.5, 0)[1].names != split_tracks(whole, 0.5, 1)[1].names


def test_the_only_track_of_a_class_is_for_training() -> None:
    training, validation = split_tracks(dataset((0, "x"), (0, "x"), (1, "y"), (1, "z")), 0.9, 0)
    assert training.labels.tolist() == [0, 0, 1]
    assert validation.labels.tolist() == [1]


def test_track_of_two_classes_is_not_divided() -> None:
    training, validation = split_tracks(dataset((0, "x"), (1, "x"), (0, "y"), (1, "z")), 0.5, 0)
    assert {training.tracks, validation.tracks} == {("x", "z"), ("y",)} or {
        training.tracks,
        validation.tracks,
    } == {("y", "z"), ("x", "x")}


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, 2.0, float("nan")])
def test_empty_part(share: float) -> None:
    with pytest.raises(DataError, match="empty; choose one between 0 and 1"):
        split_tracks(dataset((0, "x"), (0, "y")), share, 0)
