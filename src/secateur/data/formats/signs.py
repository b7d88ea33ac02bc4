"""Drawn traffic signs: a detection set that needs no download.

The random numbers of each picture are seeded by (seed, split, index), so picture ``i`` does not
depend on the number of pictures. The set is drawn once, stored in the layout of COCO, and read from
there.

It is hard for a small network: the signs are small, some classes differ in their inner mark only,
and distractors resemble signs. "left" and "right" are classes, so training must not mirror the
pictures.
"""

import io
import json
import math
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from rich.console import Console
from rich.progress import Progress

from secateur.data.detection_set import DetectionSet
from secateur.data.formats.coco import annotation_file, read_coco
from secateur.data.formats.format import Format, SplitRequest
from secateur.errors import DataError

Points = NDArray[np.float64]  # a polygon, (N, 2): x to the right, y down, within about ±1
Pixels = NDArray[np.float32]  # (height, width, channels), 0 to 255
Plate = tuple[tuple[str, Points], ...]  # colour and polygon in drawing order, the outline first
Box = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels
Colour = tuple[int, int, int]

VERSION = 1  # increased when a seed gives different pictures; part of the folder's name
PICTURES = {"train": 3000, "test": 1000}
SIGN_PIXELS = (14.0, 60.0)  # a sign's longer side, log-uniform, in a picture of 160 pixels
SIGNS_A_PICTURE = (0.10, 0.28, 0.28, 0.20, 0.14)  # probabilities of 0, 1, 2, 3 and 4 signs
MOST_DISTRACTORS = 4  # a picture
SUPERSAMPLING = 3

COLOURS: dict[str, Colour] = {
    "red": (196, 28, 40),
    "blue": (18, 84, 170),
    "white": (240, 240, 236),
    "black": (24, 24, 26),
    "yellow": (246, 196, 24),
    "green": (10, 122, 66),
    "brown": (112, 66, 38),
    "grey": (140, 142, 144),
    "orange": (232, 112, 20),
}
SKIES = np.array([(120, 165, 215), (188, 195, 202), (226, 214, 190), (84, 92, 116)])
GROUNDS = np.array([(104, 104, 106), (92, 120, 66), (132, 112, 86), (160, 152, 140)])

# Strokes of a letter: x1, y1, x2, y2 in a cell of width 1 and height 2.
_TOP, _MIDDLE, _BOTTOM = (0, 0, 1, 0), (0, 1, 1, 1), (0, 2, 1, 2)
_LEFT_UP, _LEFT_LOW, _RIGHT_UP, _RIGHT_LOW = (0, 0, 0, 1), (0, 1, 0, 2), (1, 0, 1, 1), (1, 1, 1, 2)
GLYPHS = {
    "0": (_TOP, _BOTTOM, _LEFT_UP, _LEFT_LOW, _RIGHT_UP, _RIGHT_LOW),
    "3": (_TOP, _MIDDLE, _BOTTOM, _RIGHT_UP, _RIGHT_LOW),
    "5": (_TOP, _LEFT_UP, _MIDDLE, _RIGHT_LOW, _BOTTOM),
    "7": (_TOP, _RIGHT_UP, _RIGHT_LOW),
    "P": (_TOP, _MIDDLE, _LEFT_UP, _LEFT_LOW, _RIGHT_UP),
    "T": (_TOP, (0.5, 0, 0.5, 2)),
}


def _polygon(
    sides: int, turn: float = 0.0, radius: float = 1.0, x: float = 0.0, y: float = 0.0
) -> Points:
    """A regular polygon around (x, y); at ``turn`` 0 (degrees, clockwise) a corner points up."""
    angles = math.radians(turn) + np.arange(sides) * (2 * math.pi / sides)
    return np.stack([x + radius * np.sin(angles), y - radius * np.cos(angles)], axis=1)


def _bar(x1: float, y1: float, x2: float, y2: float, width: float) -> Points:
    """A thick line with square ends."""
    start, end = np.array([x1, y1]), np.array([x2, y2])
    along = (end - start) * (width / 2 / math.hypot(x2 - x1, y2 - y1))
    across = np.array([-along[1], along[0]])
    return np.stack([start + across, end + across, end - across, start - across])


def _rimmed(rim: str, face: str, outline: Points, share: float) -> Plate:
    """An outline in the rim's colour, and inside it the face, scaled by ``share``."""
    return (rim, outline), (face, outline * share)


