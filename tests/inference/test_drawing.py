import itertools

import torch

from secateur.inference.draw import class_colour, draw_detections
from secateur.tasks.detection.detections import Detections


def test_boxes_have_the_colour_of_their_class() -> None:
    pixels = torch.zeros(3, 200, 300, dtype=torch.uint8)
    boxes = torch.tensor([[20.0, 50, 120, 150], [150, 60, 280, 190]])
    found = Detections(boxes, torch.tensor([1, 2]), torch.tensor([0.9, 0.5]))
    picture = draw_detections(pixels, found, ["a", "b"])
    assert picture.size == (300, 200)
    assert picture.getpixel((20, 120)) == class_colour(1)
    assert picture.getpixel((150, 120)) == class_colour(2)
    assert picture.getpixel((70, 100)) == (0, 0, 0), "the inside is not changed"
    assert not pixels.any()


def test_label_is_inside_the_picture() -> None:
    pixels = torch.zeros(3, 100, 100, dtype=torch.uint8)
    found = Detections(torch.tensor([[90.0, 0, 100, 10]]), torch.tensor([1]), torch.tensor([0.9]))
    picture = draw_detections(pixels, found, ["a long name"])
    colours = picture.crop((0, 0, 60, 30)).getcolors(10_000) or []
    assert class_colour(1) in {colour for _, colour in colours}


def test_nothing_found_changes_nothing() -> None:
    pixels = torch.randint(0, 256, (3, 20, 30), dtype=torch.uint8)
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0))
    assert draw_detections(pixels, nothing, ["a"]).tobytes() == bytes(
        pixels.permute(1, 2, 0).flatten().tolist()
    )


def test_neighbouring_classes_differ() -> None:
    colours = [class_colour(label) for label in range(1, 44)]
    for one, other in itertools.pairwise(colours):
        assert max(abs(a - b) for a, b in zip(one, other, strict=True)) > 100


def test_letters_of_other_alphabets_are_drawn() -> None:
    pixels = torch.zeros(3, 100, 100, dtype=torch.uint8)
    found = Detections(torch.tensor([[10.0, 40, 60, 90]]), torch.tensor([1]), torch.tensor([0.9]))
    drawn = {draw_detections(pixels, found, [name]).tobytes() for name in "äéЖλ"}
    assert len(drawn) == 4
