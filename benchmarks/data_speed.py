"""Time SSD's training augmentation against torchvision's reference for training detectors.

``python benchmarks/data_speed.py`` writes ``benchmarks/results/data_speed.json``. Pictures are JPEG
files of 500 × 375 pixels that the benchmark draws, with as many bytes as those of Pascal VOC; with
``--root`` they are those of a folder in VOC's layout.

All sides read the same files through a loader of one or two processes, in turn, and return batches
of 300 × 300 pixels with boxes:

- ``secateur``: what the shipped recipe ssd300_voc trains on.
- ``torchvision_pil``, ``torchvision_tensor``: the transforms of torchvision's reference script for
  SSD, on Pillow's pictures, its default, or on tensors; composed here from
  ``torchvision.transforms.v2``. The script leaves the last step, resizing, to the network.

The rate is measured from the first batches to the last, so starting the processes does not count.
The samples are compared too: the first box of each sample (centre and sides), the number of boxes,
and the mean and standard deviation of pixels, by the two-sample Kolmogorov–Smirnov test.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from checks import print_checks
from secateur.config.data import DetectionData
from secateur.config.recipe import load_recipe
from secateur.data.detection_set import AnnotatedPicture, annotated_picture
from secateur.data.formats.voc import read_voc
from secateur.data.loaders import read_image, training_batches
from secateur.data.transforms.augmentation import FILL, Sample
from secateur.files.atomic_write import write_json
from secateur.run.context import provenance
from secateur.tasks.detection.detector import training_transform

HERE = Path(__file__).parent
SEED = 20261130
SIZE, BATCH = 300, 16
DRAWN, WIDTH, HEIGHT, QUALITY = 64, 500, 375, 93
WORKERS = (1, 2)
TIMES_FASTER = 2.0
# Significance level of the test of each quantity.
ALPHA = 0.001

# Pictures, how many batches, worker processes, seed; to batches.
Side = Callable[[Sequence[AnnotatedPicture], int, int, int], Iterable[Any]]


def main() -> None:
    """Measure, check and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, help="a folder in VOC's layout; default: drawn")
    parser.add_argument("--split", default="trainval", help="of that folder")
    parser.add_argument("--rounds", type=int, default=8, help="with one and two processes each")
    parser.add_argument("--batches", type=int, default=8, help="timed in each round")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "data_speed.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pictures = (
            read_voc(arguments.root, arguments.split, None).pictures
            if arguments.root
            else draw_pictures(Path(folder))
        )
        given: dict[str, list[Sample]] = {name: [] for name in sides()}
        rates = {
            str(workers): measure(pictures, workers, arguments.rounds, arguments.batches, given)
            for workers in WORKERS
        }
        decoding = decoding_rate(pictures)
        size = sum(picture.path.stat().st_size for picture in pictures) / len(pictures)
    alike = {name: compare(given["secateur"], given[name]) for name in given if name != "secateur"}
    held = checks(rates, alike)
    result = {
        "what": "SSD's training augmentation, to 300 x 300 pixels; see the benchmark's file",
        "seed": SEED,
        "pictures": "drawn" if arguments.root is None else "a folder in VOC's layout",
        "number_of_pictures": len(pictures),
        "mean_bytes": size,
        "batch": BATCH,
        "samples_compared": {name: len(samples) for name, samples in given.items()},
        "by_worker_processes": rates,
        "decoding_alone_pictures_per_second": decoding,
        "kolmogorov_smirnov": alike,
        "checks": held,
        "provenance": provenance(),
    }
    write_json(arguments.out, result)
    print_checks(held)


