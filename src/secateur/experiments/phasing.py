"""The phases of a recipe regrouped: the same layers and as many training pictures, other phases."""

from collections.abc import Sequence

from secateur.config.architecture import recipe_architecture
from secateur.config.recipe import Recipe
from secateur.errors import RecipeError
from secateur.models.network import layer_names
from secateur.run.phases import phase_layers


def one_phase(recipe: Recipe) -> list[str]:
    """Put all layers of a recipe's phases into one phase."""
    return split_layers(_runs(recipe), 1)


def four_phases(recipe: Recipe) -> list[str]:
    """Split all layers of a recipe's phases into four phases, as published for SSD300.

    Fewer than five layers give fewer phases.
    """
    names = _runs(recipe)
    return split_layers(names, min(4, len(names) - 1))


def each_twice(recipe: Recipe) -> list[str]:
    """Run all phases twice, each pass going half of the way."""
    return [phase.layers for phase in recipe.compress.phases] * 2


def split_layers(layers: Sequence[str], count: int) -> list[str]:
    """Split consecutive layers into phases of about equal length, each named by its ends.

    The last layer of a phase is the first layer of the next phase.

    Args:
        layers: in the order in which the network runs them; more than ``count``.
        count: number of phases.
    """
    ends = [round(part * (len(layers) - 1) / count) for part in range(count + 1)]
    return [f"{layers[ends[n]]}-{layers[ends[n + 1]]}" for n in range(count)]


def with_phases(recipe: Recipe, phases: Sequence[str]) -> Recipe:
    """Replace the phases of a recipe and distribute its training steps evenly over the new ones.

    Entries that belong to a single old phase are dropped.

    Args:
        recipe: names a budget for the last phase, which the phases share.
        phases: layers of each phase, such as ``conv1_1-conv4_3``.
    """
    content = recipe.model_dump(mode="json")
    old = [recipe.phase(number) for number in range(1, len(recipe.compress.phases) + 1)]
    compress = content["compress"]
    compress["phases"] = [{"layers": each, "sparsify": {}, "retrain": {}} for each in phases]
    for entry, trainings in (
        ("sparsify", [sparsify for _, sparsify, _, _ in old]),
        ("retrain", [retrain for _, _, _, retrain in old]),
    ):
        pictures = sum(each.steps * each.batch_size for each in trainings)
        steps = round(pictures / compress[entry]["batch_size"])
        for number, phase in enumerate(compress["phases"]):
            # The first phases take the remainder.
            share = steps // len(phases) + (number < steps % len(phases))
            phase[entry]["steps"] = max(1, share)
    return Recipe.model_validate(content)


def covered_layers(recipe: Recipe) -> list[str]:
    """List the layers from the first to the last one that any phase names.

    The list is empty if a phase names patterns instead of a run such as ``conv1_1-conv4_3``.

    Raises:
        RecipeError: a layer is unknown.
    """
    names = layer_names(recipe_architecture(recipe, ("any",)))
    positions: list[int] = []
    for phase in recipe.compress.phases:
        run = phase_layers(phase.layers, names)
        if run is None:
            return []
        positions += map(names.index, run)
    return names[min(positions) : max(positions) + 1]


def _runs(recipe: Recipe) -> list[str]:
    if layers := covered_layers(recipe):
        return layers
    raise RecipeError(
        "compress.phases name no stretches of layers, so they cannot be divided differently; name "
        "the first and the last layer of each phase, FIRST-LAST"
    )
