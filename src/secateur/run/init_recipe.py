"""A first recipe for somebody's own pictures, with comments that explain its numbers.

``first_recipe`` finds out the layout; a detector's recipe is made here, a classifier's in
``init_classifier``.
"""

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
from secateur.run.init_classifier import FirstRecipe, classifier_recipe, entry, run_name, tests_told

_BATCH = 32
_SIZE = 300
# Passes over the pictures. SSD's reference training on VOC 07+12 is 232 passes in 120,000 steps;
# half of that comes near its accuracy, and a small set needs some steps whatever its size.
_PASSES = 120
_LEAST_STEPS, _MOST_STEPS = 2000, 60_000
# Pixels at the network's input; SSD300's smallest default boxes have 21.
_SMALL = 20

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
  format: {format}
  # Relative to where the command runs.
  {root}
  {train}
  # Read once, at the end. null: accuracy is told on the validation pictures.
  {test}
  # In the order of the network's outputs; null: as the data name them.{order}
  {classes}
  validation: 0.15     # share of the training pictures by which everything is decided
  augmentation:
    flip: true         # false where left and right are different classes
  workers: 2           # processes that load pictures

model:
  network: {network}      # ssd512 sees smaller objects, at about three times the work
  {weights_comment}
  {weights}

# {train_told}.
train:
  steps: {train_steps}
  batch_size: {batch}       # halve it, and lr with it, where memory is short
  lr: 0.001

compress:
  # A phase sparsifies its layers, removes filters and retrains; the last layer of one is the
  # first of the next. These are the published ones, but the last two are one here.
  phases:
    - layers: conv1_1-conv4_3
    - layers: conv4_3-conv7
    - layers: conv7-{last_layer}
  sparsify:
    steps: {sparsify_steps}
    batch_size: {batch}
    lr: 0.001
    penalty: proximal
    strength: 0.001    # more zeros with more; too much costs accuracy
  threshold:
    max_drop: 1.0      # points of the metric that zeroing small weights may cost
  # How small: the share of the dense network's multiply-adds that is left in the end. Instead,
  # keep_params: 0.15 bounds parameters (both together will do), or max_drop: 1.0 looks for the
  # smallest network within so many points of the metric.
  select:
    keep_macs: 0.3
  retrain:
    steps: {retrain_steps}
    batch_size: {batch}
    lr: 0.001

evaluate:
  metric: AP50_area    # or AP50_voc07, AP_coco
"""


# Of weights that are not the user's own.
_IMAGENET = "torchvision:VGG16_Weights.IMAGENET1K_FEATURES"
_IMAGENET_COMMENT = """\
# Trained on ImageNet; torchvision downloads them once (about 500 MB). A trained SSD of your
  # own is better: init --weights takes it. null: from scratch, which needs batch_norm: true."""
_OWN = "# Your own."
_ORDER = """
  # A network that is trained already knows its classes by their order alone: make it the same."""

_TAKEN = "The dense network is taken as it is; more steps would train it further"


@dataclass(frozen=True, slots=True)
class _Start:
    """What the dense network starts from.

    Attributes:
        network: whose weights they are.
        weights: as the recipe names them.
        comment: in the recipe.
        told: how well they fit.
        whole: they are all that the network needs, and it is not trained.
    """

    network: Literal["ssd300", "ssd512"] = "ssd300"
    weights: str = _IMAGENET
    comment: str = _IMAGENET_COMMENT
    told: str = ""
    whole: bool = False