def draw_pictures(folder: Path) -> tuple[AnnotatedPicture, ...]:
    """Draw noise of all scales with one to four objects of other noise on it."""
    generator = np.random.default_rng(SEED)
    pictures = []
    for number in range(DRAWN):
        pixels = texture(generator)
        boxes = []
        for _ in range(generator.integers(1, 5)):
            width, height = generator.integers(30, (WIDTH * 3 // 4, HEIGHT * 3 // 4))
            x, y = generator.integers(0, (WIDTH - width, HEIGHT - height))
            pixels[y : y + height, x : x + width] = texture(generator)[:height, :width]
            boxes.append([x, y, x + width, y + height])
        file = folder / f"{number}.jpg"
        Image.fromarray(pixels).save(file, quality=QUALITY)
        some = [1] * len(boxes)
        pictures.append(annotated_picture(file, boxes, some, [False] * len(boxes), file))
    return tuple(pictures)


def texture(generator: np.random.Generator) -> NDArray[np.uint8]:
    """Return pixels (H, W, 3) around a mean colour; as in photographs, fine detail is weaker."""
    field = generator.uniform(40, 215, 3) + np.zeros((HEIGHT, WIDTH, 3))
    for cell in (125, 25, 5, 1):
        grid = generator.normal(0, 14, (HEIGHT // cell, WIDTH // cell, 3))
        if cell == 1:
            grid *= 0.45
        field += grid.repeat(cell, 0).repeat(cell, 1)
    return field.clip(0, 255).astype(np.uint8)


def secateur(
    pictures: Sequence[AnnotatedPicture], batches: int, workers: int, seed: int
) -> Iterable[Any]:
    """Return the batches of a run of the recipe."""
    recipe = load_recipe(Path("ssd300_voc"))
    assert isinstance(recipe.data, DetectionData)  # noqa: S101 # for the checker of types
    transform = training_transform(recipe.data, SIZE)
    return training_batches(
        pictures, transform, steps=batches, batch_size=BATCH, seed=seed, workers=workers
    )


class Reference(Dataset[Sample]):
    """Pictures, repeated, with a composition of torchvision's transforms."""

    def __init__(self, pictures: Sequence[AnnotatedPicture], length: int, *, pil: bool) -> None:
        self.pictures = pictures
        self.length = length
        self.pil = pil
        self.transform = v2.Compose(
            [
                v2.RandomPhotometricDistort(),
                v2.RandomZoomOut(fill=FILL),
                v2.RandomIoUCrop(),
                v2.RandomHorizontalFlip(),
                *([v2.PILToTensor()] if pil else []),
                v2.ToDtype(torch.float32, scale=True),
                v2.SanitizeBoundingBoxes(),
                v2.Resize((SIZE, SIZE), antialias=True),
                v2.ToPureTensor(),
            ]
        )

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        picture = self.pictures[index % len(self.pictures)]
        image: Any = Image.open(picture.path).convert("RGB")
        if not self.pil:
            image = v2.functional.pil_to_tensor(image)
            image = tv_tensors.Image(image)
        wanted = ~picture.difficult
        boxes = tv_tensors.BoundingBoxes(
            picture.boxes[wanted], format="XYXY", canvas_size=(picture.height, picture.width)
        )
        sample: Sample = self.transform(image, {"boxes": boxes, "labels": picture.labels[wanted]})
        return sample


def torchvision(
    pictures: Sequence[AnnotatedPicture], batches: int, workers: int, seed: int, *, pil: bool
) -> Iterable[Any]:
    """Return batches with the reference's transforms."""
    generator = torch.Generator().manual_seed(seed)
    order = [
        int(i)
        for _ in range(1 + batches * BATCH // len(pictures))
        for i in torch.randperm(len(pictures), generator=generator)
    ]
    return DataLoader(
        Reference(pictures, batches * BATCH, pil=pil),
        batch_size=BATCH,
        sampler=order[: batches * BATCH],
        num_workers=workers,
        collate_fn=collate,
        prefetch_factor=4 if workers else None,
        generator=generator,
    )


def collate(samples: list[Sample]) -> tuple[Tensor, list[dict[str, Tensor]]]:
    """Stack the pictures and list the targets."""
    return torch.stack([pixels for pixels, _ in samples]), [target for _, target in samples]


def sides() -> dict[str, Side]:
    """Return the sides to compare, by name."""
    return {
        "secateur": secateur,
        "torchvision_pil": partial(torchvision, pil=True),
        "torchvision_tensor": partial(torchvision, pil=False),
    }


def measure(
    pictures: Sequence[AnnotatedPicture],
    workers: int,
    rounds: int,
    batches: int,
    given: dict[str, list[Sample]],
) -> dict[str, Any]:
    """Measure pictures per second of every side, and the ratios to ours in each round."""
    rates: dict[str, list[float]] = {name: [] for name in sides()}
    for turn in range(rounds):
        for name, side in sorted(sides().items(), reverse=bool(turn % 2)):
            seed = SEED + 1000 * workers + turn
            start = 0.0
            # Timing starts when each process has returned its first batch.
            for number, batch in enumerate(side(pictures, batches + workers, workers, seed)):
                given[name] += summaries(*batch)
                if number == workers - 1:
                    start = time.perf_counter()
            rates[name].append(batches * BATCH / (time.perf_counter() - start))
        print(workers, {name: round(found[-1]) for name, found in rates.items()}, flush=True)
    return {
        "pictures_per_second": {name: median(found) for name, found in rates.items()},
        "times_faster_than": {
            name: median(a / b for a, b in zip(rates["secateur"], found, strict=True))
            for name, found in rates.items()
            if name != "secateur"
        },
        "rounds": {name: [round(each, 1) for each in found] for name, found in rates.items()},
    }


def summaries(pixels: Tensor, *annotations: Any) -> list[Sample]:
    """Reduce a batch to what is compared: mean and spread of pixels, 0 to 1, and the boxes.

    Args:
        pixels: (N, 3, H, W).
        annotations: the reference's mapping with ``boxes`` for each picture, or our boxes
            (N, M, 4) and labels (N, M), 0 for no object.
    """
    scale = 255 if pixels.dtype == torch.uint8 else 1
    flat = pixels[:, :, ::4, ::4].flatten(1).float() / scale
    kept = torch.stack([flat.mean(1), flat.std(1)], 1)
    if len(annotations) == 1:
        boxes = [target["boxes"] for target in annotations[0]]
    else:
        boxes = [all_[labels > 0] for all_, labels in zip(*annotations, strict=True)]
    return [(pair, {"boxes": some.clone()}) for pair, some in zip(kept.clone(), boxes, strict=True)]


def decoding_rate(pictures: Sequence[AnnotatedPicture]) -> float:
    """Pictures per second that one process reads and decodes, a bound for every side."""
    times = []
    for picture in (*pictures, *pictures)[:200]:
        start = time.perf_counter()
        read_image(picture)
        times.append(time.perf_counter() - start)
    return 1 / median(times)


def compare(ours: list[Sample], theirs: list[Sample]) -> dict[str, dict[str, float]]:
    """Return the distance of the two distributions of each quantity, and its critical value."""
    a, b = quantities(ours), quantities(theirs)
    return {
        name: {
            "distance": distance(a[name], b[name]),
            "allowed": math.sqrt(-math.log(ALPHA / 2) / 2 * (1 / len(a[name]) + 1 / len(b[name]))),
        }
        for name in a
    }


def quantities(samples: list[Sample]) -> dict[str, NDArray[np.float64]]:
    """One independent number from each sample; boxes relative to the picture's side."""
    first = torch.stack([t["boxes"][0] for _, t in samples if len(t["boxes"])]).double() / SIZE
    x1, y1, x2, y2 = first.T.numpy()
    pixels = torch.stack([summary for summary, _ in samples]).double().numpy()
    return {
        "middle_x": (x1 + x2) / 2,
        "middle_y": (y1 + y2) / 2,
        "width": x2 - x1,
        "height": y2 - y1,
        "number": np.array([float(len(t["boxes"])) for _, t in samples]),
        "mean_of_pixels": pixels[:, 0],
        "spread_of_pixels": pixels[:, 1],
    }


def distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the largest difference of the two empirical distribution functions."""
    at = np.concatenate([a, b])
    shares = (np.searchsorted(np.sort(each), at, side="right") / len(each) for each in (a, b))
    return float(np.abs(np.subtract(*shares)).max())


def checks(rates: dict[str, Any], alike: dict[str, Any]) -> list[dict[str, Any]]:
    """Compare speed with the target, and each distribution with its critical value."""
    rows = [
        (
            f"{workers} processes: times faster than {name}",
            value,
            TIMES_FASTER,
            value >= TIMES_FASTER,
        )
        for workers, found in rates.items()
        for name, value in found["times_faster_than"].items()
    ]
    for side, found in alike.items():
        worst = max(found, key=lambda name: found[name]["distance"] / found[name]["allowed"])
        value, allowed = found[worst]["distance"], found[worst]["allowed"]
        rows.append((f"distance to {side}, largest for {worst}", value, allowed, value <= allowed))
    return [
        {"name": name, "value": value, "target": target, "met": met}
        for name, value, target, met in rows
    ]


if __name__ == "__main__":
    main()
