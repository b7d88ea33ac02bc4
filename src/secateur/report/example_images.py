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
    Truth,
)
from secateur.tasks.detection.examples import SURE

# Width in pixels of a picture that a quarter of the page is enough for.
SMALL = 320
# Of the page's pixels: width of a picture, of a small one, largest height, and letters.
WIDE, NARROW, HIGH, LETTERS = 530, 260, 512, 11.5
# The confidence that is shown first: the one that the pictures were chosen by.
SCORE = SURE

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
        quiet: whether it is hidden, for another label is there.
        outcome: ``hit``, ``false`` or ``ignored``.
        score: 0 to 1.
    """

    place: dict[str, str]
    label: str
    x: float
    y: float
    side: str
    below: bool
    quiet: bool
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
    small = all(picture.width <= SMALL for picture in examples.pictures)
    for picture in examples.pictures:
        numbers[picture.kind] += 1
        scale = min((NARROW if small else WIDE) / picture.width, HIGH / picture.height)
        letters = round(LETTERS / scale, 1)
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
    labels = _Labels(picture, letters)

    def draw(each: Found) -> DrawnBox:
        label = f"{each.class_name} {each.score:.0%}"
        return labels.drawn(each.box, label, each.outcome, each.score)

    # The surest gets its label first, so that no confidence that is asked for uncovers two at one
    # place; and it is drawn last, over the others.
    surest = sorted(found, key=lambda each: -each.score)
    boxes = [draw(each) for each in surest if each.score >= SCORE]
    hits = [each for each in found if each.outcome == "hit" and each.score >= SCORE]
    truth = [
        labels.drawn(each.box, each.class_name, below=True, hidden=_is_found(each, hits))
        for each in picture.truth
    ]
    boxes += [draw(each) for each in surest if each.score < SCORE]
    boxes.reverse()
    objects = sum(not each.difficult for each in picture.truth)
    sure = [each.outcome for each in found if each.score >= SCORE]
    count = f"finds {sure.count('hit')} of {objects}, {sure.count('false')} false"
    return Pane(role, truth, boxes, objects, count)


def _is_found(truth: Truth, hits: Sequence[Found]) -> bool:
    """Whether a hit's label says already what is there."""
    return any(hit.class_name == truth.class_name and _meet(hit.box, truth.box) for hit in hits)


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


class _Labels:
    """Places for the labels of a picture's boxes; none lies on an earlier one."""

    def __init__(self, picture: DetectorPicture, letters: float) -> None:
        self.width = picture.width
        self.height = picture.height
        self.letters = letters
        self.taken: list[Box] = []

    def drawn(
        self,
        box: Box,
        label: str,
        outcome: str = "",
        score: float = 1.0,
        *,
        below: bool = False,
        hidden: bool = False,
    ) -> DrawnBox:
        """Draw a box with its label above it, or below where that is asked or has the room."""
        x1, y1, x2, y2 = box
        # A letter is about half as wide as it is high.
        wide, high = 0.55 * self.letters * len(label), 1.3 * self.letters
        left = x1 + wide > self.width
        near = x2 - wide if left else x1
        above = (near, y1 - high, near + wide, y1)
        under = (near, y2, near + wide, y2 + high)
        order = [(under, True), (above, False)] if below else [(above, False), (under, True)]
        free = [
            (place, is_below)
            for place, is_below in order
            if place[1] >= 0
            and place[3] <= self.height
            and not any(_meet(place, other) for other in self.taken)
        ]
        quiet = hidden or not free
        place, is_below = free[0] if free else order[0]
        if not quiet:
            self.taken.append(place)
        sides = {"x": x1, "y": y1, "width": max(0.0, x2 - x1), "height": max(0.0, y2 - y1)}
        return DrawnBox(
            {name: f"{value:.1f}" for name, value in sides.items()},
            label,
            x2 if left else x1,
            y2 if is_below else y1,
            "left" if left else "right",
            is_below,
            quiet,
            outcome,
            score,
        )


def _answer(answer: Answer) -> str:
    return f"{answer.class_name} {answer.score:.0%}"


def _base64(path: Path) -> str:
    try:
        if path.is_symlink():  # a report is made to be sent on
            raise OSError
        return base64.b64encode(path.read_bytes()).decode()
    except (OSError, ValueError):
        raise RunError(
            f"{path}: cannot be read; delete {path.parent} and give the run's command again"
        ) from None