def _text(text: str, colour: str, height: float, width: float, stroke: float) -> Plate:
    """Letters in the middle of a plate, each ``width`` wide, 1.5 strokes apart."""
    strokes = []
    for place, letter in enumerate(text):
        middle = (place - (len(text) - 1) / 2) * (width + 1.5 * stroke)
        for stroke_ends in GLYPHS[letter]:
            ends = np.array(stroke_ends).reshape(2, 2) - (0.5, 1)
            # Half a stroke longer at both ends, so that strokes meet in corners.
            overlap = np.sign(ends[1] - ends[0]) * stroke / 2
            ends = ends * (width - stroke, (height - stroke) / 2) + (middle, 0)
            x1, y1 = (ends[0] - overlap).tolist()
            x2, y2 = (ends[1] + overlap).tolist()
            strokes.append((colour, _bar(x1, y1, x2, y2, stroke)))
    return tuple(strokes)


def _arrow(turn: float, scale: float = 1.0) -> Plate:
    """A white arrow, turned clockwise by ``turn`` degrees from pointing up."""
    half = [(0.17, 0.64), (0.17, -0.16), (0.5, -0.16), (0, -0.72)]
    up = np.array([*half, *((-x, y) for x, y in half[-2::-1])])
    sine, cosine = math.sin(math.radians(turn)), math.cos(math.radians(turn))
    return (("white", scale * up @ np.array([[cosine, sine], [-sine, cosine]])),)


def _car(colour: str, x: float) -> Plate:
    """A car, seen from the rear."""
    return (
        (colour, _bar(x - 0.26, 0.12, x + 0.26, 0.12, 0.34)),
        (colour, _polygon(24, radius=0.24, x=x, y=-0.1)),
    )


_DISC, _UP, _DOWN, _DIAMOND = _polygon(36), _polygon(3), _polygon(3, 180), _polygon(4)
_OCTAGON, _SQUARE = _polygon(8, 22.5), _polygon(4, 45)
_RING = _rimmed("red", "white", _DISC, 0.74)
_TRIANGLE = _rimmed("red", "white", _UP, 0.64)
_BLUE_DISC: Plate = (("blue", _DISC),)
_BLUE_SQUARE = _rimmed("white", "blue", _SQUARE, 0.9)
_DASH: Plate = (("white", _bar(-0.7, 0, 0.7, 0, 0.4)),)
_DOT = _polygon(24, radius=0.12, y=0.29)
_EXCLAMATION: Plate = (("black", _bar(0, -0.5, 0, 0.1, 0.2)), ("black", _DOT))
_CROSS: Plate = tuple(("black", _bar(-x, -0.22, x, 0.28, 0.17)) for x in (0.25, -0.25))
_PARKING = _text("P", "white", 0.92, 0.55, 0.17)

# Plates of each class. Similar classes differ in the inner mark only.
SIGNS: dict[str, list[Plate]] = {
    "stop": [
        _rimmed("white", "red", _OCTAGON, 0.92) + _text("5T0P", "white", 0.62, 0.3, 0.1),
    ],
    "yield": [_rimmed("red", "white", _DOWN, 0.56)],
    "priority": [_rimmed("white", "yellow", _DIAMOND, 0.74)],
    "danger": [_TRIANGLE + _EXCLAMATION],
    "crossroads": [_TRIANGLE + _CROSS],
    "no entry": [(("red", _DISC), *_DASH)],
    "speed limit": [_RING + _text(k, "black", 0.82, 0.44, 0.14) for k in ("30", "50", "70")],
    "no overtaking": [_RING + _car("red", -0.34) + _car("black", 0.34)],
    "ahead": [_BLUE_DISC + _arrow(0)],
    "left": [_BLUE_DISC + _arrow(-90)],
    "right": [_BLUE_DISC + _arrow(90)],
    "parking": [_BLUE_SQUARE + _PARKING],
}
CLASSES = tuple(SIGNS)

