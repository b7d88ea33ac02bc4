"""Test pictures with the predictions of the dense and the slim network, ready to be drawn."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from secateur.errors import RunError
from secateur.run.records import (
    Box,
    ClassifierExamples,
    DetectorExamples,
    DetectorPicture,
    FoundRecord,
    PredictedClass,
    TruthRecord,
)
from secateur.tasks.detection.examples import SURE

# Largest width in pixels of a picture for which a quarter of the page is enough.
SMALL = 320
# In pixels of the page: width of a picture, of a small one, largest height, and font size.
WIDE, NARROW, HIGH, FONT = 530, 260, 512, 11.5
# The confidence that the slider starts at: the one that the pictures were chosen by.
SCORE = SURE

_KINDS = {
    "worst": "Worst",
    "lost": "Largest loss against dense",
    "best": "Best",
    "typical": "Typical",
}


@dataclass(frozen=True, slots=True)
class DrawnBox:
    """A box and its label, as SVG draws them; coordinates in pixels of the picture.

    Attributes:
        rect: attributes of the rectangle.
        label: text.
        x: where the label is anchored.
        y: where the label is anchored.
        side: where the label extends from there: ``right``, or ``left`` near the right edge.
        below: whether the label is under the box instead of above it.
        quiet: whether the label is hidden because there is no room for it.
        outcome: ``hit``, ``false`` or ``ignored``; empty for annotations.
        score: 0 to 1.
    """

    rect: dict[str, str]
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
    """One network's view of a picture; ``count`` sums up its detections of at least SCORE."""

    role: str
    truth: list[DrawnBox]
    found: list[DrawnBox]
    objects: int
    count: str


@dataclass(frozen=True, slots=True)
class ExamplePicture:
    """A picture and both networks' views; ``font`` is the font size in pixels of the picture."""

    kind: str
    name: str
    title: str
    width: int
    height: int
    font: float
    jpeg: str
    panes: list[Pane]

    @property
    def small(self) -> bool:
        """Whether two pairs of it fit side by side."""
        return self.width <= SMALL


@dataclass(frozen=True, slots=True)
class Mistake:
    """A picture that the slim classifier got wrong."""

    png: str
    truth: str
    dense: str
    slim: str


def example_pictures(examples: DetectorExamples, folder: Path) -> list[ExamplePicture]:
    """Prepare a detector's pictures; their copies are read from ``folder``.

    Raises:
        RunError: a copy is missing.
    """
    pictures, counts = [], dict.fromkeys(_KINDS, 0)
    small = all(picture.width <= SMALL for picture in examples.pictures)
    for picture in examples.pictures:
        counts[picture.kind] += 1
        scale = min((NARROW if small else WIDE) / picture.width, HIGH / picture.height)
        font = round(FONT / scale, 1)
        pictures.append(
            ExamplePicture(
                picture.kind,
                picture.name,
                f"{_KINDS[picture.kind]} {counts[picture.kind]}: {Path(picture.name).name}",
                picture.width,
                picture.height,
                font,
                _base64(folder / picture.file),
                [
                    _pane("dense", picture.dense, picture, font),
                    _pane("slim", picture.slim, picture, font),
                ],
            )
        )
    return sorted(pictures, key=lambda each: list(_KINDS).index(each.kind))


def mistakes(examples: ClassifierExamples, folder: Path) -> list[Mistake]:
    """Prepare a classifier's pictures; their copies are read from ``folder``.

    Raises:
        RunError: a copy is missing.
    """
    return [
        Mistake(
            _base64(folder / each.file), each.truth, _predicted(each.dense), _predicted(each.slim)
        )
        for each in examples.pictures
    ]


def _pane(role: str, found: Sequence[FoundRecord], picture: DetectorPicture, font: float) -> Pane:
    layout = _LabelLayout(picture.width, picture.height, font)

    def draw(each: FoundRecord) -> DrawnBox:
        label = f"{each.class_name} {each.score:.0%}"
        return layout.drawn(each.box, label, each.outcome, each.score)

    # Boxes are placed by falling confidence: whatever the slider is set to, no two of the labels
    # that it shows overlap. They are drawn in the reverse order, the most confident on top.
    ranked = sorted(found, key=lambda each: -each.score)
    counted = [each for each in ranked if each.score >= SCORE]
    boxes = [draw(each) for each in counted]
    hits = [each for each in counted if each.outcome == "hit"]
    truth = [
        layout.drawn(each.box, each.class_name, below=True, hidden=_is_found(each, hits))
        for each in picture.truth
    ]
    boxes += [draw(each) for each in ranked if each.score < SCORE]
    boxes.reverse()
    objects = sum(not each.difficult for each in picture.truth)
    false = sum(each.outcome == "false" for each in counted)
    return Pane(role, truth, boxes, objects, f"finds {len(hits)} of {objects}, {false} false")


def _is_found(truth: TruthRecord, hits: Sequence[FoundRecord]) -> bool:
    """Whether the label of a hit names the object already."""
    return any(hit.class_name == truth.class_name and _overlap(hit.box, truth.box) for hit in hits)


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


class _LabelLayout:
    """Places the labels of a picture's boxes so that none overlaps an earlier one."""

    def __init__(self, width: int, height: int, font: float) -> None:
        self.width = width
        self.height = height
        self.font = font
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
        """Place a label above its box, or under it if ``below`` or if there is no room above."""
        x1, y1, x2, y2 = box
        # A letter is about half as wide as it is high.
        width, height = 0.55 * self.font * len(label), 1.3 * self.font
        left = x1 + width > self.width
        start = x2 - width if left else x1
        above = (start, y1 - height, start + width, y1)
        under = (start, y2, start + width, y2 + height)
        order = [(under, True), (above, False)] if below else [(above, False), (under, True)]
        free = [
            (place, is_below)
            for place, is_below in order
            if place[1] >= 0
            and place[3] <= self.height
            and not any(_overlap(place, other) for other in self.taken)
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


def _predicted(prediction: PredictedClass) -> str:
    return f"{prediction.class_name} {prediction.score:.0%}"


def _base64(path: Path) -> str:
    try:
        if path.is_symlink():  # its target could be any file, and a report is sent to others
            raise OSError
        return base64.b64encode(path.read_bytes()).decode()
    except (OSError, ValueError):
        raise RunError(
            f"{path}: cannot be read; delete {path.parent} and give the run's command again"
        ) from None
