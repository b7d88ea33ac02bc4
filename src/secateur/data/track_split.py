"""A validation split of pictures with one class each, that keeps every track whole."""

import torch

from secateur.data.classification_set import ClassificationSet
from secateur.errors import DataError


def split_tracks(
    dataset: ClassificationSet, share: float, seed: int
) -> tuple[ClassificationSet, ClassificationSet]:
    """Cut a random validation split from a set; the order of the pictures stays.

    The share is taken of the tracks of each class, rounded, so that every class with two tracks or
    more is in both parts; a class with a single track is in the training part. Frames of one track
    are so alike that they would tell the predictions if a track were parted.

    Args:
        dataset: the whole set. A track counts for the class of its first picture.
        share: of the tracks that go to validation, between 0 and 1.
        seed: of the draw; the same seed gives the same split.

    Returns:
        The training part and the validation part.

    Raises:
        DataError: a part would be empty.
    """
    if not 0 < share < 1:
        raise DataError(
            f"a validation share of {share:g} leaves a part empty; choose one between 0 and 1"
        )
    by_class: dict[int, list[str]] = {}
    seen: set[str] = set()
    for track, label in zip(dataset.tracks, dataset.labels.tolist(), strict=True):
        if track not in seen:
            seen.add(track)
            by_class.setdefault(label, []).append(track)
    generator = torch.Generator().manual_seed(seed)
    chosen: set[str] = set()
    for _, tracks in sorted(by_class.items()):
        order = torch.randperm(len(tracks), generator=generator).tolist()
        count = min(max(round(share * len(tracks)), 1), len(tracks) - 1)
        chosen.update(tracks[index] for index in order[:count])
    if not chosen:
        raise DataError(
            "no class has two tracks, so a validation split would be empty; add pictures"
        )
    return (
        dataset.subset([i for i, track in enumerate(dataset.tracks) if track not in chosen]),
        dataset.subset([i for i, track in enumerate(dataset.tracks) if track in chosen]),
    )
