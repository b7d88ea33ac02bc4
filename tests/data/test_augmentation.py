"""SSD's augmentation, against torchvision's steps on whole canvases."""

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional

from secateur.data.detection_set import AnnotatedPicture
from secateur.data.transforms import photometric
from secateur.data.transforms.augmentation import (
    FILL,
    NativeCrops,
    SSDAugmentation,
    View,
    overlapping_crop,
    show,
    zoomed_out,
)

SMOOTH = torch.stack(
    [
        torch.linspace(20, 220, 90).repeat(60, 1),
        torch.linspace(200, 30, 60)[:, None].repeat(1, 90),
        torch.linspace(0, 120, 60)[:, None] + torch.linspace(0, 120, 90),
    ]
).byte()


class Fixed(Random):
    """Fixed random numbers: one value each time, or several in turn."""

    def __init__(self, *values: float) -> None:
        super().__init__(0)
        self.values = list(values)

    def random(self) -> float:
        return self.values.pop(0) if len(self.values) > 1 else self.values[0]


def seeded(seed: int) -> Random:
    return Random(seed)  # noqa: S311 # not a secret


def image(pixels: Tensor) -> Image.Image:
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())


def annotated(boxes: list[list[float]], width: int = 90, height: int = 60) -> AnnotatedPicture:
    return AnnotatedPicture(
        Path("none.png"),
        height,
        width,
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.arange(1, len(boxes) + 1),
        torch.zeros(len(boxes), dtype=torch.bool),
    )


@pytest.mark.parametrize(
    "view",
    [
        View(0, 0, 90, 60),
        View(10, 5, 45, 50),  # enlarged one way
        View(-90, -60, 270, 180),  # a canvas around the picture
        View(-37, -11, 200, 233),
        View(-50, -21, 81, 57),  # leaves it to the top left
        View(41, 33, 100, 55),  # and to the bottom right
    ],
)
def test_view_is_that_of_a_painted_canvas(view: View) -> None:
    canvas = torch.tensor(FILL, dtype=torch.uint8).view(3, 1, 1).repeat(1, 400, 400)
    canvas[:, 150:210, 150:240] = SMOOTH
    cut = functional.crop(canvas, view.y + 150, view.x + 150, view.height, view.width)
    wanted = functional.resize(cut, [48, 48], antialias=True).int()
    found = show(image(SMOOTH), view, 48, None)
    assert found.shape == (3, 48, 48)
    assert found.dtype == torch.uint8
    difference = (found.int() - wanted).abs().amax(0)
    # Except at the picture's edge, where one blends and the other takes the nearest pixel.
    exact = view.x >= 0 and view.y >= 0 and view.x + view.width <= 90 and view.y + view.height <= 60
    if exact:
        assert difference.max() == 0
    else:
        assert (difference > 6).float().mean() < 0.07
        assert difference.float().median() <= 1


def test_view_that_misses_the_picture() -> None:
    found = show(image(SMOOTH), View(88, 0, 90 * 30, 60), 10, seeded(0))
    assert torch.equal(found, torch.tensor(FILL).byte().view(3, 1, 1).expand(3, 10, 10))


@pytest.mark.parametrize(
    ("ours", "theirs", "factors"),
    [
        (photometric.change_brightness, functional.adjust_brightness, (0.875, 1.1)),
        (photometric.change_contrast, functional.adjust_contrast, (0.5, 1.4)),
        (photometric.change_saturation, functional.adjust_saturation, (0.5, 1.5)),
        (photometric.change_hue, functional.adjust_hue, (-0.05, -0.01, 0.0, 0.03, 0.05)),
    ],
)
def test_changes_are_those_of_torchvision(
    ours: Callable[[Tensor, float, int], None],
    theirs: Callable[[Tensor, float], Tensor],
    factors: tuple[float, ...],
) -> None:
    # A grid over the colour cube, with its corners, edges and greys.
    levels = torch.tensor([0.0, 51, 102, 153, 204, 255])
    cube = torch.cartesian_prod(levels, levels, levels).T
    for factor in factors:
        pixels = cube.clone()
        ours(pixels, factor, cube.shape[1])
        wanted = theirs(cube.reshape(3, 12, 18) / 255, factor).flatten(1) * 255
        assert torch.allclose(pixels.clamp(0, 255), wanted, atol=0.06), factor  # weights of grey


def test_contrast_is_about_the_whole_picture() -> None:
    # Half is black and half is white: about the mean of both, the white half becomes light grey.
    pixels = torch.full((3, 4, 4), 255, dtype=torch.uint8)
    sample = torch.cat([torch.zeros(3, 8), torch.full((3, 8), 255)], 1).byte()
    # Brightness, saturation, hue and channel order do not change; contrast is halved.
    rng = Fixed(0.9, 0.1, 0.0, 0.9, 0.9, 0.9, 0.9)
    assert photometric.distort(pixels, sample, rng).unique().tolist() == [191]


