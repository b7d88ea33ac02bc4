"""A first recipe for somebody's own pictures in class folders."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from secateur.data.detection_set import picture_size
from secateur.data.formats.class_folders import class_folders, pictures_in
from secateur.data.layout import Layout

_BATCH = 64
_PASSES = 30
_LEAST_STEPS, _MOST_STEPS = 1000, 40_000
# Sides that five poolings divide, pixels.
_SIZES = (32, 64, 128, 224)

_TEMPLATE = """\
# {summary}.
#
# {hint}.
#
#   secateur compress {file} --plan    what will happen, without training
#   secateur compress {file}           all of it; a stopped run goes on where it was
#
# Every entry and its default: docs/recipe.md. Shares go from 0 to 1.
{name}
seed: 0
precision: "32"        # "bf16" is quicker on a recent GPU

data:
  format: folders      # SPLIT/CLASS/picture
  # Relative to where the command runs.
  {root}
  {train}
  # Read once, at the end. null: accuracy is told on the validation pictures.
  {test}
  # Share of the training pictures by which everything is decided. It is drawn by chance: frames of
  # one scene that land on both sides make it look too good.
  validation: 0.15
  augmentation:
    flip: true         # false where left and right are different classes
    shift: 0.1         # of the side
    light: 0.2         # of brightness and contrast

model:
  network: vgg16
  size: {size}             # pictures are resized to this square; cost grows with its area
  widths: 1.0          # share of VGG16's filters; without a GPU take 0.25
  hidden: [512]
  pool: 1
  # Trained on ImageNet, for widths 1.0; torchvision downloads them once (about 500 MB). null: from
  # scratch, which a few thousand small pictures are enough for.
  weights: {weights}

# The dense network, about {passes:.0f} passes over the training pictures.
train:
  steps: {train_steps}
  batch_size: {batch}
  optimizer: adamw
  lr: 0.001
  weight_decay: 0.01

compress:
  # A phase sparsifies its layers, removes filters and retrains; the last layer of one is the
  # first of the next.
  phases:
    - layers: conv1_1-conv4_1
    - layers: conv4_1-fc6
  sparsify:
    steps: {sparsify_steps}
    batch_size: {batch}
    optimizer: adamw
    lr: 0.001
    penalty: proximal
    strength: 0.001    # more zeros with more; too much costs accuracy
  threshold:
    max_drop: 1.0      # points of top1 that zeroing small weights may cost
  # How small: the share of the dense network's multiply-adds that is left in the end. Instead,
  # keep_params: 0.15 bounds parameters (both together will do), or max_drop: 1.0 looks for the
  # smallest network within so many points of top1.
  select:
    keep_macs: 0.3
  retrain:
    steps: {retrain_steps}
    batch_size: {batch}
    optimizer: adamw
    lr: 0.001
    weight_decay: 0.01

evaluate:
  batch_size: 64       # pictures at once
"""


@dataclass(frozen=True, slots=True)
class FirstRecipe:
    """A recipe's text, and what was found of the data."""

    text: str
    summary: str
    hint: str


def classifier_recipe(layout: Layout, file: Path) -> FirstRecipe:
    """Write a recipe for pictures in class folders; the size of every picture is read.

    Args:
        layout: of the folder.
        file: where the recipe will be, for its comments.

    Raises:
        DataError: a class's folder is empty, or a picture cannot be read.
    """
    folders = class_folders(layout.root / layout.train)
    pictures = [path for folder in folders for path in pictures_in(folder)]
    sides = sorted(min(picture_size(path, path.parent)) for path in pictures)
    median = sides[len(sides) // 2]
    size = max((each for each in _SIZES if each <= median), default=_SIZES[0])
    test = 0
    if layout.test is not None:
        test = sum(len(pictures_in(each)) for each in class_folders(layout.root / layout.test))
    steps = min(max(_PASSES * len(pictures) // _BATCH, _LEAST_STEPS), _MOST_STEPS) // 100 * 100
    summary = (
        f"{len(pictures):,} pictures to train on, of {len(folders)} "
        f"class{'es' if len(folders) > 1 else ''}, " + tests_told(test, layout.test)
    )
    hint = (
        f"Half of the pictures are {median} pixels or less on their shorter side; they are "
        f"resized to {size} by {size}"
    )
    text = _TEMPLATE.format(
        summary=summary,
        hint=hint,
        file=" ".join(str(file).split()),
        name=entry("name", run_name(layout.root)),
        root=entry("root", str(layout.root)),
        train=entry("train", layout.train),
        test=entry("test", layout.test),
        size=size,
        weights="torchvision:VGG16_BN_Weights.IMAGENET1K_V1" if size > _SIZES[0] else "null",
        passes=steps * _BATCH / len(pictures),
        batch=_BATCH,
        train_steps=steps,
        sparsify_steps=max(300, steps // 5 // 100 * 100),
        retrain_steps=max(500, steps // 2 // 100 * 100),
    )
    return FirstRecipe(text, summary, hint)


def tests_told(pictures: int, split: str | None) -> str:
    """Say how many pictures there are to test on, and what it means if they are called val."""
    if split is None:
        return "none to test on"
    other = "" if split == "test" else f" ({split}, looked at once: decisions have a part of train)"
    return f"{pictures:,} to test on{other}"


def entry(key: str, value: Any) -> str:
    """Write one entry in a single line of YAML, with quotes where they are needed."""
    # In a list, for a bare value is followed by YAML's mark of the end.
    text = yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=10**9)
    return f"{key}: {text.strip()[1:-1]}"


def run_name(folder: Path) -> str:
    """Make a run's name of the folder's."""
    letters = folder.resolve().name
    name = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in letters)
    return name.lstrip("._-") or "recipe"