def first_recipe(folder: Path, file: Path, weights: str | None = None) -> FirstRecipe:
    """Write a recipe for a folder of annotated pictures; they are all read and checked.

    Args:
        folder: in any layout that is known.
        file: where the recipe will be, for its comments.
        weights: of a trained SSD, which is then compressed as it is if they fill all of it; as for
            ``load_weights``.

    Raises:
        DataError: the layout is unknown, or anything is wrong with a picture or its annotation.
        ModelError: the weights cannot be read, or are those of another network.
        RecipeError: weights are given for a classifier.
    """
    layout = guess_layout(folder)
    if FORMATS[layout.format].task == "detection":
        return _detector_recipe(folder, layout, file, weights)
    if weights is not None:
        raise RecipeError(
            "--weights is for detectors; make a classifier's recipe without, and set model.weights "
            "there, with its own widths, hidden, pool and batch_norm, and train.steps: 0"
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
        # Pascal VOC's reader knows 20 classes, and other data may name some that never occur.
        used = {label for each in sets for p in each.pictures for label in p.labels.tolist()}
        names = tuple(n for label, n in enumerate(train.classes, start=1) if label in used) or names
        classes = names
    pictures = len(train.pictures)
    steps = min(max(_PASSES * pictures // _BATCH, _LEAST_STEPS), _MOST_STEPS) // 100 * 100
    objects = sum(len(p.labels) for p in train.pictures)
    summary = (
        f"{pictures:,} pictures to train on with {objects:,} objects of {len(names)} "
        f"class{'es' if len(names) > 1 else ''}, "
        + tests_told(0 if test is None else len(test.pictures), layout.test)
    )
    every = layout.classes is None and weights is not None
    if every and weights and _from_weights(weights, train.classes).whole:
        names = classes = train.classes  # those too that do not occur here
    start = _Start() if weights is None else _from_weights(weights, names)
    hint = _hint(train, 512 if start.network == "ssd512" else _SIZE) + start.told
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
        train_told=_TAKEN if start.whole else passes,
        batch=_BATCH,
        train_steps=0 if start.whole else steps,
        sparsify_steps=max(500, steps // 4 // 100 * 100),
        retrain_steps=max(500, steps // 2 // 100 * 100),
    )
    return FirstRecipe(text, summary, hint)


def _from_weights(weights: str, classes: tuple[str, ...]) -> _Start:
    """See which network some weights are of, and whether they are all of it."""
    state = read_state(weights)
    heads = [name for name in state if name.startswith("head.classification_head.module_list")]
    seven = 2 * len(DETECTION_LAYERS["ssd512"])  # weights and biases
    network: Literal["ssd300", "ssd512"] = "ssd512" if len(heads) == seven else "ssd300"
    architecture = ssd_architecture(network, classes)
    unfilled = unfilled_by(architecture, weights)
    if not unfilled:
        return _Start(network, weights, _OWN, "; the trained network is taken as it is", whole=True)
    why = f"{len(unfilled)} of its tensors do not fit, {unfilled[0]} for one"
    first = state.get("head.classification_head.module_list.0.weight")
    if first is not None:
        boxes = 2 + 2 * len(architecture.aspect_ratios[0])  # two square ones, and both ways lying
        there = len(first) // boxes - 1
        if len(first) % boxes == 0 and there != len(classes):
            why = f"it knows {there} classes and not {len(classes)}"
    told = f"; of the trained network a part starts afresh, for {why}, so it is trained further"
    return _Start(network, weights, _OWN, told, whole=False)


def write_first_recipe(folder: Path, file: Path, weights: str | None = None) -> FirstRecipe:
    """Write ``first_recipe`` to a file that is not there yet.

    Raises:
        DataError: as ``first_recipe``.
        ModelError: likewise.
        RecipeError: likewise; or the file exists.
        RunError: it cannot be written.
    """
    if file.exists():
        raise RecipeError(f"{file}: exists and is not overwritten; give another with --out")
    first = first_recipe(folder, file, weights)
    write_text(file, first.text)
    return first


def _hint(train: DetectionSet, size: int) -> str:
    """Say how large the objects are to the network, and what follows."""
    sides = [
        ((p.boxes[:, 2:] - p.boxes[:, :2]) * torch.tensor([size / p.width, size / p.height]))
        for p in train.pictures
    ]
    areas = torch.cat(sides).prod(dim=1)
    if not len(areas):
        return "No object is marked in the training pictures: nothing can be learnt from them"
    side = float(areas.median().sqrt())
    hint = (
        f"Half of the objects are smaller than {side:.0f} by {side:.0f} pixels once a picture is "
        f"resized to {size} by {size}"
    )
    if side < _SMALL and size == _SIZE:
        return f"{hint}: little for ssd300; try ssd512, or data.resize: false (native resolution)"
    return hint
