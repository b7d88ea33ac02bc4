"""A validation split, cut from the pictures for training."""

import torch

from secateur.data.detection_set import DetectionSet
from secateur.errors import DataError


def split_validation(
    dataset: DetectionSet, share: float, seed: int
) -> tuple[DetectionSet, DetectionSet]:
    """Cut a random validation split from a set; the order of the pictures stays.

    A class with two pictures or more has one in both parts where the greedy search finds room for
    it; a class with a single picture has it in the training part.

    Args:
        dataset: the whole set.
        share: of the pictures that go to validation, between 0 and 1.
        seed: of the draw; the same seed gives the same split.

    Returns:
        The training part and the validation part.

    Raises:
        DataError: a part would be empty.
    """
    total = len(dataset.pictures)
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
        DetectionSet(
            dataset.classes,
            tuple(each for i, each in enumerate(dataset.pictures) if i not in validation),
        ),
        DetectionSet(
            dataset.classes,
            tuple(each for i, each in enumerate(dataset.pictures) if i in validation),
        ),
    )
