"""Validation splits, drawn from the pictures to train on."""

import torch

from secateur.data.classification_set import ClassificationSet
from secateur.data.detection_set import DetectionSet
from secateur.errors import DataError


def split_pictures(
    dataset: DetectionSet, share: float, seed: int
) -> tuple[DetectionSet, DetectionSet]:
    """Split annotated pictures at random into training and validation; their order is kept.

    A greedy search puts each class with at least two pictures into both parts where it finds room.
    The only picture of a class is in the training part.

    Args:
        dataset: the pictures.
        share: share of the pictures that goes to validation, between 0 and 1.
        seed: the same seed gives the same split.

    Returns:
        The training part and the validation part.

    Raises:
        DataError: a part would be empty.
    """
    total = len(dataset)
    count = round(share * total)
    if not 0 < count < total:
        raise DataError(
            f"a validation share of {share:g} takes {count} of {total} pictures and leaves a part "
            "empty; change the share or add pictures"
        )
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed)).tolist()
    holders: dict[int, list[int]] = {}
    for index in order:
        for label in set(dataset.pictures[index].labels.tolist()):
            holders.setdefault(label, []).append(index)
    training: set[int] = set()
    validation: set[int] = set()
    # The rarest class first: it has the fewest pictures to choose from.
    for _, indices in sorted(holders.items(), key=lambda item: (len(item[1]), item[0])):
        for part, room in ((training, total - count), (validation, count)):
            free = [index for index in indices if index not in training | validation]
            if free and len(part) < room and part.isdisjoint(indices):
                part.add(free[0])
    rest = [index for index in order if index not in training | validation]
    validation.update(rest[: count - len(validation)])
    return (
        dataset.subset([i for i in range(total) if i not in validation]),
        dataset.subset(sorted(validation)),
    )


def split_tracks(
    dataset: ClassificationSet, share: float, seed: int
) -> tuple[ClassificationSet, ClassificationSet]:
    """Split pictures at random into training and validation, without dividing any track.

    The order of the pictures is kept. The share is taken of each class's tracks, so that every
    class with at least two tracks is in both parts; the only track of a class is in the training
    part. Frames of one track are nearly identical: dividing a track would inflate validation
    accuracy.

    Args:
        dataset: the pictures. A track counts for the class of its first picture.
        share: share of the tracks that goes to validation, between 0 and 1.
        seed: the same seed gives the same split.

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