def test_distortion_keeps_what_is_not_drawn() -> None:
    assert torch.equal(photometric.distort(SMOOTH, SMOOTH.flatten(1), Fixed(0.9)), SMOOTH)


def test_zoom_by_hand() -> None:
    # 0.25 of the 90 and of the 60 remaining pixels.
    assert zoomed_out(View(0, 0, 90, 60), 2.0, Fixed(0.25)) == View(-22, -15, 180, 120)


@pytest.mark.parametrize("seed", range(30))
def test_crops_overlap_an_object_whose_centre_they_show(seed: int) -> None:
    view, box = View(-20, -10, 200, 140), (30.0, 20.0, 80.0, 90.0)
    crop = overlapping_crop(view, [box], seeded(seed))
    assert view.x <= crop.x < 55 < crop.x + crop.width <= view.x + view.width
    assert view.y <= crop.y < 55 < crop.y + crop.height <= view.y + view.height
    assert crop == view or 0.5 <= crop.width / crop.height <= 2


def test_a_wanted_overlap_is_reached() -> None:
    class AlwaysHalf(Random):
        def choice(self, _options):  # type: ignore[no-untyped-def]
            return 0.5

    box = (30.0, 20.0, 80.0, 90.0)
    for seed in range(20):
        x, y, width, height = overlapping_crop(View(0, 0, 120, 110), [box], AlwaysHalf(seed))
        both = (min(80, x + width) - max(30, x)) * (min(90, y + height) - max(20, y))
        assert both / (width * height + 50 * 70 - both) >= 0.5


def test_without_objects_nothing_is_cropped() -> None:
    assert overlapping_crop(View(0, 0, 90, 60), [], seeded(0)) == View(0, 0, 90, 60)


def test_whole_pictures_and_their_boxes() -> None:
    transform = SSDAugmentation(30, photometric=False, expand=1, crop=False, flip=False)
    boxes = [[0.0, 0, 90, 60], [9, 6, 11, 30], [45, 30, 60, 59]]
    pixels, target = transform(annotated(boxes), image(SMOOTH), seeded(0))
    assert torch.equal(pixels, functional.resize(SMOOTH, [30, 30], antialias=True))
    # The second is two thirds of a pixel wide, which is invisible.
    assert target["boxes"].tolist() == [[0, 0, 30, 30], [15, 15, 20, 29.5]]
    assert target["labels"].tolist() == [1, 3]


@pytest.mark.parametrize("crops", [False, True])
def test_mirrored_pictures_and_their_boxes(crops: bool) -> None:
    make = NativeCrops if crops else SSDAugmentation
    options = {"zoom": 1.0} if crops else {"expand": 1.0, "crop": False}
    square = SMOOTH[:, :, :60]
    transform = make(60, photometric=False, flip=True, **options)  # type: ignore[arg-type]
    picture = annotated([[6.0, 12, 18, 60]], width=60)
    mirrored = set()
    for seed in range(8):
        pixels, target = transform(picture, image(square), seeded(seed))
        flipped = torch.equal(pixels, square.flip(-1))
        assert torch.equal(pixels, square) != flipped
        mirrored.add(flipped)
        x1 = 42 if flipped else 6
        assert target["boxes"].tolist() == [[x1, 12, x1 + 12, 60]]
    assert mirrored == {True, False}


@pytest.mark.parametrize("make", [SSDAugmentation, NativeCrops])
def test_pictures_without_objects(make: Callable[..., object]) -> None:
    transform = make(32)
    for seed in range(20):
        pixels, target = transform(annotated([]), image(SMOOTH), seeded(seed))  # type: ignore[operator]
        assert pixels.shape == (3, 32, 32)
        assert pixels.is_contiguous()
        assert (target["boxes"].shape, target["labels"].shape) == ((0, 4), (0,))


def test_boxes_follow_what_is_shown() -> None:
    # A white object on black: where pixels are white is where the box must be.
    pixels = torch.zeros(3, 60, 90, dtype=torch.uint8)
    pixels[:, 20:45, 30:70] = 255
    picture = annotated([[30.0, 20, 70, 45]])
    transform = SSDAugmentation(60, photometric=False)
    for seed in range(60):
        shown, target = transform(picture, image(pixels), seeded(seed))
        rows, columns = (shown.amin(0) > 180).nonzero(as_tuple=True)
        assert len(target["boxes"]) == 1
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert target["boxes"][0].tolist() == pytest.approx([float(side) for side in box], abs=1.6)
