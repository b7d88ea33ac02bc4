"""A first recipe for a user's own pictures, with comments that explain its numbers.

``first_recipe`` detects the layout. A detector's recipe is written here, a classifier's in
``init_classifier``.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from secateur.config.data import DetectionData
from secateur.data.detection_set import DetectionSet
from secateur.data.formats.table import FORMATS
from secateur.data.layout import Layout, guess_layout
from secateur.data.source import read_detection_split
from secateur.errors import RecipeError
from secateur.files.atomic_write import write_text
from secateur.models.ssd import DETECTION_LAYERS, ssd_architecture
from secateur.models.weights import read_state, unfilled_by
from secateur.run.init_classifier import (
    FirstRecipe,
    classifier_recipe,
    count_test_pictures,
    entry,
    run_name,
)

_BATCH = 32
_SIZE = 300
# Passes over the pictures. SSD's reference training on VOC 07+12 is 232 passes in 120,000 steps;
# half of that gives nearly the same accuracy. A small set needs a minimum of steps.
_PASSES = 120
_LEAST_STEPS, _MOST_STEPS = 2000, 60_000
# Side in pixels at the network's input; SSD300's smallest default box has 21.
_SMALL = 20
# A class with so many times fewer objects than the mean class is named.
_RARE = 20

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
  format: {format}
  # Relative to the folder in which the command runs.
  {root}
  {train}
  # Evaluated once, at the end. null: accuracy is reported on the validation pictures.
  {test}
  # In the order of the network's outputs; null: the classes that the data name.{order}
  {classes}
  validation: 0.15     # share of the training pictures, on which every decision is based
  augmentation:
    flip: true         # false if mirrored pictures belong to other classes
  workers: 2           # processes that load pictures

model:
  network: {network}      # ssd512 detects smaller objects, at about three times the cost
  {weights_comment}
  {weights}

# {train_comment}.
train:
  steps: {train_steps}
  batch_size: {batch}       # if memory runs short, halve it and lr
  lr: 0.001

compress:
  # A phase sparsifies its layers, removes filters and retrains; the last layer of one is the
  # first of the next. These are the published phases, with the last two joined.
  phases:
    - layers: conv1_1-conv4_3
    - layers: conv4_3-conv7
    - layers: conv7-{last_layer}
  sparsify:
    steps: {sparsify_steps}
    batch_size: {batch}
    lr: 0.001
    penalty: proximal
    strength: 0.001    # a higher value gives more zeros and less accuracy
  threshold:
    max_drop: 1.0      # points of the metric that zeroing small weights may cost
  # Size: share of the dense network's multiply-adds that is kept. Alternatives: keep_params: 0.15
  # limits parameters (both can be set); max_drop: 1.0 searches for the smallest
  # network that loses at most that many points of the metric.
  select:
    keep_macs: 0.3
  retrain:
    steps: {retrain_steps}
    batch_size: {batch}
    lr: 0.001

evaluate:
  metric: AP50_area    # or AP50_voc07, AP_coco
"""


# Initial weights for users who have none.
_IMAGENET = "torchvision:VGG16_Weights.IMAGENET1K_FEATURES"
_IMAGENET_COMMENT = """\
# Trained on ImageNet; torchvision downloads them once (about 500 MB). Your own trained SSD is
  # better: give it to init --weights. null: from scratch, which needs batch_norm: true."""
_OWN = "# Your own."
_ORDER = """
  # The checkpoint stores no class names; list them in training order."""

_FULL_SIZE = (
    "--weights takes those of a whole torchvision SSD300 or SSD512; for another SSD give the "
    "command without it, then set model.weights, widths and batch_norm in the recipe"
)
_UNCHANGED = "The dense network is used as it is; with steps it is trained further"


@dataclass(frozen=True, slots=True)
class _Start:
    """The initial weights of the dense network.

    Attributes:
        network: that the weights belong to.
        weights: as the recipe names them.
        comment: on the weights, in the recipe.
        hint: whether the weights fit, appended to the recipe's hint.
        whole: whether the weights fill the whole network, which then needs no training.
    """

    network: Literal["ssd300", "ssd512"] = "ssd300"
    weights: str = _IMAGENET
    comment: str = _IMAGENET_COMMENT
    hint: str = ""
    whole: bool = False


def first_recipe(folder: Path, file: Path, weights: str | None = None) -> FirstRecipe:
    """Make a recipe for a folder of annotated pictures. All of them are read and checked.

    Args:
        folder: in any layout of ``FORMATS``.
        file: path of the recipe, for its comments.
        weights: of a trained SSD, as for ``load_weights``. If they fill the whole network, it is
            not trained before it is compressed.

    Raises:
        DataError: the layout is unknown, or a picture or its annotation is invalid.
        ModelError: the weights cannot be read, or belong to another network.
        RecipeError: weights are given for a classifier.
    """
    layout = guess_layout(folder)
    if FORMATS[layout.format].task == "detection":
        return _detector_recipe(folder, layout, file, weights)
    if weights is not None:
        raise RecipeError(
            "--weights is for detectors; for a classifier give the command without it, then set "
            "model.weights, widths, hidden, pool and batch_norm in the recipe, and train.steps: 0"
        )
    return classifier_recipe(layout, file)


