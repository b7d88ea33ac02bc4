"""Drawn pictures of discs and squares, in layouts that data sets have."""

from pathlib import Path
from xml.sax.saxutils import escape

import torch
from PIL import Image, ImageDraw


def draw_voc_folder(
    root: Path, disc: str = "disc", square: str = "square", train: int = 24
) -> None:
    """Draw 24 pictures to train on and 8 to test, each with one shape, in VOC's layout."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    for number in range(train + 8):
        x, y, side = torch.randint(4, 28, (3,), generator=generator).tolist()
        x2, y2 = x + side + 6, y + side + 6
        _shape((72, 64), (x, y, x2, y2), square=number % 2 == 1).save(
            root / f"JPEGImages/{number:02}.jpg"
        )
        (root / f"Annotations/{number:02}.xml").write_text(
            f"<annotation><object><name>{escape((disc, square)[number % 2])}</name><bndbox>"
            f"<xmin>{x + 1}</xmin><ymin>{y + 1}</ymin><xmax>{x2 + 1}</xmax><ymax>{y2 + 1}</ymax>"
            "</bndbox></object></annotation>"
        )
    lists = root / "ImageSets/Main"
    (lists / "train.txt").write_text("\n".join(f"{n:02}" for n in range(train)))
    (lists / "test.txt").write_text("\n".join(f"{n:02}" for n in range(train, train + 8)))


def draw_class_folders(root: Path) -> None:
    """Draw 24 pictures to train on and 12 to test, half of them ``disc``, half ``square [2]``."""
    generator = torch.Generator().manual_seed(0)
    for number in range(36):
        name = ("disc", "square [2]")[number % 2]
        folder = root / ("train" if number < 24 else "test") / name
        folder.mkdir(parents=True, exist_ok=True)
        x, y, side = torch.randint(3, 13, (3,), generator=generator).tolist()
        picture = _shape((40, 36), (x, y, x + side + 8, y + side + 8), square=name != "disc")
        picture.save(folder / f"{number:02}.png")


def _shape(size: tuple[int, int], box: tuple[int, ...], *, square: bool) -> Image.Image:
    image = Image.new("RGB", size, (30, 90, 60))
    draw = ImageDraw.Draw(image)
    if square:
        draw.rectangle(box, fill="white")
    else:
        draw.ellipse(box, fill="red")
    return image
