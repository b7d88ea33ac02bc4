import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from secateur.data.cached_batches import CachedBatches, affine, augment, warp
from secateur.data.classification_set import ClassificationSet

CPU = torch.device("cpu")
NOTHING = {"flip": False, "shift": 0.0, "zoom": 1.0, "rotate": 0.0, "light": 0.0}


def noise(count: int, side: int) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)


def changed(pixels: Tensor, seed: int = 0, **settings: float) -> Tensor:
    values = {**NOTHING, **settings}
    return augment(
        pixels,
        flip=bool(values.pop("flip")),
        generator=torch.Generator().manual_seed(seed),
        **values,
    )


def same(pixels: Tensor, _generator: torch.Generator) -> Tensor:
    return pixels


def batches(count: int, batch_size: int, seed: int = 0, steps: int = 4) -> CachedBatches:
    """Batches of pictures whose bytes and label are the picture's number."""
    dataset = ClassificationSet(
        tuple(map(str, range(count))),
        torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(count, 3, 2, 2),
        torch.arange(count),
        tuple(map(str, range(count))),
    )
    return CachedBatches(
        dataset, steps=steps, batch_size=batch_size, seed=seed, augmentation=same, device=CPU
    )


@given(st.integers(1, 9), st.integers(1, 20), st.integers(0, 2**32), st.integers(1, 9))
def test_every_epoch_holds_each_picture_once(
    count: int, batch_size: int, seed: int, steps: int
) -> None:
    walk: list[int] = []
    for pixels, labels in batches(count, batch_size, seed, steps):
        assert pixels.shape == (batch_size, 3, 2, 2)
        assert pixels[:, 0, 0, 0].tolist() == labels.tolist()
        walk += labels.tolist()
    assert len(walk) == steps * batch_size
    for start in range(0, len(walk) - count + 1, count):
        assert sorted(walk[start : start + count]) == list(range(count))


def test_order_changes_with_epoch_and_seed() -> None:
    first, second = (labels.tolist() for _, labels in batches(30, 30, steps=2))
    other, _ = (labels.tolist() for _, labels in batches(30, 30, seed=1, steps=2))
    assert first != second
    assert first != other


def test_step_depends_on_seed_and_step_alone() -> None:
    dataset = ClassificationSet(
        ("a",), noise(10, 8), torch.zeros(10, dtype=torch.int64), tuple("abcdefghij")
    )

    def make(steps: int, seed: int) -> CachedBatches:
        return CachedBatches(
            dataset,
            steps=steps,
            batch_size=4,
            seed=seed,
            augmentation=lambda pixels, generator: augment(
                pixels, flip=True, shift=0.2, zoom=1.2, rotate=5, light=0.2, generator=generator
            ),
            device=CPU,
        )

    whole = make(6, 3)
    assert len(whole) == 6
    torch.manual_seed(0)
    pixels = [pixels for pixels, _ in whole]
    assert len(pixels) == 6
    torch.manual_seed(1)
    assert torch.equal(make(99, 3).batch(4)[0], pixels[4])
    assert torch.equal(list(whole)[5][0], pixels[5])
    assert not torch.equal(make(6, 4).batch(4)[0], pixels[4])


def test_identity_settings_change_nothing() -> None:
    pixels = noise(5, 8)
    assert changed(pixels) is pixels


def test_half_the_pictures_are_mirrored() -> None:
    pixels = noise(400, 8)
    result = changed(pixels, flip=True)
    assert result.dtype == torch.uint8
    differs = [bool((b != a).any()) for a, b in zip(pixels, result, strict=True)]
    for before, after, mirrored in zip(pixels, result, differs, strict=True):
        assert torch.equal(after, before.flip(-1) if mirrored else before)
    assert 150 < sum(differs) < 250


@pytest.mark.parametrize(("across", "down"), [(0, 0), (2, 0), (0, -3), (-1, 4)])
def test_shift_is_a_roll(across: int, down: int) -> None:
    pixels = noise(2, 16)
    zero, one = torch.zeros(2), torch.ones(2)
    result = warp(pixels, affine(zero, one, zero + across, zero + down, 16))
    rolled = pixels.roll((down, across), (2, 3)).float()
    inside = slice(4, 12)
    torch.testing.assert_close(
        result[..., inside, inside], rolled[..., inside, inside], rtol=0, atol=1e-3
    )


def test_border_is_mirrored() -> None:
    pixels = torch.arange(6, dtype=torch.uint8).mul(10).expand(1, 3, 6, 6)
    result = warp(
        pixels, affine(torch.zeros(1), torch.ones(1), torch.tensor([2]), torch.zeros(1), 6)
    )
    assert result[0, 0, 0].tolist() == pytest.approx([10, 0, 0, 10, 20, 30], abs=1e-3)


def test_quarter_rotation() -> None:
    pixels = noise(1, 8)
    turn = affine(torch.tensor([math.pi / 2]), torch.ones(1), torch.zeros(1), torch.zeros(1), 8)
    clockwise = pixels.rot90(-1, (2, 3)).float()
    torch.testing.assert_close(warp(pixels, turn), clockwise, rtol=0, atol=1e-3)