# Drawn like signs but not annotated: a mark is missing, or the colour or the shape is wrong.
DISTRACTORS: list[Plate] = [
    _RING,
    _rimmed("black", "white", _DISC, 0.74),
    _rimmed("blue", "white", _DISC, 0.74),
    _rimmed("green", "white", _DISC, 0.74) + _text("30", "green", 0.82, 0.44, 0.14),
    (("red", _DISC),),
    _BLUE_DISC,
    _BLUE_DISC + _DASH,
    (("green", _DISC), *_arrow(0)),
    (("black", _DISC), *_arrow(90)),
    _TRIANGLE,
    _rimmed("black", "yellow", _UP, 0.64),
    _rimmed("blue", "white", _UP, 0.64) + _EXCLAMATION,
    _rimmed("green", "white", _DOWN, 0.56),
    _BLUE_SQUARE,
    _BLUE_SQUARE + _arrow(0, 0.8),
    _rimmed("white", "green", _SQUARE, 0.9) + _PARKING,
    (*_rimmed("white", "red", _SQUARE, 0.9), ("white", _bar(-0.45, 0, 0.45, 0, 0.26))),
    _rimmed("white", "yellow", _SQUARE, 0.9),
    _rimmed("grey", "white", _DIAMOND, 0.74),
    _rimmed("white", "green", _DIAMOND, 0.74),
    _rimmed("white", "blue", _OCTAGON, 0.92),
]


def draw_plate(
    plate: Plate, pixels: float, x: float, y: float, rng: np.random.Generator
) -> tuple[Image.Image, tuple[int, int], Box]:
    """Draw a plate as a camera sees it: rotated, sheared, in perspective, with faded colours.

    Args:
        plate: what to draw.
        pixels: the longer side of its box, pixels.
        x: left edge of its box in the picture, pixels.
        y: top edge of its box in the picture, pixels.
        rng: random numbers for pose and colours.

    Returns:
        An RGBA patch, the position of its top left corner in the picture, pixels, and the tight box
        around the outline in the picture.
    """
    angle, shear = math.radians(rng.uniform(-12, 12)), rng.uniform(-0.1, 0.1)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    pose = turn @ np.array([[rng.uniform(0.8, 1.0), shear], [0.0, 1.0]])
    tilt = rng.uniform(-0.12, 0.12, 2)
    polygons = [(points @ pose.T) / (1 + points @ tilt)[:, None] for _, points in plate]
    low, high = polygons[0].min(0), polygons[0].max(0)
    scale = pixels / (high - low).max()
    width, height = ((high - low) * scale).tolist()
    left, top = math.floor(x), math.floor(y)

    fading, gain = rng.uniform(0, 0.35), rng.uniform(0.65, 1.1)
    haze, tint = rng.uniform(110, 190), rng.uniform(-14, 14, 3)
    canvas = (math.ceil(x + width) - left + 1, math.ceil(y + height) - top + 1)
    patch = Image.new("RGBA", (canvas[0] * SUPERSAMPLING, canvas[1] * SUPERSAMPLING))
    pen = ImageDraw.Draw(patch)
    for (name, _), points in zip(plate, polygons, strict=True):
        colour = ((1 - fading) * np.array(COLOURS[name]) + fading * haze) * gain + tint
        # Minus half a fine pixel, since the pen's coordinates refer to pixel centres.
        corners = ((points - low) * scale + (x - left, y - top)) * SUPERSAMPLING - 0.5
        pen.polygon(corners.ravel().tolist(), fill=(*_rgb(colour), 255))
    small = patch.resize(canvas, Image.Resampling.BOX)
    return small, (left, top), (x, y, x + width, y + height)


def _rgb(colour: NDArray[np.float64]) -> Colour:
    red, green, blue = colour.clip(0, 255).astype(int).tolist()
    return red, green, blue


def _dull(rng: np.random.Generator, low: float = 30, high: float = 220) -> Colour:
    """A grey with a tint."""
    return _rgb(rng.uniform(low, high) + rng.uniform(-25, 25, 3))


def _bright(rng: np.random.Generator) -> Colour:
    """One of the colours of signs."""
    return COLOURS[str(rng.choice(list(COLOURS)))]


def _noise(rng: np.random.Generator, cells: int, size: int) -> Pixels:
    """Smooth noise, (size, size, 1), about -1 to 1, with ``cells`` bumps a side."""
    grid = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
    smooth = Image.fromarray(grid).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(smooth)[..., None]


def _rectangle(rng: np.random.Generator, size: int, low: float, high: float) -> Box:
    """A rectangle with sides of ``low`` to ``high`` of the picture's, possibly partly outside."""
    width, height = rng.uniform(low, high, 2) * size
    x, y = rng.uniform(-0.1, 0.95, 2) * size
    return float(x), float(y), float(x + width), float(y + height)


