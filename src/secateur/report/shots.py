"""Test pictures with what the dense and the slim network found in them, ready to be drawn."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from secateur.errors import RunError
from secateur.report.artifacts import (
    Answer,
    Box,
    ClassifierExamples,
    DetectorExamples,
    DetectorPicture,
    Found,
)

# Width in pixels of a picture that a quarter of the page is enough for.
SMALL = 320
# The confidence that is shown first; what detect draws.
SCORE = 0.4

_KINDS = {
    "worst": "Worst",
    "lost": "Furthest behind dense",
    "best": "Best",
    "typical": "Typical",
}


@dataclass(frozen=True, slots=True)
class DrawnBox:
    """A box as SVG has it.

    Attributes:
        place: its attributes.
        label: beside it.
        x: of the side that the label begins at, pixels of the picture.
        y: of the side that it stands at.
        side: where it goes from there, ``right`` or, near the picture's edge, ``left``.
        below: whether it stands under the box, for want of room.
        outcome: ``hit``, ``false`` or ``ignored``.
        score: 0 to 1.
    """

    place: dict[str, str]
    label: str
    x: float
    y: float
    side: str
    below: bool
    outcome: str = ""
    score: float = 1.0


@dataclass(frozen=True, slots=True)
class Pane:
    """One network's view of a picture; ``count`` says what it finds at first."""

    role: str
    truth: list[DrawnBox]
    found: list[DrawnBox]
    objects: int
    count: str


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture and both networks' views; ``letters`` is the height of text, in its pixels."""

    kind: str
    name: str
    title: str
    width: int
    height: int
    letters: float
    photo: str
    panes: list[Pane]

    @property
    def small(self) -> bool:
        """Whether two pairs of it fit beside each other."""
        return self.width <= SMALL


@dataclass(frozen=True, slots=True)
class Mistake:
    """A picture that the slim classifier took for another."""

    photo: str
    truth: str
    dense: str
    slim: str


def shots(examples: DetectorExamples, folder: Path) -> list[Shot]:
    """Prepare the pictures of a detector; their copies are read from ``folder``.

    Raises:
        RunError: a copy is missing.
    """
    made, numbers = [], dict.fromkeys(_KINDS, 0)
    for picture in examples.pictures:
        numbers[picture.kind] += 1
        side = max(picture.width, picture.height)
        letters = round(side / (24 if picture.width <= SMALL else 40), 1)
        made.append(
            Shot(
                picture.kind,
                picture.name,
                f"{_KINDS[picture.kind]} {numbers[picture.kind]}: {Path(picture.name).name}",
                picture.width,
                picture.height,
                letters,
                _base64(folder / picture.file),
                [_pane(picture, "dense", letters), _pane(picture, "slim", letters)],
            )
        )
    return sorted(made, key=lambda shot: list(_KINDS).index(shot.kind))


def mistakes(examples: ClassifierExamples, folder: Path) -> list[Mistake]:
    """Prepare the pictures of a classifier, likewise."""
    return [
        Mistake(_base64(folder / each.file), each.truth, _answer(each.dense), _answer(each.slim))
        for each in examples.pictures
    ]


def _pane(picture: DetectorPicture, role: str, letters: float) -> Pane:
    found: Sequence[Found] = picture.dense if role == "dense" else picture.slim
    truth = [_drawn(each.box, each.class_name, picture, letters) for each in picture.truth]
    boxes = [
        _drawn(
            each.box,
            f"{each.class_name} {each.score:.0%}",
            picture,
            letters,
            outcome=each.outcome,
            score=each.score,
        )
        # The surest is drawn last, over the others.
        for each in sorted(found, key=lambda each: each.score)
    ]
    objects = sum(not each.difficult for each in picture.truth)
    sure = [each.outcome for each in found if each.score >= SCORE]
    count = f"finds {sure.count('hit')} of {objects}, {sure.count('false')} false"
    return Pane(role, truth, boxes, objects, count)


def _drawn(
    box: Box,
    label: str,
    picture: DetectorPicture,
    letters: float,
    *,
    outcome: str = "",
    score: float = 1.0,
) -> DrawnBox:
    x1, y1, x2, y2 = box
    # A letter is about half as wide as it is high.
    left = x1 + 0.55 * letters * len(label) > picture.width
    below = y1 < 1.3 * letters
    place = {"x": x1, "y": y1, "width": max(0.0, x2 - x1), "height": max(0.0, y2 - y1)}
    return DrawnBox(
        {name: f"{value:.1f}" for name, value in place.items()},
        label,
        x2 if left else x1,
        y2 if below else y1,
        "left" if left else "right",
        below,
        outcome,
        score,
    )


def _answer(answer: Answer) -> str:
    return f"{answer.class_name} {answer.score:.0%}"


def _base64(path: Path) -> str:
    try:
        return base64.b64encode(path.read_bytes()).decode()
    except OSError:
        raise RunError(
            f"{path}: cannot be read; delete {path.parent} and give the run's command again"
        ) from None