def _detector_recipe(folder: Path, layout: Layout, file: Path, weights: str | None) -> FirstRecipe:
    data = DetectionData(
        format=layout.format,
        root=folder,
        train=layout.train,
        test=layout.test,
        classes=layout.classes,
    )
    train = read_detection_split(data, layout.train, _SIZE)
    test = read_detection_split(data, layout.test, _SIZE) if layout.test is not None else None
    sets = [train] if test is None else [train, test]
    classes: Any = layout.classes
    names = train.classes
    if classes is None:
        # Pascal VOC's reader names 20 classes, and other data may name some that do not occur.
        used = {label for each in sets for p in each.pictures for label in p.labels.tolist()}
        names = tuple(n for label, n in enumerate(train.classes, start=1) if label in used) or names
        classes = names
    pictures = len(train.pictures)
    steps = min(max(_PASSES * pictures // _BATCH, _LEAST_STEPS), _MOST_STEPS) // 100 * 100
    objects = sum(len(p.labels) for p in train.pictures)
    summary = (
        f"{pictures:,} pictures to train on with {objects:,} objects of {len(names)} "
        f"class{'es' if len(names) > 1 else ''}, "
        + count_test_pictures(0 if test is None else len(test.pictures), layout.test)
    )
    every = layout.classes is None and weights is not None
    if every and weights and _from_weights(weights, train.classes).whole:
        names = classes = train.classes  # including those that do not occur here
    start = _Start() if weights is None else _from_weights(weights, names)
    hint = _hint(train, 512 if start.network == "ssd512" else _SIZE) + _rare(train) + start.hint
    passes = f"The dense network, about {steps * _BATCH / pictures:.0f} passes over the pictures"
    text = _TEMPLATE.format(
        summary=summary,
        hint=hint,
        file=" ".join(str(file).split()),
        name=entry("name", run_name(folder)),
        format=layout.format,
        root=entry("root", str(folder)),
        train=entry("train", layout.train),
        test=entry("test", layout.test),
        classes=entry("classes", list(classes) if isinstance(classes, tuple) else classes),
        order=_ORDER if weights else "",
        network=start.network,
        last_layer=DETECTION_LAYERS[start.network][-1],
        weights_comment=start.comment,
        weights=entry("weights", start.weights),
        train_comment=_UNCHANGED if start.whole else passes,
        batch=_BATCH,
        train_steps=0 if start.whole else steps,
        sparsify_steps=max(500, steps // 4 // 100 * 100),
        retrain_steps=max(500, steps // 2 // 100 * 100),
    )
    return FirstRecipe(text, summary, hint)


def _from_weights(weights: str, classes: tuple[str, ...]) -> _Start:
    """Find which network the weights belong to, and whether they fill the whole of it."""
    state = read_state(weights)
    heads = [name for name in state if name.startswith("head.classification_head.module_list")]
    seven = 2 * len(DETECTION_LAYERS["ssd512"])  # weights and biases
    network: Literal["ssd300", "ssd512"] = "ssd512" if len(heads) == seven else "ssd300"
    architecture = ssd_architecture(network, classes)
    unfilled = unfilled_by(architecture, weights, cure=_FULL_SIZE)
    if not unfilled:
        return _Start(network, weights, _OWN, "; the trained network is used as it is", whole=True)
    why = f"{len(unfilled)} tensors do not fit, such as {unfilled[0]}"
    first = state.get("head.classification_head.module_list.0.weight")
    if first is not None:
        boxes = 2 + 2 * len(
            architecture.aspect_ratios[0]
        )  # two squares, and each ratio in both orientations
        trained = len(first) // boxes - 1
        if len(first) % boxes == 0 and trained != len(classes):
            why = f"it was trained on {trained} classes, not {len(classes)}"
    hint = f"; the network is trained further, and part of it from scratch: {why}"
    return _Start(network, weights, _OWN, hint, whole=False)


def write_first_recipe(folder: Path, file: Path, weights: str | None = None) -> FirstRecipe:
    """Write ``first_recipe`` to a new file.

    Raises:
        DataError: as for ``first_recipe``.
        ModelError: as for ``first_recipe``.
        RecipeError: as for ``first_recipe``, or the file exists.
        RunError: the file cannot be written.
    """
    if file.exists():
        raise RecipeError(f"{file}: exists and is not overwritten; name another file with --out")
    first = first_recipe(folder, file, weights)
    write_text(file, first.text)
    return first


def _rare(train: DetectionSet) -> str:
    """Name classes with so few objects, compared with the others, that they may be misspelt."""
    labels = Counter(label for p in train.pictures for label in p.labels.tolist())
    few = sum(labels.values()) / max(1, len(labels)) / _RARE
    rare = [f"{train.classes[k - 1]} ({n})" for k, n in sorted(labels.items()) if n < few]
    names = ", ".join(rare[:5]) + (" ..." if rare[5:] else "")
    return f"; few objects are of {names}: check that the names are not misspelt" if rare else ""


def _hint(train: DetectionSet, size: int) -> str:
    """Describe the size of the objects at the network's input, and what to do if it is small."""
    sides = [
        ((p.boxes[:, 2:] - p.boxes[:, :2]) * torch.tensor([size / p.width, size / p.height]))
        for p in train.pictures
    ]
    areas = torch.cat(sides).prod(dim=1)
    if not len(areas):
        return "The training pictures have no annotated object, so a network cannot learn from them"
    side = float(areas.median().sqrt())
    hint = (
        f"Half of the objects are smaller than {side:.0f} by {side:.0f} pixels after a picture is "
        f"resized to {size} by {size}"
    )
    if side < _SMALL and size == _SIZE:
        return f"{hint}, small for ssd300; try ssd512, or data.resize: false (native resolution)"
    return hint
