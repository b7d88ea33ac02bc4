"""One detector with fewer and fewer detection layers: what the last scales cost, and what they see.

The paper drops detection layers from one network that was pruned with all of them (Table 5). Here
the detector of every number of layers is trained, compressed and retrained by itself: a detector
that had to learn large objects on maps that it then loses would look worse than one need be.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path
from statistics import fmean
from typing import Any, cast

from secateur.config.recipe import Recipe
from secateur.data.source import read_splits
from secateur.errors import RecipeError
from secateur.experiments.results import standard_error, write_result
from secateur.experiments.time_left import outlook
from secateur.models.network import recipe_architecture
from secateur.models.ssd import SSDArchitecture, grid_sizes, layer_names
from secateur.run.phases import check_phases
from secateur.run.pipeline import compress_recipe
from secateur.run.context import Reporter

RESULT_FILE = "scales.json"


@dataclass(frozen=True, slots=True)
class ScaleRow:
    """The detector with some detection layers, and one seed; metrics in percent, on test.

    Attributes:
        layers: how many detection layers are kept, from the first.
        seed: of the run.
        cells: along a side of the last map, for a picture of the nominal size.
        box: side of the largest square default box, pixels; larger objects are found from it too,
            though less well.
        dense_params: parameters of the dense network.
        dense_macs: its MACs.
        params: of the slim network.
        macs: likewise.
        dense: metric of the dense network.
        slim: metric of the slim network.
    """

    layers: int
    seed: int
    cells: int
    box: float
    dense_params: int
    dense_macs: int
    params: int
    macs: int
    dense: float
    slim: float


@dataclass(frozen=True, slots=True)
class ScaleMean:
    """The detector with some detection layers, over all seeds.

    Attributes:
        layers: as in ``ScaleRow``, like the others.
        seeds: how many.
        cells: likewise.
        box: likewise.
        dense_params: likewise.
        dense_macs: likewise.
        params: mean of the slim networks'.
        macs: likewise.
        dense: mean of the metric.
        dense_error: its standard error; None of one seed.
        slim: mean of the metric.
        slim_error: its standard error; None of one seed.
    """

    layers: int
    seeds: int
    cells: int
    box: float
    dense_params: int
    dense_macs: int
    params: float
    macs: float
    dense: float
    dense_error: float | None
    slim: float
    slim_error: float | None


@dataclass(frozen=True, slots=True)
class Scales:
    """What came of all of them."""

    metric: str
    split: str
    rows: list[ScaleRow]
    means: list[ScaleMean]


def compare_scales(
    recipe: Recipe, folder: Path, layers: str | None, seeds: int, reporter: Reporter
) -> Scales:
    """Train and compress the detector with every number of detection layers.

    Args:
        recipe: of the detector with all its detection layers, and of its compression.
        folder: of the comparison; gone on with if present. ``scales.json`` is written there after
            every run.
        layers: numbers of detection layers, as in ``1,2,4``; None for all up to the recipe's.
        seeds: how many, from 0.
        reporter: told of what goes on.

    Raises:
        RecipeError: it is a classifier's recipe, or cannot be had with that many layers.
        SecateurError: as for ``compress_recipe``.
    """
    counts = layer_counts(layers, detection_layers(recipe))
    if recipe.train.steps == 0:
        raise RecipeError(
            "train.steps is 0, and a detector that was trained with all its detection layers would "
            "look worse with fewer than one that learnt with them; name train.steps"
        )
    classes = read_splits(recipe.data, recipe.model.input_size, recipe.seed).train.classes
    for count in counts:  # what is wrong with one shows now
        each = scale_recipe(recipe, count, 0)
        check_phases(each, recipe_architecture(each, classes))
    rows: list[ScaleRow] = []
    total, starts = seeds * len(counts), list[float]()
    result = Scales(recipe.evaluate.metric, recipe.data.test or "validation", rows, [])
    for seed in range(seeds):
        for count in counts:
            title = f"{count} detection layer{'s' if count > 1 else ''}, seed {seed}"
            starts.append(time.monotonic())
            reporter.say(f"== {len(starts)} of {total}: {title}{outlook(starts, total)}")
            own = scale_recipe(recipe, count, seed)
            architecture = cast(SSDArchitecture, recipe_architecture(own, classes))
            summary = compress_recipe(own, folder / f"k{count}" / f"seed{seed}", reporter)
            rows.append(_row(architecture, seed, summary))
            result = Scales(result.metric, result.split, rows, _means(rows))
            write_result(folder / RESULT_FILE, recipe, asdict(result))
    return result


def detection_layers(recipe: Recipe) -> int:
    """Count the detection layers of a recipe's network.

    Raises:
        RecipeError: it is a classifier's recipe.
    """
    architecture = recipe_architecture(recipe, ("any",))
    if not isinstance(architecture, SSDArchitecture):
        raise RecipeError(
            f"{recipe.name}: {architecture.network} is a classifier, and has no detection layers "
            "to leave out; give the recipe of a detector"
        )
    return architecture.detection_layers


def layer_counts(text: str | None, most: int) -> list[int]:
    """Read numbers of detection layers, as in ``1,2,4``.

    Args:
        text: the numbers; None for all.
        most: what the network has.

    Raises:
        RecipeError: they are not, or it has fewer.
    """
    if text is None:
        return list(range(1, most + 1))
    try:
        found = list(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        found = []
    if not found or not all(1 <= count <= most for count in found):
        raise RecipeError(
            f"{text!r}: give numbers of detection layers from 1 to the recipe's {most}, such as "
            f"1,{most}"
        )
    return found


def scale_recipe(recipe: Recipe, layers: int, seed: int) -> Recipe:
    """Give the recipe of a detector that keeps its first detection layers.

    Default boxes and widths of the layers behind are left out. A phase that reaches beyond the
    last layer ends there. One that is about none but this layer and those behind is left out, and
    the last phase that stays retrains for its pictures too, so that all detectors see as many.

    Args:
        recipe: of the detector with all its detection layers.
        layers: how many are kept.
        seed: the run's.

    Raises:
        RecipeError: no phase is left.
    """
    content = recipe.model_dump(mode="json")
    content["seed"] = seed
    model = content["model"]
    kept = layer_names(model["network"], layers)
    behind = set(layer_names(model["network"], detection_layers(recipe))) - set(kept)
    model["detection_layers"] = layers
    if model["scales"] is not None:
        model["scales"] = model["scales"][: layers + 1]
    if model["aspect_ratios"] is not None:
        model["aspect_ratios"] = model["aspect_ratios"][:layers]
    if isinstance(model["widths"], dict):
        model["widths"] = {name: n for name, n in model["widths"].items() if name not in behind}
    content["compress"]["phases"] = _phases(recipe, content["compress"]["phases"], kept, behind)
    return Recipe.model_validate(content)


def _phases(
    recipe: Recipe, phases: Sequence[dict[str, Any]], kept: Sequence[str], behind: set[str]
) -> list[dict[str, Any]]:
    stay: list[tuple[int, dict[str, Any]]] = []
    spared = 0  # pictures
    for number, phase in enumerate(phases, start=1):
        first, _, last = phase["layers"].partition("-")
        if last not in behind:
            stay.append((number, phase))
        elif first in behind or first == kept[-1]:
            _, sparsify, select, retrain = recipe.phase(number)
            spared += retrain.steps * retrain.batch_size
            if select.sparsifies:
                spared += sparsify.steps * sparsify.batch_size
        else:
            stay.append((number, {**phase, "layers": f"{first}-{kept[-1]}"}))
    if not stay:
        raise RecipeError(
            f"{recipe.name}: with detection layers up to {kept[-1]} no phase has a layer to prune; "
            "begin one before it, or name more detection layers"
        )
    number, phase = stay[-1]
    retrain = recipe.phase(number)[3]
    more = round(spared / retrain.batch_size)
    if more:
        phase["retrain"] = {**phase["retrain"], "steps": retrain.steps + more}
    return [phase for _, phase in stay]


def _row(architecture: SSDArchitecture, seed: int, summary: dict[str, Any]) -> ScaleRow:
    layers, scales = architecture.detection_layers, architecture.scales
    dense, slim, metric = summary["dense"], summary["slim"], summary["metric"]
    return ScaleRow(
        layers,
        seed,
        grid_sizes(architecture.network, architecture.size)[layers - 1],
        # torchvision's second square lies between a layer's own size and the next one's.
        round(architecture.size * sqrt(scales[layers - 1] * scales[layers]), 1),
        dense["params"],
        dense["macs"],
        slim["params"],
        slim["macs"],
        dense[metric],
        slim[metric],
    )


def _means(rows: Sequence[ScaleRow]) -> list[ScaleMean]:
    means = []
    for layers in sorted({row.layers for row in rows}):
        some = [row for row in rows if row.layers == layers]
        dense, slim = [row.dense for row in some], [row.slim for row in some]
        means.append(
            ScaleMean(
                layers,
                len(some),
                some[0].cells,
                some[0].box,
                some[0].dense_params,
                some[0].dense_macs,
                fmean(row.params for row in some),
                fmean(row.macs for row in some),
                fmean(dense),
                standard_error(dense),
                fmean(slim),
                standard_error(slim),
            )
        )
    return means
