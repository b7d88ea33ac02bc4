"""Test pictures that compare two detectors, with copies."""

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
from secateur.tasks.detection.average_precision import judge
from secateur.tasks.detection.detections import Detections

PICTURES_OF_A_KIND = 3
LEAST_SCORE = 0.05  # of a listed detection
SURE = 0.4  # least score of a detection that counts for a picture's quality, and is drawn
MOST_LISTED = 100  # detections of a picture
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
    """Choose pictures, copy them, and list their objects and detections.

    Args:
        dense: the dense network's detections in each picture.
        slim: the slim network's detections in each picture.
        dataset: the pictures.
        root: the data's folder, to which the listed names are relative.
        folder: where copies are written, as ``01.jpg`` and so on.

    Returns:
        The content of a ``run.records.DetectorExamples``.

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
            }
        )
    return {"kind": "detector", "least_score": LEAST_SCORE, "pictures": rows}


def quality(found: Detections, outcomes: NDArray[np.str_], objects: int) -> float:
    """Rate the detections in a picture: (scores of hits − scores of false positives) ÷ objects.

    Args:
        found: the detections; those below ``SURE`` are not counted, since they can be many.
        outcomes: of each detection, as ``judge`` gives them.
        objects: number of objects that are not difficult; 0 counts as 1.

    Returns:
        At most 1.
    """
    scores = found.scores.double().numpy()
    sure = scores >= SURE
    right = scores[sure & (outcomes == "hit")].sum()
    wrong = scores[sure & (outcomes == "false")].sum()
    return float(right - wrong) / max(1, objects)


def choose(dense: _Floats, slim: _Floats, objects: NDArray[np.int64]) -> Iterator[tuple[str, int]]:
    """Choose pictures by the two networks' qualities on them, (N,) each.

    The kinds are, in this order, ``worst`` (lowest quality of slim), ``lost`` (largest loss from
    dense to slim), ``best`` and ``typical`` (nearest to slim's median). A picture is chosen once.
    Of equal pictures the one with more objects is chosen, then the earlier one.

    Yields:
        Kind and index of a picture.
    """
    median = np.median(slim) if len(slim) else 0.0
    loss = dense - slim
    free = np.ones(len(slim), bool)
    for kind, key, eligible in (
        ("worst", slim, free),
        ("lost", -loss, loss > 0),
        ("best", -slim, free),
        ("typical", np.abs(slim - median), free),
    ):
        order = np.lexsort((-objects, key))  # stable
        for at in order[(free & eligible)[order]][:PICTURES_OF_A_KIND].tolist():
            free[at] = False
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
        for i in order[:MOST_LISTED]
        if float(found.scores[i]) >= LEAST_SCORE
    ]


def _rounded(box: Sequence[float]) -> list[float]:
    return [round(side, 1) for side in box]