def _draw_building(pen: ImageDraw.ImageDraw, rng: np.random.Generator, size: int) -> None:
    x1, y1, x2, y2 = _rectangle(rng, size, 0.15, 0.6)
    pen.polygon((x1, y1, x2, y1 + rng.uniform(-8, 8), x2, y2, x1, y2), fill=_dull(rng))
    if rng.random() < 0.7:
        window, step = _dull(rng), rng.uniform(7, 16)
        for x in np.arange(x1 + 3, x2 - step / 2, step):
            for y in np.arange(y1 + 6, y2 - step / 2, step * 1.2):
                pen.rectangle((x, y, x + step * 0.5, y + step * 0.7), fill=window)


def _draw_stripes(pen: ImageDraw.ImageDraw, rng: np.random.Generator, size: int) -> None:
    """A fence, rails, wires or a zebra crossing."""
    x, y = rng.uniform(0, size, 2)
    angle = rng.choice([0.0, math.pi / 2, rng.uniform(0, math.pi)])
    step, length, width = rng.uniform(4, 12), rng.uniform(15, 90), int(rng.integers(1, 5))
    dx, dy = length * math.cos(angle), length * math.sin(angle)
    colour = _dull(rng)
    for _ in range(int(rng.integers(2, 10))):
        pen.line((x, y, x + dx, y + dy), fill=colour, width=width)
        x, y = x - step * math.sin(angle), y + step * math.cos(angle)


def _draw_billboard(pen: ImageDraw.ImageDraw, rng: np.random.Generator, size: int) -> None:
    """A board with strokes that resemble writing, in the colours of signs."""
    x1, y1, x2, y2 = _rectangle(rng, size, 0.12, 0.35)
    ink = _bright(rng)
    pen.rectangle((x1, y1, x2, y2), fill=_bright(rng), outline=ink)
    for y in np.arange(y1 + 4, y2 - 4, 6):
        x = x1 + 4
        while x < x2 - 6:
            end = x + rng.uniform(1, 7)
            pen.line((x, y, end, y + rng.uniform(-2, 4)), fill=ink, width=int(rng.integers(1, 3)))
            x = end + 2


def _draw_blob(pen: ImageDraw.ImageDraw, rng: np.random.Generator, size: int) -> None:
    """A disc, a triangle or another plain shape: a bush, a lamp, a roof."""
    shape = _polygon(int(rng.choice([3, 4, 5, 24])), rng.uniform(0, 90), rng.uniform(3, 22))
    points = shape + rng.uniform(0, size, 2)
    pen.polygon(points.ravel().tolist(), fill=_bright(rng) if rng.random() < 0.3 else _dull(rng))


Thing = Callable[[ImageDraw.ImageDraw, np.random.Generator, int], None]
THINGS: tuple[Thing, ...] = (_draw_building, _draw_stripes, _draw_billboard, _draw_blob)


