"""A first recipe for a user's own pictures in class folders."""

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
# Sides, in pixels, that five poolings divide evenly.
_SIZES = (32, 64, 128, 224)

_TEMPLATE = """\
# {summary}.
#
# {hint}.
#
#   secateur compress {file} --plan    shows what a run would do, without training
#   secateur compress {file}           trains and compresses; a stopped run resumes
#
# Every entry and its default: docs/recipe.md. Shares go from 0 to 1.
{name}
seed: 0
precision: "32"        # "bf16" is faster on a recent GPU

data:
  format: folders      # SPLIT/CLASS/picture
  # Relative to the folder in which the command runs.
  {root}
  {train}
  # Evaluated once, at the end. null: accuracy is reported on the validation pictures.
  {test}
  # Share of the training pictures, on which every decision is based. It is drawn at random: if
  # frames of one scene fall into both parts, accuracy on validation is too high.
  validation: 0.15
  augmentation:
    flip: true         # false if mirrored pictures belong to other classes
    shift: 0.1         # largest, as a share of the side
    light: 0.2         # largest change of brightness and contrast, as a share

model:
  network: vgg16
  size: {size}             # pictures are resized to this square; cost grows with its area
  widths: 1.0          # share of VGG16's filters; without a GPU use 0.25
  hidden: [512]
  pool: 1
  # Trained on ImageNet, for widths 1.0; torchvision downloads them once (about 500 MB). null: from
  # scratch, for which a few thousand small pictures suffice.
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
    strength: 0.001    # a higher value gives more zeros and less accuracy
  threshold:
    max_drop: 1.0      # points of top1 that zeroing small weights may cost
  # Size: share of the dense network's multiply-adds that is kept. Alternatives: keep_params: 0.15
  # limits parameters (both can be set); max_drop: 1.0 searches for the smallest
  # network that loses at most that many points of top1.
  select:
    keep_macs: 0.3
  retrain:
    steps: {retrain_steps}
    batch_size: {batch}
    optimizer: adamw
    lr: 0.001
    weight_decay: 0.01

evaluate:
  batch_size: 64       # pictures that are evaluated at once
"""


@dataclass(frozen=True, slots=True)
class FirstRecipe:
    """A recipe, and what is said of the data.

    Attributes:
        text: the recipe in YAML, with comments.
        summary: counts of pictures, objects and classes.
        hint: sizes at the network's input.
    """

    text: str
    summary: str
    hint: str


def classifier_recipe(layout: Layout, file: Path) -> FirstRecipe:
    """Make a recipe for pictures in class folders. The size of every picture is read.

    Args:
        layout: of the folder.
        file: path of the recipe, for its comments.

    Raises:
        DataError: the folder of a class is empty, or a picture cannot be read.
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
        f"class{'es' if len(folders) > 1 else ''}, " + count_test_pictures(test, layout.test)
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


def count_test_pictures(pictures: int, split: str | None) -> str:
    """Describe the test split; a split with another name is used as the test split."""
    if split is None:
        return "none to test on"
    other = (
        ""
        if split == "test"
        else f" ({split}, evaluated once at the end; decisions are based on a part of train)"
    )
    return f"{pictures:,} to test on{other}"


def entry(key: str, value: Any) -> str:
    """Format one entry as a single line of YAML, with quotes where they are needed."""
    # In a list, because YAML ends a bare value with a document marker.
    text = yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=10**9)
    return f"{key}: {text.strip()[1:-1]}"


def run_name(folder: Path) -> str:
    """Derive the name of a run from that of a folder."""
    letters = folder.resolve().name
    name = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in letters)
    return name.lstrip("._-") or "recipe"
