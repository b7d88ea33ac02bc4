"""Test pictures that show what two detectors do, with copies to look at."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms.v2.functional import to_pil_image

from secateur.data.detection_set import AnnotatedPicture, DetectionSet
from secateur.data.loaders import read_picture
from secateur.data.source import picture_name
from secateur.files.atomic_write import atomic_write
from secateur.tasks.detection.average_precision import Detections, judge

EACH = 3  # pictures of a kind
LEAST_SCORE = 0.05  # of a detection that is listed
SURE = 0.4  # likewise, that counts; what detect draws
MOST = 100  # detections of a picture that are listed
LONGEST_SIDE = 1024  # of a copy, pixels
JPEG_QUALITY = 80

_Floats = NDArray[np.float64]


def detection_examples(
    dense: Sequence[Detections],
    slim: Sequence[Detections],
    dataset: DetectionSet,
    root: Path,
    folder: Path,
) -> dict[str, Any]:
    """Choose pictures, copy them, and list what is in them and what was found.

    Args:
        dense: what the network before found in each picture.
        slim: what the network after found.
        dataset: the pictures.
        root: the data's folder, which names are given below.
        folder: where the copies go, as ``01.jpg`` and so on.

    Raises:
        DataError: a picture can no longer be read.
    """
    pictures, classes = dataset.pictures, dataset.classes
    found = {"dense": dense, "slim": slim}
    outcomes = {name: judge(each, pictures, classes) for name, each in found.items()}
    objects = np.array([int((~picture.difficult).sum()) for picture in pictures])
    qualities = {
        name: np.array([*map(quality, each, outcomes[name], objects.tolist())])
        for name, each in found.items()
    }
    rows = []
    chosen = choose(qualities["dense"], qualities["slim"], objects)
    for number, (kind, at) in enumerate(chosen, start=1):
        picture, file = pictures[at], f"{number:02}.jpg"
        _copy(picture, folder / file)
        rows.append(
            {
                "kind": kind,
                "file": file,
                "name": picture_name(picture.path, root),
                "width": picture.width,
                "height": picture.height,
                "truth": _truth(picture, classes),
                **{n: _listed(found[n][at], outcomes[n][at], classes) for n in found},
                "quality": {n: round(float(qualities[n][at]), 4) for n in found},
            }
        )
    return {"kind": "detector", "least_score": LEAST_SCORE, "pictures": rows}


def quality(found: Detections, outcomes: NDArray[np.str_], objects: int) -> float:
    """How well a network did on a picture, 1 at best: what it is sure of, right less wrong.

    Args:
        found: in the picture.
        outcomes: of each, as ``judge`` gives them.
        objects: how many there are to find.

    Returns:
        The scores of the hits less those of the false detections ÷ objects, or ÷ 1 where there
        are none; detections below ``SURE`` do not count, for there may be many.
    """
    scores = found.scores.double().numpy()
    sure = scores >= SURE
    right = scores[sure & (outcomes == "hit")].sum()
    wrong = scores[sure & (outcomes == "false")].sum()
    return float(right - wrong) / max(1, objects)


def choose(dense: _Floats, slim: _Floats, objects: NDArray[np.int64]) -> Iterator[tuple[str, int]]:
    """Choose pictures by the quality of two networks on them, (N,) each.

    Each picture is taken once, for the first of its kinds in this order: ``worst`` (for slim),
    ``lost`` (slim falls most behind dense), ``best``, ``typical`` (nearest to slim's median).
    Of equals those with more objects come first, then the earlier.
    """
    median = np.median(slim) if len(slim) else 0.0
    behind = dense - slim
    left = np.ones(len(slim), bool)
    for kind, key, fits in (
        ("worst", slim, left),
        ("lost", -behind, behind > 0),
        ("best", -slim, left),
        ("typical", np.abs(slim - median), left),
    ):
        order = np.lexsort((-objects, key))  # stable
        for at in order[(left & fits)[order]][:EACH].tolist():
            left[at] = False
            yield kind, at


def _copy(picture: AnnotatedPicture, path: Path) -> None:
    image: Image.Image = to_pil_image(read_picture(picture))
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))  # never enlarges
    with atomic_write(path) as draft:
        image.save(draft, "jpeg", quality=JPEG_QUALITY)


def _truth(picture: AnnotatedPicture, classes: Sequence[str]) -> list[dict[str, Any]]:
    columns = (picture.labels.tolist(), picture.boxes.tolist(), picture.difficult.tolist())
    return [
        {"class": classes[label - 1], "box": _rounded(box), "difficult": difficult}
        for label, box, difficult in zip(*columns, strict=True)
    ]


def _listed(
    found: Detections, outcomes: NDArray[np.str_], classes: Sequence[str]
) -> list[dict[str, Any]]:
    order = found.scores.argsort(descending=True, stable=True).tolist()
    return [
        {
            "class": classes[int(found.labels[i]) - 1],
            "box": _rounded(found.boxes[i].tolist()),
            "score": round(float(found.scores[i]), 4),
            "outcome": str(outcomes[i]),
        }
        for i in order[:MOST]
        if float(found.scores[i]) >= LEAST_SCORE
    ]


def _rounded(box: Sequence[float]) -> list[float]:
    return [round(side, 1) for side in box]