def _background(rng: np.random.Generator, size: int) -> Image.Image:
    """Sky above ground, both with a gradient; objects in front; a texture over everything."""
    steps = np.linspace(0, 1, size)[:, None]
    horizon = rng.uniform(-0.1, 1.1) + rng.uniform(-0.15, 0.15) * steps.T
    sky, ground = (
        rng.choice(places) + rng.uniform(-14, 14, 3) + rng.uniform(-40, 40) * steps
        for places in (SKIES, GROUNDS)
    )
    scene = np.where((steps < horizon)[..., None], sky[:, None], ground[:, None])
    picture = Image.fromarray(scene.clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    for thing in rng.choice(len(THINGS), rng.integers(3, 15), p=[0.3, 0.25, 0.15, 0.3]):
        THINGS[thing](pen, rng, size)
    pixels = np.asarray(picture, dtype=np.float32)
    for cells in (6, 20, size // 3):
        tint = rng.uniform(0, 16) * rng.uniform(0.6, 1.4, 3)
        pixels = pixels + _noise(rng, cells, size) * tint.astype(np.float32)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _occlude(pen: ImageDraw.ImageDraw, box: Box, rng: np.random.Generator) -> None:
    """Draw a branch or a pole across a sign, off its middle."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    side = max(box[2] - box[0], box[3] - box[1])
    shift = rng.choice([-1, 1]) * rng.uniform(0.25, 0.42) * side
    lean = rng.uniform(-0.25, 0.25) * side
    line = (x + shift - lean, y - side, x + shift + lean, y + side)
    if rng.random() < 0.4:
        line = (x - side, y + shift - lean, x + side, y + shift + lean)
    pen.line(line, fill=_dull(rng, 30, 110), width=max(2, round(side * rng.uniform(0.08, 0.2))))


def _photograph(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Add blur, light and shadow, contrast, the colour of the light, and sensor noise."""
    kind = rng.random()
    if kind < 0.35:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.7)))
    elif kind < 0.5:  # the camera moved, sideways or up
        across = (0, 0, 0, 1, 2, 1, 0, 0, 0) if rng.random() < 0.5 else (0, 1, 0, 0, 2, 0, 0, 1, 0)
        picture = picture.filter(ImageFilter.Kernel((3, 3), across))
    pixels: Pixels = np.asarray(picture, dtype=np.float32)
    light: Pixels = 1 + rng.uniform(0, 0.3) * _noise(rng, 4, picture.width)
    gain = rng.uniform(0.6, 1.15) * rng.uniform(0.92, 1.08, 3)
    contrast, grain = rng.uniform(0.65, 1.1), rng.uniform(1, 9)
    pixels = (128 + (pixels * light - 128) * contrast) * gain.astype(np.float32)
    pixels = pixels + grain * rng.standard_normal(pixels.shape, dtype=np.float32)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _places(rng: np.random.Generator, sides: list[float], size: int) -> list[Box | None]:
    """A square for each side, without overlaps; None for a square that found no room."""
    found: list[Box | None] = []
    for side in sides:
        for x, y in rng.uniform(1, size - side - 1, (20, 2)).tolist():
            if all(
                x > x2 or y > y2 or x + side < x1 or y + side < y1
                for x1, y1, x2, y2 in filter(None, found)
            ):
                found.append((x, y, x + side, y + side))
                break
        else:
            found.append(None)
    return found


def draw_picture(
    split: str,
    index: int,
    *,
    size: int = 160,
    seed: int = 0,
    sign_pixels: tuple[float, float] = SIGN_PIXELS,
) -> tuple[bytes, list[Box], list[int]]:
    """Draw one picture of the set.

    Args:
        split: ``train`` or ``test``.
        index: number of the picture in its split, from 0.
        size: side of the picture, pixels.
        seed: seed of the whole set.
        sign_pixels: shortest and longest side of a sign, pixels of a picture of side 160.

    Returns:
        The JPEG file, the signs' boxes in pixels, and their labels, from 1.
    """
    rng = np.random.default_rng([seed, list(PICTURES).index(split), index])
    picture = _background(rng, size)
    pen = ImageDraw.Draw(picture)
    signs = int(rng.choice(len(SIGNS_A_PICTURE), p=SIGNS_A_PICTURE))
    count = signs + int(rng.integers(MOST_DISTRACTORS + 1))
    low, high = (math.log(side * size / 160) for side in sign_pixels)
    sides = np.exp(rng.uniform(low, high, count))
    drawn = []
    # Signs are placed first, so that distractors take the remaining room.
    for number, place in enumerate(_places(rng, sides.tolist(), size)):
        label = int(rng.integers(len(CLASSES))) + 1 if number < signs else 0
        plates = SIGNS[CLASSES[label - 1]] if label else DISTRACTORS
        if place is not None:
            x, y, side = place[0], place[1], place[2] - place[0]
            plate = plates[int(rng.integers(len(plates)))]
            drawn.append((side, label, *draw_plate(plate, side, x, y, rng)))
    # Posts are behind all plates, and what occludes a large sign is behind smaller signs.
    drawn.sort(key=lambda each: -each[0])
    for side, _, _, _, (x1, _, x2, y2) in drawn:
        if rng.random() < 0.4:
            middle, half, end = (x1 + x2) / 2, max(1.0, side * 0.04), y2 + 3 * side
            pen.rectangle((middle - half, y2 - side / 5, middle + half, end), _dull(rng, 60, 160))
    for side, _, patch, corner, box in drawn:
        picture.paste(patch, corner, patch)
        if side > size / 8 and rng.random() < 0.15:
            _occlude(pen, box, rng)
    file = io.BytesIO()
    _photograph(picture, rng).save(file, "JPEG", quality=int(rng.integers(60, 96)))
    found = [(box, label) for _, label, _, _, box in drawn if label]
    return file.getvalue(), [box for box, _ in found], [label for _, label in found]


