"""Compare a detector at every number of detection layers: what the last ones cost and gain.

The paper drops detection layers from one network that was pruned with all of them (Table 5). Here
the detector of every number of layers is trained, compressed and retrained by itself: a detector
that learns large objects on feature maps that are then removed is less accurate than necessary.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path
from statistics import fmean
from typing import Any, cast

from secateur.config.architecture import recipe_architecture
from secateur.config.recipe import Recipe
from secateur.errors import RecipeError
from secateur.experiments.series import (
    announced,
    check_recipes,
    grouped,
    metric_value,
    standard_error,
    write_result,
)
from secateur.models.ssd import SSDArchitecture, grid_sizes, layer_names
from secateur.run.context import Reporter
from secateur.run.folder import SCALES, check_folder
from secateur.run.pipeline import compress_recipe
from secateur.run.records import Summary

RESULT_FILE = SCALES.mark


@dataclass(frozen=True, slots=True)
class ScaleRow:
    """The detector with some detection layers and one seed; metrics in percent, on test.

    Attributes:
        layers: number of detection layers that are kept, from the first.
        seed: seed of the run.
        cells: cells along a side of the last feature map, for a picture of the nominal size.
        box: side of the largest square default box, pixels; it also finds larger objects, though
            less accurately.
        dense_params: parameters of the dense network.
        dense_macs: MACs of the dense network.
        params: parameters of the slim network.
        macs: MACs of the slim network.
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
    """The detector with some detection layers, averaged over the seeds.

    Attributes:
        layers: as in ``ScaleRow``, as are ``cells``, ``box``, ``dense_params``, ``dense_macs``.
        seeds: number of seeds.
        params: mean parameters of the slim networks.
        macs: mean MACs of the slim networks.
        dense: mean metric of the dense networks.
        dense_error: its standard error; None for one seed.
        slim: mean metric of the slim networks.
        slim_error: its standard error; None for one seed.
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
    """The result of a comparison of detection layers: every run, and the means over seeds."""

    metric: str
    split: str
    rows: list[ScaleRow]
    means: list[ScaleMean]


def compare_scales(
    recipe: Recipe, folder: Path, layers: str | None, seeds: Sequence[int], reporter: Reporter
) -> Scales:
    """Train and compress the detector with every number of detection layers.

    Args:
        recipe: the detector with all its detection layers, and its compression.
        folder: folder of the comparison; a comparison in it resumes. ``scales.json`` is written
            there after every run.
        layers: numbers of detection layers, such as ``1,2,4``; None for all up to the recipe's.
        seeds: seeds of the runs.
        reporter: prints the progress.

    Raises:
        RecipeError: the recipe is a classifier's, or does not allow that many layers.
        RunError: the folder holds anything but such a comparison.
        SecateurError: as for ``compress_recipe``.
    """
    check_folder(folder, SCALES)
    counts = layer_counts(layers, detection_layers(recipe))
    if recipe.train.steps == 0:
        raise RecipeError(
            "train.steps is 0, but every number of detection layers needs a detector that is "
            "trained with that number; set train.steps"
        )
    classes = check_recipes(recipe, [scale_recipe(recipe, count, 0) for count in counts])
    runs = [
        (f"{count} detection layer{'s' if count > 1 else ''}, seed {seed}", (count, seed))
        for seed in seeds
        for count in counts
    ]
    rows: list[ScaleRow] = []
    for count, seed in announced(runs, reporter):
        own = scale_recipe(recipe, count, seed)
        architecture = cast(SSDArchitecture, recipe_architecture(own, classes))
        summary = compress_recipe(own, folder / f"k{count}" / f"seed{seed}", reporter)
        rows.append(_row(architecture, seed, summary))
        result = Scales(
            recipe.evaluate.metric, recipe.data.test or "validation", rows, _means(rows)
        )
        write_result(folder / RESULT_FILE, recipe, asdict(result))
    return result


def detection_layers(recipe: Recipe) -> int:
    """Count the detection layers of a recipe's network.

    Raises:
        RecipeError: the recipe is a classifier's.
    """
    architecture = recipe_architecture(recipe, ("any",))
    if not isinstance(architecture, SSDArchitecture):
        raise RecipeError(
            f"{recipe.name}: {architecture.network} is a classifier and has no detection layers; "
            "give the recipe of a detector"
        )
    return architecture.detection_layers


def layer_counts(text: str | None, most: int) -> list[int]:
    """Parse numbers of detection layers, such as ``1,2,4``.

    Args:
        text: the numbers; None for all.
        most: detection layers of the network.

    Raises:
        RecipeError: the text holds anything else, or the network has fewer layers.
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
    """Make the recipe of a detector that keeps its first detection layers.

    The default boxes and widths of removed layers are dropped. A phase that reaches beyond the
    last layer ends there. A phase that covers only this layer and removed ones is dropped, and the
    last remaining phase retrains on its pictures too, so that all detectors see as many.

    Args:
        recipe: the detector with all its detection layers.
        layers: number of detection layers to keep.
        seed: seed of the run.

    Raises:
        RecipeError: no phase is left.
    """
    content = recipe.model_dump(mode="json")
    content["seed"] = seed
    model = content["model"]
    kept = layer_names(model["network"], layers)
    removed = set(layer_names(model["network"], detection_layers(recipe))) - set(kept)
    model["detection_layers"] = layers
    if model["scales"] is not None:
        model["scales"] = model["scales"][: layers + 1]
    if model["aspect_ratios"] is not None:
        model["aspect_ratios"] = model["aspect_ratios"][:layers]
    if isinstance(model["widths"], dict):
        model["widths"] = {name: n for name, n in model["widths"].items() if name not in removed}
    content["compress"]["phases"] = _phases(recipe, content["compress"]["phases"], kept, removed)
    return Recipe.model_validate(content)


