from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from secateur.data.detection_set import AnnotatedPicture, DetectionSet
from secateur.data.formats.gtsdb import read_gtsdb
from secateur.data.splits import split_pictures
from secateur.errors import DataError


def dataset(*labels: list[int]) -> DetectionSet:
    """One picture for each list of labels; no file is read."""
    return DetectionSet(
        tuple("abcdefgh"),
        tuple(
            AnnotatedPicture(
                Path(f"{index}.jpg"),
                10,
                10,
                torch.tensor([[0.0, 0, 10, 10]] * len(each)).reshape(-1, 4),
                torch.tensor(each, dtype=torch.int64),
                torch.zeros(len(each), dtype=torch.bool),
            )
            for index, each in enumerate(labels)
        ),
    )


def names(part: DetectionSet) -> list[str]:
    return [picture.path.stem for picture in part.pictures]


def labels_in(part: DetectionSet) -> set[int]:
    return {label for picture in part.pictures for label in picture.labels.tolist()}


@given(
    st.lists(st.lists(st.integers(1, 8), max_size=3), min_size=2, max_size=20),
    st.floats(0.1, 0.9),
    st.integers(0, 2**32),
)
def test_parts_are_the_whole(labels: list[list[int]], share: float, seed: int) -> None:
    whole = dataset(*labels)
    count = round(share * len(labels))
    if not 0 < count < len(labels):
        with pytest.raises(DataError, match="change the share"):
            split_pictures(whole, share, seed)
        return
    training, validation = split_pictures(whole, share, seed)
    assert len(validation.pictures) == count
    for part in (training, validation):
        assert part.classes == whole.classes
        assert names(part) == [name for name in names(whole) if name in names(part)]
    assert sorted(names(training) + names(validation)) == sorted(names(whole))
    again = split_pictures(whole, share, seed)
    assert names(again[1]) == names(validation)


@pytest.mark.parametrize("seed", range(10))
def test_each_class_is_in_both_parts(seed: int) -> None:
    rare = [[1], [1], [2, 2], [2], [3], [3, 3]]
    training, validation = split_pictures(dataset(*[[4]] * 20, *rare, []), 0.2, seed)
    assert labels_in(training) == labels_in(validation) == {1, 2, 3, 4}


@pytest.mark.parametrize("seed", range(10))
def test_the_only_picture_of_a_class_is_for_training(seed: int) -> None:
    training, _ = split_pictures(dataset([1], [2], [2], [2]), 0.5, seed)
    assert 1 in labels_in(training)


def test_the_split_depends_on_the_seed() -> None:
    whole = dataset(*[[1]] * 30)
    assert names(split_pictures(whole, 0.5, 0)[1]) != names(split_pictures(whole, 0.5, 1)[1])


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9, 1.0, -1.0, 2.0])
def test_empty_part(share: float) -> None:
    with pytest.raises(DataError, match="empty; change the share"):
        split_pictures(dataset([1], [1]), share, 0)


def test_real_pictures(real_data: Path) -> None:
    whole = read_gtsdb(real_data / "gtsdb", "train", "43")
    training, validation = split_pictures(whole, 0.15, 0)
    assert (len(training.pictures), len(validation.pictures)) == (510, 90)
    holders = [label for picture in whole.pictures for label in set(picture.labels.tolist())]
    assert labels_in(training) == set(holders)
    assert labels_in(validation) == {label for label in holders if holders.count(label) > 1}