def _draw_set(
    folder: Path, split: str, count: int, *, size: int, seed: int, sign_pixels: tuple[float, float]
) -> None:
    """Draw the pictures and their annotations into a folder, in the layout of COCO."""
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    (folder / split).mkdir(parents=True)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"Drawing {count} pictures", total=count)
        for index in range(count):
            file, boxes, labels = draw_picture(
                split, index, size=size, seed=seed, sign_pixels=sign_pixels
            )
            name = f"{index:06}.jpg"
            (folder / split / name).write_bytes(file)
            images.append({"id": index, "file_name": name, "width": size, "height": size})
            for (x1, y1, x2, y2), label in zip(boxes, labels, strict=True):
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": index,
                        "category_id": label,
                        "bbox": [round(side, 3) for side in (x1, y1, x2 - x1, y2 - y1)],
                        "area": round((x2 - x1) * (y2 - y1), 3),
                        "iscrowd": 0,
                    }
                )
            progress.advance(task)
    categories = [{"id": label, "name": name} for label, name in enumerate(CLASSES, 1)]
    table = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations").mkdir()
    (folder / "annotations" / f"{split}.json").write_text(json.dumps(table), encoding="utf-8")


def signs_folder(
    root: Path,
    split: str,
    *,
    count: int | None = None,
    size: int = 160,
    seed: int = 0,
    sign_pixels: tuple[float, float] = SIGN_PIXELS,
) -> Path:
    """Return the folder of a set with these parameters; they are those of ``read_signs``."""
    count = PICTURES[split] if count is None else count
    low, high = sign_pixels
    return root / f"signs{VERSION}-{low:g}to{high:g}-{size}px-seed{seed}-{split}{count}"


def read_signs(
    root: Path,
    split: str,
    *,
    count: int | None = None,
    size: int = 160,
    seed: int = 0,
    sign_pixels: tuple[float, float] = SIGN_PIXELS,
) -> DetectionSet:
    """Read the drawn signs from ``root``; draw them first if they are missing.

    Each choice of parameters has its own folder in ``root``. A folder is complete or absent.

    Args:
        root: the folder of drawn sets; created if missing.
        split: ``train`` or ``test``.
        count: number of pictures; None for 3000 to train and 1000 to test.
        size: side of a picture, pixels.
        seed: seed of the whole set.
        sign_pixels: shortest and longest side of a sign, pixels of a picture of side 160.

    Raises:
        DataError: a parameter is out of range, the folder cannot be written, or its contents are
            damaged.
    """
    _check_split(split)
    count = PICTURES[split] if count is None else count
    low, high = sign_pixels
    if count < 1 or size < 32 or seed < 0 or not 4 <= low <= high <= 128:
        raise DataError(
            f"drawn signs: count {count}, size {size}, seed {seed} or sign_pixels {sign_pixels} is "
            "out of range; give count >= 1, size >= 32, seed >= 0, 4 <= sign_pixels <= 128"
        )
    folder = signs_folder(root, split, count=count, size=size, seed=seed, sign_pixels=sign_pixels)
    if annotation_file(folder, split) is None:
        try:
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=root, prefix=".drawing-") as temporary:
                drawn = Path(temporary) / folder.name
                _draw_set(drawn, split, count, size=size, seed=seed, sign_pixels=sign_pixels)
                if annotation_file(folder, split) is None:  # no other process has drawn it
                    if folder.exists():
                        shutil.rmtree(folder)  # an incomplete set
                    drawn.rename(folder)
        except OSError as error:
            raise DataError(f"{folder}: cannot be drawn: {error}; choose another root") from None
    return read_coco(folder, split, None)


def _check_split(split: str) -> None:
    if split not in PICTURES:
        raise DataError(f"{split}: not a split of the drawn signs; name it {' or '.join(PICTURES)}")


def _exists(wanted: SplitRequest) -> bool:
    _check_split(wanted.split)
    return signs_folder(wanted.root, wanted.split, size=wanted.size).is_dir()


DRAWN_SIGNS = Format(
    task="detection",
    description="traffic signs that are drawn into the folder when first read; the folder may be "
    "missing",
    read=lambda wanted: read_signs(wanted.root, wanted.split, size=wanted.size),
    classes=CLASSES,
    exists=_exists,
)