def _phases(
    recipe: Recipe, phases: Sequence[dict[str, Any]], kept: Sequence[str], removed: set[str]
) -> list[dict[str, Any]]:
    remaining: list[tuple[int, dict[str, Any]]] = []
    dropped = 0  # training pictures of dropped phases
    for number, phase in enumerate(phases, start=1):
        first, _, last = phase["layers"].partition("-")
        if last not in removed:
            remaining.append((number, phase))
        elif first in removed or first == kept[-1]:
            _, sparsify, select, retrain = recipe.phase(number)
            dropped += retrain.steps * retrain.batch_size
            if select.settings.ranks_by.sparsifies:
                dropped += sparsify.steps * sparsify.batch_size
        else:
            remaining.append((number, {**phase, "layers": f"{first}-{kept[-1]}"}))
    if not remaining:
        raise RecipeError(
            f"{recipe.name}: with detection layers up to {kept[-1]} no phase has a layer to prune; "
            "start a phase at an earlier layer, or keep more detection layers"
        )
    number, phase = remaining[-1]
    retrain = recipe.phase(number)[3]
    more = round(dropped / retrain.batch_size)
    if more:
        phase["retrain"] = {**phase["retrain"], "steps": retrain.steps + more}
    return [phase for _, phase in remaining]


def _row(architecture: SSDArchitecture, seed: int, summary: Summary) -> ScaleRow:
    layers, scales = architecture.detection_layers, architecture.scales
    dense, slim = summary.dense, summary.slim
    return ScaleRow(
        layers,
        seed,
        grid_sizes(architecture.network, architecture.size)[layers - 1],
        # torchvision's second square box has the geometric mean of a layer's scale and the next.
        round(architecture.size * sqrt(scales[layers - 1] * scales[layers]), 1),
        dense.params,
        dense.macs,
        slim.params,
        slim.macs,
        metric_value(dense.metrics, summary.metric),
        metric_value(slim.metrics, summary.metric),
    )


def _means(rows: Sequence[ScaleRow]) -> list[ScaleMean]:
    means = []
    for layers, some in sorted(grouped(rows, lambda row: row.layers).items()):
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