def test_rotation_then_shift() -> None:
    pixels = noise(1, 8)
    both = affine(
        torch.tensor([math.pi / 2]), torch.ones(1), torch.tensor([2]), torch.tensor([1]), 8
    )
    rolled = pixels.rot90(-1, (2, 3)).roll((1, 2), (2, 3)).float()
    torch.testing.assert_close(
        warp(pixels, both)[..., 2:, 2:], rolled[..., 2:, 2:], rtol=0, atol=1e-3
    )


def test_enlarged_by_2() -> None:
    # A horizontal ramp: enlarged by 2, its slope is half, around the same centre.
    ramp = torch.arange(8).mul(10).to(torch.uint8).expand(1, 3, 8, 8)
    result = warp(
        ramp, affine(torch.zeros(1), torch.tensor([2.0]), torch.zeros(1), torch.zeros(1), 8)
    )
    wanted = [35 + 5 * (column - 3.5) for column in range(8)]
    assert result[0, 0, 4].tolist() == pytest.approx(wanted, abs=1e-3)


def slow_warp(picture: Tensor, angle: float, factor: float, across: int, down: int) -> Tensor:
    """Warp pixel by pixel, without mirroring; NaN where a neighbour is outside the picture."""
    side = picture.shape[-1]
    middle = (side - 1) / 2
    result = torch.full((3, side, side), math.nan)
    for row in range(side):
        for column in range(side):
            x, y = column - middle - across, row - middle - down
            cos, sin = math.cos(angle), math.sin(angle)
            u, v = (cos * x + sin * y) / factor + middle, (cos * y - sin * x) / factor + middle
            left, top = math.floor(u), math.floor(v)
            if 0 <= left < side - 1 and 0 <= top < side - 1:
                a, b = u - left, v - top
                four = picture[:, top : top + 2, left : left + 2].double()
                weights = torch.tensor([[(1 - a) * (1 - b), a * (1 - b)], [(1 - a) * b, a * b]])
                result[:, row, column] = (four * weights).sum((1, 2)).float()
    return result


@given(
    st.floats(-3.2, 3.2),
    st.floats(0.5, 2.0),
    st.integers(-2, 2),
    st.integers(-2, 2),
)
def test_warp_equals_the_slow_warp(angle: float, factor: float, across: int, down: int) -> None:
    pixels = noise(1, 7)
    matrices = affine(
        torch.tensor([angle]),
        torch.tensor([factor]),
        torch.tensor([across]),
        torch.tensor([down]),
        7,
    )
    wanted = slow_warp(pixels[0], angle, factor, across, down)
    known = ~wanted.isnan()
    torch.testing.assert_close(warp(pixels, matrices)[0][known], wanted[known], rtol=0, atol=0.02)


def test_shift_is_by_whole_pixels() -> None:
    pixels = noise(64, 16)
    result = changed(pixels, shift=0.13)  # 2.08 pixels
    seen = set()
    for before, after in zip(pixels, result, strict=True):
        inside = after[:, 4:12, 4:12]
        shifts = [
            (across, down)
            for across in range(-2, 3)
            for down in range(-2, 3)
            if torch.allclose(
                before.roll((down, across), (1, 2))[:, 4:12, 4:12].float(), inside, atol=1e-3
            )
        ]
        assert len(shifts) == 1
        seen.update(shifts)
    assert len(seen) > 15
    assert {-2, 2} <= {across for across, _ in seen} & {down for _, down in seen}


def test_light_is_an_affine_map_of_each_picture() -> None:
    pixels = noise(300, 6) // 2 + 60  # far enough from 0 and 255 not to be clipped
    result = changed(pixels, light=0.2)
    brightness, contrast = [], []
    for before, after in zip(pixels.float(), result, strict=True):
        slope = float((after - after.mean()).norm() / (before - before.mean()).norm())
        torch.testing.assert_close(
            after, (before - before.mean()) * slope + after.mean(), rtol=0, atol=0.01
        )
        brightness.append(float(after.mean() / before.mean()))
        contrast.append(slope / brightness[-1])
    for values in (brightness, contrast):
        assert 0.799 < min(values) < 0.82
        assert 1.18 < max(values) < 1.201


def test_light_is_clipped_to_bytes() -> None:
    result = changed(noise(50, 8), light=1.0)
    assert (float(result.min()), float(result.max())) == (0, 255)


@given(
    st.booleans(),
    st.floats(0, 0.5),
    st.floats(1, 2),
    st.floats(0, 180),
    st.floats(0, 1),
    st.integers(0, 2**32),
)
def test_any_settings(
    flip: bool, shift: float, zoom: float, rotate: float, light: float, seed: int
) -> None:
    pixels = noise(3, 8)
    kept = pixels.clone()
    settings = {"flip": flip, "shift": shift, "zoom": zoom, "rotate": rotate, "light": light}
    result = changed(pixels, seed, **settings)
    assert result.shape == pixels.shape
    assert result.isfinite().all()
    assert 0 <= float(result.min()) <= float(result.max()) <= 255.001
    assert torch.equal(pixels, kept)
    assert torch.equal(result, changed(pixels, seed, **settings))
